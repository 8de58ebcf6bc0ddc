// Layout of a flow, pure: a tidy tree from left to right, its folded siblings, and its critical path.
import { groupBy } from "./group";
import type { FlowNode } from "./types";

export const WIDTH = 190;
export const HEIGHT = 44;
const GAP_X = 56;
const GAP_Y = 12;
const FOLD_FROM = 8;

export const keyOf = (node: { queue: string; id: string }): string => `${node.queue}|${node.id}`;

export interface Placed { key: string; parent: string; node: FlowNode; x: number; y: number; depth: number; folded: FlowNode[] }
export interface Layout { nodes: Placed[]; edges: { from: Placed; to: Placed }[]; width: number; height: number }

export function tree(nodes: FlowNode[]): { roots: FlowNode[]; children: Map<string, FlowNode[]> } {
  const children = new Map<string, FlowNode[]>();
  const roots: FlowNode[] = [];
  for (const [at, node] of nodes.entries()) {
    // A node names its parent by its place in the list, and comes after it.
    const parent = node.parent !== null && node.parent < at ? nodes[node.parent] : undefined;
    if (parent) children.set(keyOf(parent), [...(children.get(keyOf(parent)) ?? []), node]);
    else roots.push(node);
  }
  return { roots, children };
}

/** Fold more than eight siblings of one name: those that failed or run stay, the rest becomes one box. */
function fold(siblings: FlowNode[], children: Map<string, FlowNode[]>): { node: FlowNode; folded: FlowNode[] }[] {
  const byName = groupBy(siblings, (node) => node.name);
  return [...byName.values()].flatMap((same) => {
    if (same.length <= FOLD_FROM) return same.map((node) => ({ node, folded: [] }));
    const plain = same.filter((node) => !children.has(keyOf(node)));
    const shown = [...same.filter((node) => children.has(keyOf(node))), ...plain.filter((node) => node.state === "failed").slice(0, 3)];
    const rest = plain.filter((node) => !shown.includes(node));
    return [...shown.map((node) => ({ node, folded: [] })), ...(rest[0] ? [{ node: rest[0], folded: rest }] : [])];
  });
}

export function layout(nodes: FlowNode[], open: ReadonlySet<string> = new Set()): Layout {
  const { roots, children } = tree(nodes);
  const placed: Placed[] = [];
  const edges: Layout["edges"] = [];
  let row = 0;

  const put = (node: FlowNode, folded: FlowNode[], depth: number, parent: string): Placed => {
    const own: Placed = { key: keyOf(node), parent, node, folded, depth, x: depth * (WIDTH + GAP_X), y: 0 };
    const below = children.get(own.key) ?? [];
    const shown = folded.length ? [] : open.has(own.key) ? below.map((child) => ({ node: child, folded: [] })) : fold(below, children);
    const kids = shown.map((child) => put(child.node, child.folded, depth + 1, own.key));
    if (kids.length) {
      own.y = (kids[0]!.y + kids.at(-1)!.y) / 2;
      for (const kid of kids) edges.push({ from: own, to: kid });
    } else {
      own.y = row * (HEIGHT + GAP_Y);
      row += 1;
    }
    placed.push(own);
    return own;
  };

  for (const root of roots) put(root, [], 0, "");
  placed.sort((a, b) => a.depth - b.depth || a.y - b.y);
  const deepest = Math.max(0, ...placed.map((each) => each.depth));
  return { nodes: placed, edges, width: deepest * (WIDTH + GAP_X) + WIDTH, height: Math.max(1, row) * (HEIGHT + GAP_Y) - GAP_Y };
}

/** The chain of jobs that ended last at every level: what made the root late. */
export function criticalPath(nodes: FlowNode[]): Set<string> {
  const { roots, children } = tree(nodes);
  const path = new Set<string>();
  const end = (node: FlowNode) => node.finished_ms ?? Number.POSITIVE_INFINITY;
  for (let at = roots[0]; at; ) {
    path.add(keyOf(at));
    const below: FlowNode[] = children.get(keyOf(at)) ?? [];
    at = below.length ? below.reduce((late, node) => (end(node) > end(late) ? node : late)) : undefined;
  }
  return path;
}

/** Where an arrow key leads from a box: left to the parent, right to the first child, up and down in its column. */
export function neighbour(of: Layout, key: string, arrow: string): string | null {
  const here = of.nodes.find((each) => each.key === key);
  if (!here) return null;
  if (arrow === "ArrowLeft") return of.edges.find((edge) => edge.to === here)?.from.key ?? null;
  if (arrow === "ArrowRight") return of.edges.find((edge) => edge.from === here)?.to.key ?? null;
  const column = of.nodes.filter((each) => each.depth === here.depth);
  return column[column.indexOf(here) + (arrow === "ArrowDown" ? 1 : -1)]?.key ?? null;
}

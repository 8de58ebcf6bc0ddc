// A flow as a graph from left to right, and as a waterfall with its critical path.
import { useState } from "preact/hooks";
import { t } from "../i18n";
import { duration } from "../lib/format";
import { criticalPath, HEIGHT, keyOf, layout, neighbour, type Placed, tree, WIDTH } from "../lib/flow";
import { second } from "../lib/live";
import { go, query, set, toJob } from "../lib/route";
import { line } from "../lib/text";
import type { FlowNode } from "../lib/types";
import { Card, Choice } from "./card";
import { colour, Mark, signOf, stateText } from "./state";

const runtime = (node: FlowNode): number | null => (node.started_ms === null ? null : (node.finished_ms ?? second.value) - node.started_ms);

export function Flow({ nodes, more, current, title }: { nodes: FlowNode[]; more: boolean; current: string | null; title: string }) {
  const view = query.value.flow === "waterfall" ? "waterfall" : "graph";
  const done = nodes.filter((node) => node.state === "completed").length;
  return (
    <Card title={title} note={`${t.doneOf(done, nodes.length)}${more ? ` · ${t.moreNotShown}` : ""}`}
      actions={<Choice label={t.view} value={view} options={[["graph", t.graph], ["waterfall", t.waterfall]]} pick={(next) => set({ flow: next === "graph" ? null : next })} />}>
      {view === "graph" ? <Graph nodes={nodes} current={current} /> : <Waterfall nodes={nodes} current={current} />}
    </Card>
  );
}

function Graph({ nodes, current }: { nodes: FlowNode[]; current: string | null }) {
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const shape = layout(nodes, open);
  const walk = (event: KeyboardEvent, key: string) => {
    if (!event.key.startsWith("Arrow")) return;
    const next = neighbour(shape, key, event.key);
    if (!next) return;
    event.preventDefault();
    document.querySelector<SVGAElement>(`[data-node="${CSS.escape(next)}"]`)?.focus();
  };
  return (
    <div class="flow-box" tabIndex={0} role="region" aria-label={t.graph}>
      <svg width={shape.width + 8} height={shape.height + 8} viewBox={`-4 -4 ${shape.width + 8} ${shape.height + 8}`} role="group" aria-label={t.graph}>
        {shape.edges.map(({ from, to }) => {
          const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x, to.y + HEIGHT / 2];
          const half = (x1 + x2) / 2;
          return <path key={`${from.key}>${to.key}`} d={`M${x1} ${y1}C${half} ${y1} ${half} ${y2} ${x2} ${y2}`} fill="none" stroke="var(--line-strong)" stroke-width="1.4" />;
        })}
        {shape.nodes.map((placed) => (
          <Box key={placed.key} of={placed} current={placed.key === current} walk={walk} unfold={() => setOpen(new Set([...open, placed.parent]))} />
        ))}
      </svg>
    </div>
  );
}

function Box({ of: { node, x, y, key, folded }, current, walk, unfold }: { of: Placed; current: boolean; walk: (event: KeyboardEvent, key: string) => void; unfold: () => void }) {
  const many = folded.length > 1;
  const failed = folded.filter((each) => each.state === "failed").length;
  const tint = colour(many ? (failed ? "failed" : folded.every((each) => each.state === "completed") ? "completed" : "waiting") : node.state);
  const right = many ? "" : node.children && node.state === "waiting-children" ? t.children(node.children) : node.attempts_made > 1 ? t.attemptOf(node.attempts_made, node.attempts ?? node.attempts_made) : (runtime(node) ?? 0) > 0 ? duration(runtime(node)) : "";
  const name = many ? t.folded(line(node.name, 16), folded.length) : line(node.name, 24);
  const state = many ? (failed ? t.failedCount(failed) : stateText(node.state)) : stateText(node.state);
  return (
    <a href={many ? undefined : toJob(node)} tabIndex={0} role={many ? "button" : undefined} data-node={key} class="node" aria-current={current || undefined}
      onClick={(event) => { event.preventDefault(); many ? unfold() : go(toJob(node)); }} onKeyDown={(event) => { walk(event, key); if (many && event.key === "Enter") unfold(); }}>
      <rect x={x} y={y} width={WIDTH} height={HEIGHT} rx="5" fill="var(--surface)" stroke={tint} stroke-width={current ? 2 : 1} />
      <rect x={x} y={y} width="4" height={HEIGHT} rx="2" fill={tint} />
      <text x={x + 13} y={y + 18} class="node-name">{name}</text>
      <path d={signOf(many && failed ? "failed" : node.state)} transform={`translate(${x + 12} ${y + 24})`} fill="none" stroke={tint} stroke-width="1.5" />
      <text x={x + 28} y={y + 34} class="node-note" style={{ fill: tint }}>{state}</text>
      <text x={x + WIDTH - 9} y={y + 34} class="node-note" text-anchor="end">{right}</text>
    </a>
  );
}

function Waterfall({ nodes, current }: { nodes: FlowNode[]; current: string | null }) {
  const { roots, children } = tree(nodes);
  const path = criticalPath(nodes);
  const created = (node: FlowNode) => node.created_ms ?? node.started_ms ?? roots[0]?.created_ms ?? 0;
  const first = Math.min(...nodes.map(created));
  const last = Math.max(first + 1, ...nodes.map((node) => node.finished_ms ?? (node.started_ms === null ? created(node) : second.value)));
  const place = (ms: number) => `${(((ms - first) / (last - first)) * 100).toFixed(3)}%`;
  const rows: { node: FlowNode; depth: number }[] = [];
  const walk = (node: FlowNode, depth: number) => {
    rows.push({ node, depth });
    for (const child of children.get(keyOf(node)) ?? []) walk(child, depth + 1);
  };
  for (const root of roots) walk(root, 0);
  return (
    <ol class="life waterfall">
      {rows.map(({ node, depth }) => {
        const start = node.started_ms ?? last;
        const end = node.finished_ms ?? last;
        return (
          <li key={keyOf(node)} aria-current={keyOf(node) === current || undefined}>
            <a class="cut" href={toJob(node)} style={{ paddingLeft: `${Math.min(depth, 8) * 12}px` }}><span style={{ color: colour(node.state) }}><Mark of={node.state} /></span> {line(node.name, 60)}</a>
            <span class="life-track">
              <span class="life-bar hatched" style={{ left: place(created(node)), width: place(first + Math.max(0, start - created(node))) }} />
              {node.started_ms !== null && <span class={path.has(keyOf(node)) ? "life-bar critical" : "life-bar"} style={{ left: place(start), width: `max(3px, ${place(first + end - start)})`, background: colour(node.state) }} title={path.has(keyOf(node)) ? t.criticalPath : undefined} />}
            </span>
            <span class="num small soft">{duration(runtime(node))}</span>
          </li>
        );
      })}
    </ol>
  );
}

import assert from "node:assert/strict";
import { test } from "node:test";
import { criticalPath, layout, neighbour, tree } from "../src/lib/flow";
import type { FlowNode } from "../src/lib/types";

function node(id: string, parent: number | null, more: Partial<FlowNode> = {}): FlowNode {
  return { queue: "q", id, name: id, state: "completed", parent, created_ms: 0, started_ms: 0, finished_ms: 1, attempts_made: 1, attempts: 1, children: 0, folded: null, gone: false, ...more };
}

test("a parent is placed left of its children and between them", () => {
  const shape = layout([node("root", null), node("a", 0), node("b", 0), node("c", 0)]);
  const [root, a, , c] = shape.nodes;
  assert.ok(root!.x < a!.x);
  assert.equal(root!.y, (a!.y + c!.y) / 2);
  assert.equal(shape.edges.length, 3);
});

test("boxes of one column never overlap", () => {
  const nodes = [node("root", null), ...Array.from({ length: 7 }, (_, at) => node(`n${at}`, 0)), ...Array.from({ length: 7 }, (_, at) => node(`m${at}`, 1 + at))];
  const shape = layout(nodes);
  for (const one of shape.nodes) for (const other of shape.nodes) if (one !== other && one.x === other.x) assert.ok(Math.abs(one.y - other.y) >= 44);
});

test("more than eight like siblings fold, those that failed stay", () => {
  const many = Array.from({ length: 120 }, (_, at) => node(`n${at}`, 0, { name: "fetch", state: at === 60 ? "failed" : "completed" }));
  const shape = layout([node("root", null), ...many]);
  const folded = shape.nodes.find((each) => each.folded.length);
  assert.equal(folded!.folded.length, 119);
  assert.ok(shape.nodes.some((each) => each.node.state === "failed"));
  assert.equal(layout([node("root", null), ...many], new Set(["q|root"])).nodes.length, 121);
});

test("the critical path follows the child that ended last", () => {
  const path = criticalPath([node("root", null), node("fast", 0, { finished_ms: 5 }), node("slow", 0, { finished_ms: 9 }), node("late", 2, { finished_ms: 8 })]);
  assert.deepEqual([...path], ["q|root", "q|slow", "q|late"]);
});

test("a place that is not before a node is no parent, so a loop ends", () => {
  assert.equal(tree([node("a", 1), node("b", 0)]).roots.length, 1);
  assert.equal(tree([node("a", 0)]).roots.length, 1);
});

test("arrow keys walk edges and columns", () => {
  const shape = layout([node("root", null), node("a", 0), node("b", 0)]);
  assert.equal(neighbour(shape, "q|root", "ArrowRight"), "q|a");
  assert.equal(neighbour(shape, "q|a", "ArrowDown"), "q|b");
  assert.equal(neighbour(shape, "q|b", "ArrowLeft"), "q|root");
  assert.equal(neighbour(shape, "q|root", "ArrowLeft"), null);
});

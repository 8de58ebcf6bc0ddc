// Lanes, pure: which bars are drawn for a worker's slots; bars below two pixels merge into a density.
import { groupBy } from "./group";
import type { RunSpan, WorkerRow } from "./types";

export interface Bar { from: number; to: number; span: RunSpan; count: number; failed: boolean }
export interface Lane { worker: string; title: string; slot: number; first: boolean; bars: Bar[] }

const LEAST = 2;

export function lanes(workers: WorkerRow[], spans: RunSpan[], fromMs: number, toMs: number, width: number): Lane[] {
  const scale = width / Math.max(1, toMs - fromMs);
  const bySlot = groupBy(spans, (span) => `${span.worker}|${span.slot}`);
  const made: Lane[] = [];
  for (const worker of workers) {
    const used = new Set(spans.filter((span) => span.worker === worker.id).map((span) => span.slot));
    const count = Math.min(64, Math.max(1, worker.slots, ...used));
    // A worker with many slots shows those that did something, and at least one.
    const shown = Array.from({ length: count }, (_, at) => at + 1).filter((slot) => count <= 8 || used.has(slot));
    for (const [at, slot] of (shown.length ? shown : [1]).entries()) {
      const own = (bySlot.get(`${worker.id}|${slot}`) ?? []).toSorted((a, b) => a.start_ms - b.start_ms);
      made.push({ worker: worker.id, title: worker.name, slot, first: at === 0, bars: bars(own, fromMs, toMs, scale, width) });
    }
  }
  return made;
}

export function bars(spans: RunSpan[], fromMs: number, toMs: number, scale: number, width: number): Bar[] {
  const made: Bar[] = [];
  for (const span of spans) {
    const from = Math.max(0, (span.start_ms - fromMs) * scale);
    const to = Math.min(width, ((span.end_ms ?? toMs) - fromMs) * scale);
    if (to < 0 || from > width) continue;
    const last = made.at(-1);
    const failed = span.outcome === "failed";
    if (last && to - from < LEAST && from - last.to < 1 && last.to - last.from < LEAST * 8) {
      last.to = Math.max(last.to, to);
      last.count += 1;
      last.failed ||= failed;
      if (failed) last.span = span;
    } else {
      made.push({ from, to: Math.max(to, from + LEAST), span, count: 1, failed });
    }
  }
  return made;
}

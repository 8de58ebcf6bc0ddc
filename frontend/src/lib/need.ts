// How much a queue needs a person: what fails, waits long, or falls behind comes first.
import type { QueueSummary } from "./types";

export function fallingBehind(row: QueueSummary): boolean {
  const waiting = row.counts.waiting + row.counts.prioritized;
  return waiting > 10 && row.in_per_s !== null && row.out_per_s !== null && row.in_per_s > row.out_per_s * 1.1;
}

export function need(row: QueueSummary): number {
  const waiting = row.counts.waiting + row.counts.prioritized;
  const unserved = !row.workers && waiting ? 1_000 : 0;
  return unserved + (fallingBehind(row) ? 500 : 0) + Math.log2(1 + (row.failed_1h ?? 0)) * 30
    + Math.log2(1 + (row.oldest_waiting_ms ?? 0) / 1000) * 20 + Math.log2(1 + waiting) * 3 + Math.log2(1 + row.counts.active);
}

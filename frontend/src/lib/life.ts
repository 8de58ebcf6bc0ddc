// The life of a job, pure: phases of waiting, attempts and pauses between them, on one time axis.
import type { JobDetail } from "./types";

export interface Phase { kind: "waiting" | "attempt" | "backoff" | "blocked"; from: number; to: number; attempt: number; end: string; worker: string | null; slot: number | null; version: string | null; reason: string | null }

const gap = (kind: Phase["kind"], from: number, to: number): Phase => ({ kind, from, to, attempt: 0, end: kind, worker: null, slot: null, version: null, reason: null });

export function life(job: JobDetail, now: number): Phase[] {
  const phases: Phase[] = [];
  let at = job.created_ms;
  const tries = job.attempts_list.filter((one) => one.started_ms !== null).toSorted((a, b) => a.started_ms! - b.started_ms!);
  for (const [index, one] of tries.entries()) {
    const start = Math.max(one.started_ms!, job.created_ms);
    if (start > at) phases.push(gap(index === 0 ? (job.children.pending + job.children.completed + job.children.failed > 0 ? "blocked" : "waiting") : "backoff", at, start));
    const end = Math.max(start, one.ended_ms ?? job.finished_ms ?? now);
    phases.push({ kind: "attempt", from: start, to: end, attempt: index + 1, end: one.end ?? (job.state === "active" ? "running" : job.state), worker: one.worker, slot: one.slot, version: one.version, reason: one.reason });
    at = end;
  }
  const open = job.finished_ms === null && job.state !== "active";
  if (open && now > at) phases.push(gap(tries.length ? "backoff" : job.state === "waiting-children" ? "blocked" : "waiting", at, now));
  return phases;
}

export const worked = (phases: Phase[]): number => phases.reduce((sum, one) => sum + (one.kind === "attempt" ? one.to - one.from : 0), 0);

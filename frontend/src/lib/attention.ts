// The sentences and next steps of "needs attention", from what the server found.
import { t } from "../i18n";
import { bytes, clock, duration, number, percent, rate } from "./format";
import { join, term } from "./query";
import { to, toJobs, toQueue } from "./route";
import { line } from "./text";
import type { AttentionItem, ErrorGroupRow } from "./types";

const amount = (value: unknown): number => (typeof value === "number" ? value : 0);
const word = (value: unknown): string => (typeof value === "string" ? line(value, 120) : "");

/** Put the causes of most failures of the last hour first; a queue of theirs need not be named again. */
export function withCauses(items: AttentionItem[], groups: ErrorGroupRow[]): AttentionItem[] {
  const recent = groups.map((group) => ({ group, lately: group.spark.reduce((sum, count) => sum + count, 0) })).filter(({ lately }) => lately > 0);
  const top = recent.toSorted((a, b) => b.lately - a.lately).slice(0, 3);
  const queues = new Set(top.flatMap(({ group }) => group.queues));
  const known = new Set(items.map((item) => item.fingerprint));
  const causes = top.filter(({ group }) => !known.has(group.fingerprint)).map(({ group, lately }): AttentionItem => ({
    kind: "error_group", level: "error", queue: group.queues[0] ?? null, task: group.tasks.at(-1) ?? null, fingerprint: group.fingerprint,
    count: lately, since_ms: group.first_ms, values: { type: group.type, message: group.message },
  }));
  return [...causes, ...items.filter((item) => item.kind !== "failing" || !queues.has(item.queue ?? ""))];
}

export function attentionText(item: AttentionItem): { title: string; detail: string } {
  const { values, count } = item;
  const queue = item.queue ? line(item.queue, 60) : "";
  const task = item.task ? line(item.task, 60) : "";
  const since = item.since_ms ? t.sinceClock(clock(item.since_ms)) : "";
  const parts = (...of: (string | false | null | undefined)[]) => of.filter(Boolean).join(" · ");
  switch (item.kind) {
    case "error_group":
      return { title: task ? t.attention.errorIn(word(values.type), task) : word(values.type), detail: parts(queue, [t.failuresCount(count ?? 0), since].filter(Boolean).join(" "), word(values.message)) };
    case "falling_behind":
      return { title: t.attention.fallingBehind(queue), detail: parts(t.inOut(rate(amount(values.in_per_s)), rate(amount(values.out_per_s))), values.oldest_ms ? `${t.oldest} ${duration(amount(values.oldest_ms))}` : "") };
    case "oldest":
      return { title: t.attention.oldest(queue, duration(amount(values.oldest_ms) || (item.since_ms ? Date.now() - item.since_ms : 0))), detail: count ? t.waitingCount(count) : "" };
    case "slow":
      return { title: t.attention.slow(count ?? 0, word(values.factor) || number(amount(values.factor))), detail: parts(task || queue, values.p95_ms ? `p95 ${duration(amount(values.p95_ms))}` : "", values.now_ms ? `${t.now} ${duration(amount(values.now_ms))}` : "") };
    case "no_worker":
      return { title: t.attention.noWorker(queue), detail: parts(t.waitingCount(count ?? 0), since) };
    case "stuck":
      return { title: t.attention.stuck(count ?? 0), detail: parts(queue, task, since) };
    case "failing":
      return { title: t.attention.failing(queue), detail: t.failedOf(count ?? 0, amount(values.finished)) };
    case "worker_gone":
      return { title: t.attention.workerGone(word(values.worker)), detail: parts(word(values.host), since) };
    case "broken_schedule":
      return { title: t.attention.broken(word(values.schedule)), detail: word(values.fault) };
    case "missed_schedule":
      return { title: t.attention.missed(word(values.schedule) || word(values.id)), detail: parts(queue, since) };
    case "mixed_versions":
      return { title: t.attention.mixedVersions, detail: word(values.versions) };
    case "memory":
      return { title: t.attention.memory(word(values.worker)), detail: values.rss ? bytes(amount(values.rss)) : "" };
    case "eviction":
      return { title: t.attention.eviction(word(values.policy)), detail: t.attention.evictionWhy };
    case "dead_letters":
      return { title: t.attention.deadLetters(count ?? 0), detail: queue };
    case "paused":
      return { title: t.attention.paused(queue), detail: parts(word(values.by), word(values.reason), since) };
    default:
      return { title: word(values.message) || item.kind, detail: parts(queue, task, values.share ? percent(amount(values.share)) : "") };
  }
}

export function attentionWay(item: AttentionItem): { href: string; label: string } {
  const { queue, task, fingerprint, kind } = item;
  if (kind === "error_group" && fingerprint) return { href: to("error", { fp: fingerprint }), label: t.open };
  if (kind === "slow" || kind === "stuck") return { href: toJobs(join("state:active", queue ? term("queue", queue) : "", task ? term("task", task) : "")), label: t.show };
  if (kind === "failing" && queue) return { href: toJobs(join("state:failed", term("queue", queue))), label: t.show };
  if (kind === "missed_schedule" || kind === "broken_schedule") return { href: to("schedules"), label: t.open };
  if (kind === "worker_gone" || kind === "mixed_versions" || kind === "memory") return { href: to("workers"), label: t.show };
  if (kind === "eviction") return { href: to("settings"), label: t.show };
  if (queue) return { href: toQueue(queue), label: t.open };
  return { href: to(""), label: t.show };
}

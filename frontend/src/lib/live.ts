// The live connection: one stream per tab while it is visible; polling where streams are blocked.
import { computed, effect, signal } from "@preact/signals";
import { address, get, tick } from "./api";
import type { OverviewAnswer, QueueSummary, StateCounts } from "./types";

export const overview = signal<OverviewAnswer | null>(null);
export const frozen = signal(false);
/** When the newest data came, by this browser's clock. */
export const heardAt = signal(0);
export const fault = signal<string | null>(null);
/** Goes up once a second, for ages that grow by themselves. */
export const second = signal(Date.now());

export const age = computed(() => (heardAt.value ? Math.max(0, second.value - heardAt.value) : null));
export const health = computed(() => {
  if (frozen.value) return "frozen";
  if (age.value === null) return fault.value ? "lost" : "waiting";
  return age.value < 5_000 + (overview.value?.interval_s ?? 1) * 1000 ? "live" : age.value < 30_000 ? "late" : "lost";
});

const HIDDEN_MS = 20_000;
const POLL_MS = 5_000;
// Numbers beside the pages that the stream does not carry.
const COUNTS_MS = 30_000;
let source: EventSource | null = null;
let hiddenSince = 0;
let polled = 0;
let asking = false;
let lastTick = 0;

interface Change extends Partial<OverviewAnswer> { gone?: string[] }
const NONE: StateCounts = { waiting: 0, prioritized: 0, delayed: 0, active: 0, waiting_children: 0, completed: 0, failed: 0 };

function summed(rows: QueueSummary[]): StateCounts {
  const sum = { ...NONE };
  for (const row of rows) for (const state of Object.keys(sum) as (keyof StateCounts)[]) sum[state] += row.counts[state];
  return sum;
}

/** Take over what changed; a stream sends the queues that changed, and not what only `overview` knows. */
function apply(change: Change, whole: boolean): void {
  heardAt.value = Date.now();
  fault.value = null;
  if (frozen.peek()) return;
  const before = overview.peek();
  const rows = new Map(whole ? [] : before?.queues.map((row) => [row.name, row]));
  for (const row of change.queues ?? []) rows.set(row.name, row);
  for (const name of change.gone ?? []) rows.delete(name);
  const queues = [...rows.values()];
  const rest = before ?? { at_ms: 0, took_ms: 0, interval_s: 1, workers: { count: 0, alive: 0, slots: 0, busy: 0 }, schedules: 0, errors: null, flows: null, tasks: null };
  overview.value = { ...rest, ...change, queues, counts: summed(queues) };
}

function open(): void {
  source?.close();
  source = new EventSource(address("stream", { topics: "overview" }));
  const read = (whole: boolean) => (event: MessageEvent<string>) => apply(JSON.parse(event.data) as Change, whole);
  source.addEventListener("overview", read(true));
  source.addEventListener("delta", read(false));
  source.addEventListener("trouble", (event: MessageEvent<string>) => (fault.value = (JSON.parse(event.data) as { message: string }).message));
}

async function poll(): Promise<void> {
  if (asking) return;
  asking = true;
  polled = Date.now();
  try {
    apply(await get<OverviewAnswer>("overview"), true);
  } catch (error) {
    fault.value = error instanceof Error ? error.message : String(error);
  } finally {
    asking = false;
  }
}

function everySecond(): void {
  const now = Date.now();
  if (document.hidden) {
    if (!hiddenSince) hiddenSince = now;
    if (source && now - hiddenSince > HIDDEN_MS) {
      source.close();
      source = null;
    }
    return;
  }
  hiddenSince = 0;
  second.value = now;
  if (frozen.peek()) return;
  if (!source) open();
  // Where nothing comes by the stream, ask; that also says why.
  const quiet = now - Math.max(heardAt.peek(), polled);
  if (quiet > POLL_MS || now - polled > COUNTS_MS) void poll();
  if (now - lastTick >= POLL_MS) {
    lastTick = now;
    tick.value += 1;
  }
}

export function start(): void {
  void poll();
  setInterval(everySecond, 1000);
  document.addEventListener("visibilitychange", everySecond);
  effect(() => {
    document.documentElement.classList.toggle("stale", age.value !== null && age.value > 10_000 && !frozen.value);
  });
}

/** Ask for everything again now: after an action. */
export function refresh(): void {
  tick.value += 1;
  if (!frozen.peek()) void poll();
}

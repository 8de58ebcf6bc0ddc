// The table of queues, for the overview and the page of queues.
import { t } from "../i18n";
import { duration, number, rate } from "../lib/format";
import { fallingBehind, need } from "../lib/need";
import { toQueue } from "../lib/route";
import { line } from "../lib/text";
import type { QueueSummary } from "../lib/types";
import { Spark } from "./spark";
import { Mix } from "./state";
import { type Column, Table } from "./table";

export const LATE_MS = 60_000;

export function QueueState({ of }: { of: QueueSummary }) {
  if (of.paused) {
    const { by, reason, until_ms } = of.paused;
    return <span class="tag warn" title={[by, reason].filter(Boolean).map((text) => line(text!)).join(": ")}>{until_ms ? t.pausedFor(duration(until_ms - Date.now())) : t.paused}</span>;
  }
  const open = of.counts.waiting + of.counts.prioritized;
  if (!of.workers && open) return <span class="tag bad">{t.noWorkers}</span>;
  if (of.limited_until_ms && of.limited_until_ms > Date.now()) return <span class="tag warn">{t.limited}</span>;
  if (fallingBehind(of)) return <span class="tag warn">{t.fallingBehind}</span>;
  return null;
}

const eta = (row: QueueSummary): string => {
  if (row.eta_s !== null) return duration(row.eta_s * 1000);
  return fallingBehind(row) ? "∞" : "–";
};

const COLUMNS: Column<QueueSummary>[] = [
  { key: "name", title: t.queue, sort: "name", keep: true, cell: (row) => <a class="strong" href={toQueue(row.name)}>{line(row.name, 60)}</a> },
  { key: "status", title: t.status, keep: true, cell: (row) => <QueueState of={row} /> },
  { key: "mix", title: t.stateMix, wide: true, cell: (row) => <Mix counts={row.counts} /> },
  { key: "waiting", title: t.waiting, sort: "waiting", num: true, keep: true, cell: (row) => number(row.counts.waiting + row.counts.prioritized) },
  { key: "active", title: t.running, sort: "active", num: true, cell: (row) => number(row.counts.active) },
  { key: "oldest", title: t.oldest, sort: "oldest", num: true, cell: (row) => <span class={(row.oldest_waiting_ms ?? 0) > LATE_MS ? "warn strong" : ""}>{duration(row.oldest_waiting_ms)}</span> },
  { key: "in", title: t.inPerSecond, num: true, cell: (row) => rate(row.in_per_s) },
  { key: "out", title: t.outPerSecond, num: true, cell: (row) => rate(row.out_per_s) },
  { key: "eta", title: t.clearsIn, num: true, cell: eta },
  { key: "failed", title: t.failedHour, sort: "failed", num: true, cell: (row) => <span class={row.failed_1h ? "bad strong" : "dim"}>{number(row.failed_1h)}</span> },
  { key: "p95", title: "p95", sort: "p95", num: true, cell: (row) => duration(row.p95_ms) },
  { key: "spark", title: t.throughputHour, cell: (row) => <Spark values={row.spark} colour={fallingBehind(row) ? "var(--warning)" : "var(--completed)"} label={t.throughputHour} /> },
];

const ORDER: Record<string, (row: QueueSummary) => number> = {
  need, waiting: (row) => row.counts.waiting + row.counts.prioritized, active: (row) => row.counts.active,
  oldest: (row) => row.oldest_waiting_ms ?? -1, failed: (row) => row.failed_1h ?? 0, p95: (row) => row.p95_ms ?? -1,
};

export function QueueTable({ rows, sorted, sortBy, most }: { rows: QueueSummary[]; sorted: string; sortBy?: (key: string) => void; most?: number }) {
  const order = ORDER[sorted];
  const all = rows.toSorted((a, b) => (order ? order(b) - order(a) : 0) || (a.name < b.name ? -1 : 1));
  return <Table caption={t.pageNames.queues!} columns={COLUMNS} rows={most ? all.slice(0, most) : all} id={(row) => row.name} sorted={sorted} {...(sortBy ? { sortBy } : {})} />;
}

// Overview: what is wrong, since when, with the way to mend it; then the load of the last hour.
import { t } from "../i18n";
import { range } from "../app";
import { useResource } from "../lib/api";
import { attentionText, attentionWay, withCauses } from "../lib/attention";
import { duration, number, percent, rate, ago, moment } from "../lib/format";
import { overview, second } from "../lib/live";
import { to } from "../lib/route";
import { line } from "../lib/text";
import { nextOf, ruleText } from "../lib/rule";
import type { Page } from "../lib/model";
import type { AttentionItem, ErrorGroupRow, OverviewAnswer, ScheduleRow, SeriesAnswer } from "../lib/types";
import { Action } from "../parts/actions";
import { Card, type Figure, Figures } from "../parts/card";
import { Durations, Throughput } from "../parts/charts";
import { Empty, Load, Loading } from "../parts/empty";
import { Mark } from "../parts/state";
import { QueueTable } from "../parts/queuetable";

const TONES: Record<string, string> = { error: "bad", warning: "warn", info: "" };
const total = (values: (number | null)[]): number => values.reduce<number>((sum, value) => sum + (value ?? 0), 0);
const lastOf = (values: (number | null)[]): number | null => values.findLast((value) => value !== null) ?? null;

function figures(now: OverviewAnswer, series: SeriesAnswer | null): Figure[] {
  const spanS = series ? Math.max(1, (Math.min(Date.now(), series.start_ms + series.completed.length * series.step_ms) - series.start_ms) / 1000) : 1;
  const done = series ? total(series.completed) : 0;
  const failed = series ? total(series.failed) : 0;
  const before = series?.previous ?? null;
  const share = done + failed ? failed / (done + failed) : null;
  const oldShare = before && before.completed + before.failed ? before.failed / (before.completed + before.failed) : null;
  const change = before?.completed ? done / before.completed - 1 : null;
  const oldest = now.queues.reduce<OverviewAnswer["queues"][number] | null>((late, row) => ((row.oldest_waiting_ms ?? -1) > (late?.oldest_waiting_ms ?? -1) ? row : late), null);
  const backlog = now.counts.waiting + now.counts.prioritized;
  const out = now.queues.reduce((sum, row) => sum + (row.ready ? row.out_per_s ?? 0 : 0), 0);
  const { busy, slots, alive } = now.workers;
  const worse = share !== null && oldShare !== null && share > oldShare + 0.005;
  const p95 = series && lastOf(series.run_p95_ms);
  return [
    { label: t.throughput, value: series ? `${rate(done / spanS)}/s` : "–", note: change === null ? t.doneCount(done) : `${change >= 0 ? "▲" : "▼"} ${percent(Math.abs(change))} ${t.vsPrevious}`, tone: change !== null && change >= 0 ? "good" : undefined },
    { label: t.failureRate, value: percent(share), note: oldShare === null ? t.failedCount(failed) : `${worse ? "▲" : "▼"} ${t.from} ${percent(oldShare)}`, tone: worse ? "bad" : undefined },
    { label: t.oldestWaiting, value: duration(oldest?.oldest_waiting_ms), note: oldest?.oldest_waiting_ms ? <a href={to("queue", { name: oldest.name })}>{line(oldest.name, 30)}</a> : t.nothingWaits, tone: (oldest?.oldest_waiting_ms ?? 0) > 60_000 ? "bad" : undefined },
    { label: t.backlog, value: number(backlog), note: backlog ? (out > 0 ? t.clearsAbout(duration((backlog / out) * 1000)) : t.notMoving) : t.nothingWaits },
    { label: t.busySlots, value: `${number(busy)} / ${number(slots)}`, note: slots ? t.shareOfWorkers(percent(busy / slots), alive) : t.noWorkers, tone: slots ? undefined : backlog ? "bad" : undefined },
    { label: t.runTimeP95, value: duration(p95), note: series ? `p50 ${duration(lastOf(series.run_p50_ms))} · p99 ${duration(lastOf(series.run_p99_ms))}` : undefined },
  ];
}

function Attention({ items, done }: { items: AttentionItem[]; done: number }) {
  if (!items.length) return <Empty title={t.allQuiet}><p class="small soft">{t.completedInRange(done)}</p></Empty>;
  return (
    <ul class="attention">
      {items.slice(0, 8).map((item, at) => {
        const { title, detail } = attentionText(item);
        const way = attentionWay(item);
        return (
          <li key={at}>
            <span class={TONES[item.level]}><Mark of={item.level} /><span class="sr">{t.levels[item.level]}</span></span>
            <span class="grow">
              <a href={way.href}>{title}</a>
              <span class="small soft block">{detail}</span>
            </span>
            {item.kind === "error_group" && item.fingerprint && item.values.open !== 0 && <Action action="retry" label={t.retryAll} confirm request={{ target: { fingerprint: item.fingerprint } }} />}
            {item.kind !== "error_group" && <a class="button" href={way.href}>{way.label}</a>}
          </li>
        );
      })}
      {items.length > 8 && <li class="small soft">{t.moreItems(items.length - 8)}</li>}
    </ul>
  );
}

export function OverviewPage() {
  const now = overview.value;
  const series = useResource<SeriesAnswer>("series", { range: range() }, true);
  const attention = useResource<{ items: AttentionItem[] }>("attention", {}, true);
  const causes = useResource<Page<ErrorGroupRow>>("errors", { range: "1h", limit: 20 }, true);
  const schedules = useResource<Page<ScheduleRow>>("schedules", { limit: 5 }, true);
  if (!now) return <Loading lines={12} />;
  if (!now.queues.length) return <FirstJob />;
  return (
    <div class="stack">
      <h1 class="sr">{t.pageNames.overview}</h1>
      <Figures of={figures(now, series.data)} />
      <div class="columns">
        <Load of={series}>{(data) => <div class="stack"><Throughput of={data} /><Durations of={data} kind="run" title={t.runTime} /></div>}</Load>
        <div class="stack">
          <Card title={t.needsAttention} note={attention.data ? number(withCauses(attention.data.items, causes.data?.items ?? []).length) : ""}>
            <Load of={attention} lines={4}>{({ items }) => <Attention items={withCauses(items, causes.data?.items ?? [])} done={series.data ? total(series.data.completed) : 0} />}</Load>
          </Card>
          <Card title={t.nextRuns}>
            <Load of={schedules} lines={4}>{({ items }) => <NextRuns items={items} />}</Load>
          </Card>
        </div>
      </div>
      <Card title={t.pageNames.queues!} note={t.sortedByNeed(Math.min(12, now.queues.length), now.queues.length)} actions={<a class="button" href={to("queues")}>{t.showAll}</a>}>
        <QueueTable rows={now.queues} sorted="need" most={12} />
      </Card>
    </div>
  );
}

function NextRuns({ items }: { items: ScheduleRow[] }) {
  const coming = items.filter((item) => !item.paused).map((item) => ({ item, at: nextOf(item.next_ms, second.value) })).filter(({ at }) => at !== null).toSorted((a, b) => a.at! - b.at!);
  if (!coming.length) return <p class="small soft pad">{t.noRunsPlanned}</p>;
  return (
    <ul class="list">
      {coming.slice(0, 5).map(({ item, at }) => (
        <li key={`${item.queue}|${item.id}`}>
          <a class="cut grow" href={to("schedules", { schedule: `${item.queue}|${item.id}` })}>{line(item.id, 40)}</a>
          <span class="soft cut grow">{ruleText(item)}</span>
          <time class="num" title={moment(at)}>{ago(at, second.value)}</time>
        </li>
      ))}
    </ul>
  );
}

function FirstJob() {
  return (
    <div class="stack">
      <h1 class="sr">{t.pageNames.overview}</h1>
      <Card title={t.noJobsYet} note={t.noJobsNote}>
        <pre class="code" tabIndex={0} role="region" aria-label={t.noJobsYet}>{"app = Toril()\n\n@app.task\ndef greet(name: str) -> str: ...\n\ngreet.enqueue(\"Ada\")"}</pre>
        <p class="small soft">{t.startWorker} <code>toril worker app.py</code></p>
      </Card>
    </div>
  );
}

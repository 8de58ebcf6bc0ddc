// Schedules: plain words, next runs in two zones, past runs, missed ones; run now, pause and resume.
import { t } from "../i18n";
import { me, useResource } from "../lib/api";
import { ago, clock, dayClock, duration, moment, number } from "../lib/format";
import { second } from "../lib/live";
import { groupBy } from "../lib/group";
import { query, set, toJob, toQueue } from "../lib/route";
import { nextOf, ruleText } from "../lib/rule";
import { line } from "../lib/text";
import type { Page } from "../lib/model";
import type { ScheduleRow } from "../lib/types";
import { Action, allowed, withReason } from "../parts/actions";
import { Card, Facts } from "../parts/card";
import { Empty, Load } from "../parts/empty";
import { Icon } from "../parts/icons";
import { Json } from "../parts/json";
import { colour, Mark, State, stateText } from "../parts/state";
import { Pager, Table } from "../parts/table";

const key = (row: ScheduleRow): string => `${row.queue}|${row.id}`;

export function SchedulesPage() {
  const { cursor, schedule } = query.value;
  const found = useResource<Page<ScheduleRow>>("schedules", { cursor, limit: 100 }, true);
  const shown = found.data?.items.find((row) => key(row) === schedule);
  return (
    <div class="stack">
      <h1 class="sr">{t.pageNames.schedules}</h1>
      <Load of={found}>{({ items, next, total }) => items.length ? (
        <>
          <Ribbon rows={items} />
          <div class={shown ? "split with-panel" : "split"}>
            <Card title={t.pageNames.schedules!} note={number(total ?? items.length)}>
              <Rows rows={items} current={schedule ?? null} />
              <Pager next={next} first={!cursor} shown={items.length} total={total} go={(to) => set({ cursor: to }, false)} />
            </Card>
            {shown && <Panel of={shown} />}
          </div>
        </>
      ) : <Card title={t.pageNames.schedules!}><Empty title={t.noSchedules}><pre class="code" tabIndex={0} role="region" aria-label={t.noSchedules}>{'app.schedules.put("nightly", cron="0 3 * * *", task="report")'}</pre></Empty></Card>}</Load>
    </div>
  );
}

function Rows({ rows, current }: { rows: ScheduleRow[]; current: string | null }) {
  return (
    <Table caption={t.pageNames.schedules!} rows={rows} id={key} current={current} columns={[
      { key: "name", title: t.schedule, keep: true, cell: (row) => <a class="strong" href={`schedules?${new URLSearchParams({ schedule: key(row) }).toString()}`}>{line(row.id, 50)}</a> },
      { key: "rule", title: t.when, wide: true, cell: (row) => <div class="cut" title={line(row.pattern ?? row.rule)}>{row.fault ? <span class="bad">{line(row.fault, 80)}</span> : ruleText(row)}</div> },
      { key: "queue", title: t.queue, cell: (row) => <a href={toQueue(row.queue)}>{line(row.queue, 40)}</a> },
      { key: "next", title: t.nextRun, keep: true, cell: (row) => row.paused ? <span class="tag warn">{t.paused}</span> : <Next of={row} /> },
      { key: "last", title: t.lastRun, cell: (row) => row.last ? <span><State state={row.last.outcome} /> <span class="soft small">{duration(row.last.run_ms)}</span></span> : <span class="dim">–</span> },
      { key: "runs", title: t.lastRuns, cell: (row) => <Ticks of={row} /> },
      { key: "missed", title: t.missed, num: true, cell: (row) => <span class={row.missed ? "bad strong" : "dim"}>{number(row.missed)}</span> },
    ]} />
  );
}

function Next({ of }: { of: ScheduleRow }) {
  const at = nextOf(of.next_ms, second.value);
  return at === null ? <span class="dim">–</span> : <time title={moment(at)}>{ago(at, second.value)}</time>;
}

/** Past runs as ticks, oldest first; colour and height tell the outcome. */
function Ticks({ of }: { of: ScheduleRow }) {
  const runs = of.runs.slice(0, 24).toReversed();
  const failed = runs.filter((run) => run.outcome === "failed").length;
  return (
    <svg class="ticks" width={runs.length * 5 || 1} height="16" role="img" aria-label={t.runsSummary(runs.length, failed)}>
      {runs.map((run, at) => <rect key={at} x={at * 5} y={run.outcome === "failed" ? 1 : 5} width="3" height={run.outcome === "failed" ? 14 : 8} rx="1" fill={colour(run.outcome)}><title>{`${dayClock(run.at_ms)} ${stateText(run.outcome)}`}</title></rect>)}
    </svg>
  );
}

const HALF_DAY = 12 * 3_600_000;

/** The day around now: past runs by outcome, coming runs, and where many start together. */
function Ribbon({ rows }: { rows: ScheduleRow[] }) {
  const now = second.value;
  const x = (ms: number) => 450 + ((ms - now) / HALF_DAY) * 450;
  const past = rows.flatMap((row) => row.runs.filter((run) => now - run.at_ms < HALF_DAY && run.at_ms <= now));
  const coming = rows.flatMap((row) => (row.paused ? [] : row.next_ms.filter((at) => at - now < HALF_DAY && at >= now)));
  const minutes = groupBy(rows.filter((row) => !row.paused && row.pattern && (row.next_ms[1] ?? now + HALF_DAY) - (row.next_ms[0] ?? 0) > 900_000).flatMap((row) => row.next_ms.filter((at) => at - now < HALF_DAY)), (at) => Math.floor(at / 60_000));
  const pile = [...minutes.entries()].sort((a, b) => b[1].length - a[1].length)[0];
  return (
    <Card title={t.dayRibbon} note={pile && pile[1].length > 2 ? t.pileUp(clock(pile[0] * 60_000), pile[1].length) : undefined}>
      <svg class="ribbon" viewBox="0 0 900 44" preserveAspectRatio="none" role="img" aria-label={t.ribbonSummary(past.length, coming.length)}>
        <line x1="0" x2="900" y1="22" y2="22" stroke="var(--line)" />
        <line x1="450" x2="450" y1="2" y2="42" stroke="var(--accent)" stroke-width="1.5" />
        {past.map((run, at) => <rect key={at} x={x(run.at_ms) - 1} y={run.outcome === "failed" ? 6 : 12} width="2" height={run.outcome === "failed" ? 32 : 20} fill={colour(run.outcome)} />)}
        {coming.map((ms, at) => <rect key={`n${at}`} x={x(ms) - 1} y="14" width="2" height="16" fill="none" stroke="var(--waiting)" stroke-width="0.8" />)}
      </svg>
      <div class="lane-axis small dim">{[-12, -6, 0, 6, 12].map((hours) => <span key={hours}>{hours ? ago(now + hours * 3_600_000, now) : t.now}</span>)}</div>
    </Card>
  );
}

function Panel({ of }: { of: ScheduleRow }) {
  const target = { schedule: { queue: of.queue, id: of.id } };
  const other = of.zone ?? me.value?.zone ?? "UTC";
  return (
    <aside class="panel card" aria-label={t.schedule}>
      <header class="row"><h2 class="grow cut">{line(of.id, 80)}</h2><button type="button" class="button plain" aria-label={t.close} onClick={() => set({ schedule: null })}><Icon name="close" /></button></header>
      <div class="page-actions row wrap">
        <Action action="run_now" shortcut="r" primary request={{ target }} />
        {of.paused ? <Action action="resume" shortcut="p" request={{ target }} /> : allowed("pause", target) && <button type="button" class="button" data-key="p" title={`${t.actions.pause} (p)`} onClick={() => withReason({ action: "pause", target }, t.pauseQueue(line(of.id, 60)))}>{t.actions.pause}…</button>}
      </div>
      {of.paused && <p class="notice small">{t.paused}{of.paused.by && ` · ${line(of.paused.by)}`}{of.paused.reason && ` · ${line(of.paused.reason)}`}</p>}
      <Facts of={[
        [t.when, ruleText(of)], [t.rule.text, <code>{line(of.pattern ?? of.rule, 100)}</code>], [t.task, line(of.name, 80)],
        [t.queue, <a class="link" href={toQueue(of.queue)}>{line(of.queue, 80)}</a>],
        [t.declared, of.declared ? t.declaredYes : t.declaredNo], [t.missed, number(of.missed)],
      ]} />
      <h2>{t.nextRuns}</h2>
      {of.next_ms.length === 0 ? <p class="small soft">{t.noRunsPlanned}</p> : <table class="table"><caption class="sr">{t.nextRuns}</caption>
        <thead><tr><th scope="col">{t.yourTime}</th><th scope="col">{line(other, 40)}</th><th scope="col" class="num">{t.when}</th></tr></thead>
        <tbody>{of.next_ms.slice(0, 5).map((ms) => <tr key={ms}><td>{dayClock(ms)}</td><td>{dayClock(ms, other)}</td><td class="num">{ago(ms, second.value)}</td></tr>)}</tbody>
      </table>}
      <h2>{t.lastRuns}</h2>
      {of.runs.length ? <ul class="list">{of.runs.slice(0, 15).map((run, at) => <li key={at}><span style={{ color: colour(run.outcome) }}><Mark of={run.outcome} /></span>{run.job_id ? <a class="link grow cut" href={toJob({ queue: run.queue, id: run.job_id })}>{dayClock(run.at_ms)}</a> : <span class="grow">{dayClock(run.at_ms)}</span>}<span class="soft">{stateText(run.outcome)}</span></li>)}</ul> : <p class="small soft">{t.noRunsYet}</p>}
      <h2>{t.arguments}</h2>
      <Json text={of.data_json} label={t.arguments} />
    </aside>
  );
}

// One queue: facts, actions, charts, its jobs by state, limits and consumers.
import { t } from "../i18n";
import { range } from "../app";
import { useResource } from "../lib/api";
import { dayClock, duration, number, rate } from "../lib/format";
import { overview } from "../lib/live";
import { join, term } from "../lib/query";
import { query, set, to, toJobs } from "../lib/route";
import { line } from "../lib/text";
import { countOf, type StateName } from "../lib/model";
import type { JobsAnswer, KeepRow, PauseRow, QueueDetail, SeriesAnswer } from "../lib/types";
import { Action, allowed, confirmed, withReason } from "../parts/actions";
import { Card, Facts, Figures } from "../parts/card";
import { Durations, Throughput } from "../parts/charts";
import { Empty, Load } from "../parts/empty";
import { JobTable } from "../parts/jobtable";
import { LATE_MS, QueueState } from "../parts/queuetable";
import { Mark, stateText } from "../parts/state";
import { Pager } from "../parts/table";
import { setLimits } from "./limits";

const STATES: StateName[] = ["waiting", "prioritized", "active", "delayed", "waiting-children", "failed", "completed"];

export function QueuePage() {
  const { name = "" } = query.value;
  const queue = useResource<QueueDetail>("queue", { name }, true);
  const series = useResource<SeriesAnswer>("series", { queue: name, range: range() }, true);
  return (
    <div class="stack">
      {!queue.data && <h1 class="sr">{t.queue}</h1>}
      <Load of={queue}>{(found) => <Head of={{ ...found, ...overview.value?.queues.find((row) => row.name === name) }} />}</Load>
      <Load of={series} lines={4}>{(data) => (
        <div class="charts"><Throughput of={data} tall={false} /><Durations of={data} kind="run" title={t.runTime} /><Durations of={data} kind="wait" title={t.waitTime} /></div>
      )}</Load>
      {queue.data && <Jobs of={queue.data} />}
      {queue.data && <Settings of={queue.data} />}
    </div>
  );
}

/** Who paused it, until when, and why. */
function pauseWords({ by, reason, until_ms }: PauseRow): string {
  const who = [by && t.pausedBy(line(by, 60)), until_ms && t.pausedUntil(dayClock(until_ms))].filter(Boolean).join(" ");
  return [who, reason && line(reason)].filter(Boolean).join(": ");
}

function Head({ of }: { of: QueueDetail }) {
  const target = { queue: of.name };
  const open = of.counts.waiting + of.counts.prioritized;
  return (
    <>
      <header class="page-head">
        <h1 class="cut">{line(of.name, 128)}</h1>
        <QueueState of={of} />
        {of.paused && <span class="small soft">{pauseWords(of.paused)}</span>}
        <span class="grow" />
        <span class="page-actions row wrap">
          {of.paused ? <Action action="resume" shortcut="p" request={{ target }} primary /> : allowed("pause") && <button type="button" class="button" data-key="p" title={`${t.actions.pause} (p)`} onClick={() => withReason({ action: "pause", target }, t.pauseQueue(line(of.name, 60)))}>{t.actions.pause}…</button>}
          {of.counts.failed > 0 && <Action action="retry" shortcut="r" label={t.retryFailed} confirm request={{ target: { query: join("state:failed", term("queue", of.name)) } }} />}
          {allowed("enqueue") && <a class="button" data-key="n" href={to("add", { queue: of.name })}>{t.addJob}…</a>}
          {allowed("limits") && <button type="button" class="button" onClick={() => setLimits(of)}>{t.limits}…</button>}
          {allowed("empty") && open > 0 && <button type="button" class="button danger" onClick={() => confirmed({ action: "empty", target }, true)}>{t.actions.empty}…</button>}
        </span>
      </header>
      <Figures of={[
        { label: t.waiting, value: number(open), note: of.eta_s === null ? undefined : t.clearsAbout(duration(of.eta_s * 1000)) },
        { label: t.oldestWaiting, value: duration(of.oldest_waiting_ms), tone: (of.oldest_waiting_ms ?? 0) > LATE_MS ? "warn" : undefined, note: open ? undefined : t.nothingWaits },
        { label: t.running, value: number(of.counts.active), note: of.concurrency ? t.atMost(of.concurrency) : t.noLimit },
        { label: t.inOutShort, value: `${rate(of.in_per_s)} / ${rate(of.out_per_s)}`, note: t.jobsPerSecond },
        { label: t.failedHour, value: number(of.failed_1h), tone: of.failed_1h ? "bad" : undefined, note: <a href={toJobs(join("state:failed", term("queue", of.name)))}>{t.failedKept(of.counts.failed)}</a> },
        { label: t.pageNames.workers!, value: number(of.workers), tone: of.workers || !open ? undefined : "bad", note: of.workers ? t.listening : t.noWorkers },
      ]} />
    </>
  );
}

function Jobs({ of }: { of: QueueDetail }) {
  const { state, cursor } = query.value;
  const shown = STATES.includes(state as StateName) ? (state as StateName) : (["failed", "active", "waiting", "completed", "delayed", "waiting-children", "prioritized"] as StateName[]).find((each) => countOf(of.counts, each) > 0) ?? "waiting";
  const found = useResource<JobsAnswer>("jobs", { q: join(term("queue", of.name), `state:${shown}`), cursor, limit: 25 }, true);
  return (
    <Card title={t.pageNames.jobs!} actions={<a class="button" href={toJobs(join(`state:${shown}`, term("queue", of.name)))}>{t.searchThese}</a>}>
      <nav class="tabs" aria-label={t.state}>
        {STATES.map((each) => (
          <a key={each} href={to("queue", { name: of.name, state: each })} aria-current={each === shown ? "true" : undefined}>
            <Mark of={each} /> {stateText(each)} <span class="dim">{number(countOf(of.counts, each))}</span>
          </a>
        ))}
      </nav>
      <Load of={found}>{({ items, next }) => items.length ? (
        <>
          <JobTable caption={t.pageNames.jobs!} rows={items} withQueue={false} />
          <Pager next={next} first={!cursor} shown={items.length} total={countOf(of.counts, shown)} go={(to) => set({ state: shown, cursor: to }, false)} />
        </>
      ) : <Empty title={t.noJobsInState(stateText(shown))} />}</Load>
    </Card>
  );
}

function kept(of: KeepRow | null): string {
  if (!of) return t.theDefault;
  return [of.count === null ? "" : t.jobsCount(of.count), of.age_ms === null ? "" : duration(of.age_ms)].filter(Boolean).join(" · ") || t.noLimit;
}

function Settings({ of }: { of: QueueDetail }) {
  const limit = of.rate_max && of.rate_ms ? t.startsPer(of.rate_max, duration(of.rate_ms)) : t.noLimit;
  return (
    <div class="charts two">
      <Card title={t.limits}>
        <Facts of={[
          [t.concurrency, of.concurrency ? number(of.concurrency) : t.noLimit], [t.rateLimit, limit],
          [t.mostWaiting, of.max_waiting ? number(of.max_waiting) : t.noLimit], [t.keepCompleted, kept(of.keep_completed)],
          [t.keepFailed, kept(of.keep_failed)], [t.deadLetters, of.dead_letter ? <a class="link" href={to("queue", { name: of.dead_letter })}>{line(of.dead_letter)}</a> : "–"],
        ]} />
      </Card>
      <Card title={t.pageNames.workers!} note={number(of.consumers.length)}>
        {of.consumers.length ? (
          <ul class="list">{of.consumers.map((worker) => (
            <li key={worker.id}><a class="cut grow" href={to("workers", { worker: worker.id })}>{line(worker.name, 60)}</a><span class="soft cut grow">{line(worker.host, 60)}</span><span class="num">{worker.active} / {worker.slots}</span></li>
          ))}</ul>
        ) : <Empty title={t.noWorkers}><p class="small soft">{t.startWorker} <code>toril worker app.py</code></p></Empty>}
      </Card>
    </div>
  );
}

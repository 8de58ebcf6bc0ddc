// Workers: who ran what in the last minutes, slots, memory, versions.
import { t } from "../i18n";
import { useResource } from "../lib/api";
import { bytes, duration, number, percent } from "../lib/format";
import { second } from "../lib/live";
import { query, set, to, toJob, toQueue } from "../lib/route";
import { line } from "../lib/text";
import type { JobRow, JobsAnswer, RunSpan, WorkerRow, WorkersAnswer } from "../lib/types";
import { Card, Facts, Figures } from "../parts/card";
import { Empty, Load } from "../parts/empty";
import { Icon } from "../parts/icons";
import { Lanes } from "../parts/lanes";
import { Table } from "../parts/table";
import { Time } from "../parts/time";

const sum = (rows: WorkerRow[], of: (row: WorkerRow) => number | null): number | null => (rows.some((row) => of(row) !== null) ? rows.reduce((total, row) => total + (of(row) ?? 0), 0) : null);

const LIMIT = 200;

/** What runs now, and the last attempts of the jobs that ended lately; each by its worker's id. */
function spansOf(workers: WorkerRow[], running: RunSpan[], past: JobRow[]): RunSpan[] {
  const ids = new Map(workers.flatMap(({ id, name }) => [[name, id], [id, id]] as [string, string][]));
  const ended = past.flatMap(({ worker, slot, started_ms, finished_ms, queue, id, name, state }) =>
    worker && slot && started_ms && finished_ms ? [{ worker, slot, queue, id, name, start_ms: started_ms, end_ms: finished_ms, outcome: state }] : []);
  return [...ended, ...running].flatMap((span) => (ids.has(span.worker) ? [{ ...span, worker: ids.get(span.worker)! }] : []));
}

export function WorkersPage() {
  const found = useResource<WorkersAnswer>("workers", {}, true);
  const done = useResource<JobsAnswer>("jobs", { q: "since:5m state:completed", limit: LIMIT }, true);
  const bad = useResource<JobsAnswer>("jobs", { q: "since:5m state:failed", limit: LIMIT }, true);
  const { worker } = query.value;
  return (
    <div class="stack">
      <h1 class="sr">{t.pageNames.workers}</h1>
      <Load of={found} lines={10}>{({ items, from_ms, ...rest }) => {
        const past = [...(done.data?.items ?? []), ...(bad.data?.items ?? [])];
        const spans = spansOf(items, rest.spans, past);
        const merged = rest.merged || done.data?.next !== null || bad.data?.next !== null;
        if (!items.length) return <Card title={t.pageNames.workers!}><Empty title={t.noWorkers}><p class="small soft">{t.startWorker} <code>toril worker app.py</code></p></Empty></Card>;
        const shown = items.find((row) => row.id === worker);
        const alive = items.filter((row) => row.alive);
        const slots = alive.reduce((total, row) => total + row.slots, 0);
        const busy = alive.reduce((total, row) => total + row.active, 0);
        const versions = [...new Set(alive.map((row) => row.version).filter(Boolean))] as string[];
        const hosts = new Set(alive.map((row) => row.host)).size;
        const largest = alive.reduce<WorkerRow | null>((top, row) => ((row.rss ?? 0) > (top?.rss ?? 0) ? row : top), null);
        const lost = items.length - alive.length;
        return (
          <>
            <Figures of={[
              { label: t.pageNames.workers!, value: number(alive.length), note: lost ? t.silentCount(lost) : t.allAlive, tone: lost ? "bad" : "good" },
              { label: t.busySlots, value: `${number(busy)} / ${number(slots)}`, note: slots ? percent(busy / slots) : "" },
              { label: t.memory, value: bytes(sum(alive, (row) => row.rss)), note: largest?.rss ? `${t.largest} ${line(largest.name, 20)} · ${bytes(largest.rss)}` : t.notReported },
              { label: "CPU", value: sum(alive, (row) => row.cpu_pct) === null ? "–" : percent(sum(alive, (row) => row.cpu_pct)! / 100), note: t.ofHosts(hosts) },
              { label: t.codeVersion, value: versions.length === 1 ? line(versions[0]!, 20) : versions.length ? number(versions.length) : "–", note: versions.length > 1 ? t.mixedVersions : versions.length ? t.sameEverywhere : t.notReported, tone: versions.length > 1 ? "bad" : undefined },
              { label: t.queuesServed, value: number(new Set(alive.flatMap((row) => row.queues)).size), note: t.byWorkers(alive.length) },
            ]} />
            <div class={shown ? "split with-panel" : "split"}>
              <div class="stack">
                <Card title={t.whoRanWhat} note={`${t.lanesNote}${merged ? ` ${t.lanesMerged}` : ""}`}>{spans.length ? <Lanes workers={items} spans={spans} from={from_ms} now={found.at} /> : <p class="small soft">{t.nothingInRange}</p>}</Card>
                <Card title={t.pageNames.workers!} note={number(items.length)}><Rows rows={items} current={worker ?? null} /></Card>
              </div>
              {shown && <Panel of={shown} spans={spans} />}
            </div>
          </>
        );
      }}</Load>
    </div>
  );
}

function Rows({ rows, current }: { rows: WorkerRow[]; current: string | null }) {
  return (
    <Table caption={t.pageNames.workers!} rows={rows} id={(row) => row.id} current={current} columns={[
      { key: "name", title: t.worker, keep: true, cell: (row) => <a class="strong" href={to("workers", { worker: row.id })}>{line(row.name, 50)}</a> },
      { key: "alive", title: t.status, keep: true, cell: (row) => <Status of={row} /> },
      { key: "slots", title: t.busySlots, num: true, keep: true, cell: (row) => `${row.active} / ${row.slots}` },
      { key: "host", title: t.host, cell: (row) => `${line(row.host, 40)} · ${row.pid}` },
      { key: "queues", title: t.pageNames.queues!, wide: true, cell: (row) => <span class="cut block">{row.queues.map((name) => line(name, 40)).join(", ")}</span> },
      { key: "rss", title: t.memory, num: true, cell: (row) => bytes(row.rss) },
      { key: "cpu", title: "CPU", num: true, cell: (row) => (row.cpu_pct === null ? "–" : percent(row.cpu_pct / 100)) },
      { key: "version", title: t.version, cell: (row) => (row.version ? line(row.version, 30) : row.node ? "Node" : "–") },
      { key: "up", title: t.upFor, num: true, cell: (row) => duration(second.value - row.started_ms) },
      { key: "seen", title: t.heartbeat, num: true, cell: (row) => <Time ms={row.seen_ms} /> },
    ]} />
  );
}

function Status({ of }: { of: WorkerRow }) {
  if (!of.alive) return <span class="bad">! {t.silent}</span>;
  return of.quiet ? <span class="warn">◌ {t.quiet}</span> : <span class="good">● {t.alive}</span>;
}

function Panel({ of, spans }: { of: WorkerRow; spans: RunSpan[] }) {
  const running = spans.filter((span) => span.worker === of.id && span.end_ms === null);
  return (
    <aside class="panel card" aria-label={t.worker}>
      <header class="row"><h2 class="grow cut">{line(of.name, 80)}</h2><button type="button" class="button plain" aria-label={t.close} onClick={() => set({ worker: null })}><Icon name="close" /></button></header>
      <Facts of={[
        [t.status, <Status of={of} />], [t.host, `${line(of.host, 60)} · ${of.pid}`], [t.busySlots, `${of.active} / ${of.slots}`], [t.memory, bytes(of.rss)],
        ["CPU", of.cpu_pct === null ? "–" : percent(of.cpu_pct / 100)], [t.version, of.version ? line(of.version, 60) : "–"],
        [t.started, <Time ms={of.started_ms} />], [t.heartbeat, <Time ms={of.seen_ms} />],
        [t.pageNames.queues!, <span>{of.queues.map((name) => <a key={name} class="link" href={toQueue(name)}>{line(name, 60)} </a>)}</span>],
      ]} />
      <h2>{t.runningNow}</h2>
      {running.length ? <ul class="list">{running.map((span) => (
        <li key={`${span.slot}${span.id}`}><span class="soft">{t.slotN(span.slot)}</span><a class="link grow cut" href={toJob(span)}>{line(span.name, 60)}</a><span class="small soft">{duration(second.value - span.start_ms)}</span></li>
      ))}</ul> : <p class="small soft">{t.nothingRuns}</p>}
    </aside>
  );
}

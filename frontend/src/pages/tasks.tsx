// Tasks: rate, failures, wait and run time of each; one of them with curves, heat map and parameters.
import { t } from "../i18n";
import { range } from "../app";
import { useResource } from "../lib/api";
import { duration, number, percent, rate } from "../lib/format";
import { join, term } from "../lib/query";
import { short } from "../lib/traceback";
import { query, set, to, toJobs, toQueue } from "../lib/route";
import { line } from "../lib/text";
import type { Page } from "../lib/model";
import type { HeatAnswer, SeriesAnswer, TaskRow } from "../lib/types";
import { allowed } from "../parts/actions";
import { Card, Choice, Facts } from "../parts/card";
import { Durations, Throughput } from "../parts/charts";
import { Empty, Load } from "../parts/empty";
import { HeatMap } from "../parts/heatmap";
import { Spark } from "../parts/spark";
import { type Column, Table } from "../parts/table";

// Known where toril's workers run the jobs.
const NUMBERS: Column<TaskRow>[] = [
  { key: "rate", title: t.perSecond, num: true, sort: "rate", cell: (row) => rate(row.per_s) },
  { key: "failed", title: t.failed, num: true, keep: true, sort: "failed", cell: (row) => <span class={row.failed_share ? "bad" : "dim"}>{percent(row.failed_share)}</span> },
  { key: "p50", title: `${t.runTime} p50`, num: true, cell: (row) => duration(row.run_p50_ms) },
  { key: "p95", title: `${t.runTime} p95`, num: true, keep: true, sort: "p95", cell: (row) => duration(row.run_p95_ms) },
  { key: "wait", title: `${t.waitTime} p95`, num: true, sort: "wait", cell: (row) => duration(row.wait_p95_ms) },
  { key: "spark", title: t.throughput, cell: (row) => <Spark values={row.spark} label={t.throughput} /> },
];

export function TasksPage() {
  const found = useResource<Page<TaskRow>>("tasks", { limit: 500 }, true);
  const { sort = "p95" } = query.value;
  const order: Record<string, (row: TaskRow) => number> = { p95: (row) => row.run_p95_ms ?? -1, rate: (row) => row.per_s ?? -1, failed: (row) => row.failed_share ?? -1, wait: (row) => row.wait_p95_ms ?? -1 };
  return (
    <div class="stack">
      <h1 class="sr">{t.pageNames.tasks}</h1>
      <Card title={t.pageNames.tasks!} note={found.data ? number(found.data.items.length) : ""}>
        <Load of={found}>{({ items }) => items.length ? (
          <Table caption={t.pageNames.tasks!} sorted={sort} sortBy={(key) => set({ sort: key })} id={(row) => `${row.queue}|${row.name}`}
            rows={items.toSorted((a, b) => (order[sort] ? order[sort](b) - order[sort](a) : 0) || (a.name < b.name ? -1 : 1))} columns={[
              { key: "name", title: t.task, keep: true, wide: true, sort: "name", cell: (row) => <a class="strong" href={to("task", { name: row.name })}>{line(row.name, 80)}</a> },
              { key: "queues", title: t.queue, cell: (row) => line(row.queue, 40) },
              ...(items.some((row) => row.per_s !== null) ? NUMBERS : []),
              { key: "where", title: t.where, cell: (row) => <span class="mono cut block id">{row.where && <span title={line(row.where, 300)}>{line(short(row.where), 60)}</span>}</span> },
            ]} />
        ) : <Empty title={t.noTasks} />}</Load>
      </Card>
    </div>
  );
}

export function TaskPage() {
  const { name = "", heat = "run" } = query.value;
  const kind = heat === "wait" ? "wait" : "run";
  const tasks = useResource<Page<TaskRow>>("tasks", { limit: 500 });
  const series = useResource<SeriesAnswer>("series", { task: name, range: range() }, true);
  const cells = useResource<HeatAnswer>("heat", { task: name, kind, range: range() }, true);
  const task = tasks.data?.items.find((row) => row.name === name);
  return (
    <div class="stack">
      <header class="page-head">
        <h1 class="cut">{line(name, 128)}</h1>
        <span class="grow" />
        <span class="page-actions row wrap">
          <a class="button" href={toJobs(term("task", name))}>{t.showJobs}</a>
          <a class="button" href={toJobs(join(term("task", name), "state:failed"))}>{t.showFailed}</a>
          {allowed("enqueue") && <a class="button" data-key="n" href={to("add", { task: name, queue: task?.queue })}>{t.addJob}…</a>}
        </span>
      </header>
      <Load of={series} lines={4}>{(data) => <div class="charts"><Throughput of={data} tall={false} /><Durations of={data} kind="run" title={t.runTime} /><Durations of={data} kind="wait" title={t.waitTime} /></div>}</Load>
      <Card title={t.heatMap} note={t.heatNote} actions={<Choice label={t.heatMap} value={kind} options={[["run", t.runTime], ["wait", t.waitTime]]} pick={(next) => set({ heat: next === "run" ? null : next })} />}>
        <Load of={cells} lines={3}>{(data) => <HeatMap of={data} title={t.heatMap} />}</Load>
      </Card>
      {task && (
        <div class="charts two">
          <Card title={t.parameters}>
            {task.parameters.length ? (
              <Table caption={t.parameters} rows={task.parameters} id={(row) => row.name} columns={[
                { key: "name", title: t.name, keep: true, cell: (row) => <code>{line(row.name, 60)}</code> },
                { key: "type", title: t.type, keep: true, cell: (row) => <code>{line(row.type, 80)}</code> },
                { key: "default", title: t.theDefault, wide: true, keep: true, cell: (row) => (row.required ? t.required : <code>{line(row.default_json ?? "", 80)}</code>) },
              ]} />
            ) : <p class="small soft">{t.notKnownHere}</p>}
          </Card>
          <Card title={t.options}>
            <Facts of={[
              [t.where, <code title={line(task.where ?? "", 300)}>{task.where ? line(short(task.where), 120) : "–"}</code>],
              [t.pageNames.queues!, <a class="link" href={toQueue(task.queue)}>{line(task.queue, 60)}</a>],
              ...Object.entries(task.options).map(([key, value]): [string, string] => [line(key, 40), line(typeof value === "object" ? JSON.stringify(value) : String(value), 120)]),
            ]} />
          </Card>
        </div>
      )}
    </div>
  );
}

// Errors, grouped by cause: how many, since when, in which versions; retry of one group.
import { t } from "../i18n";
import { range } from "../app";
import { useResource } from "../lib/api";
import { number } from "../lib/format";
import { term, join } from "../lib/query";
import { query, set, to, toJob, toJobs } from "../lib/route";
import { line } from "../lib/text";
import type { ErrorGroupDetail, ErrorGroupRow } from "../lib/types";
import type { Page } from "../lib/model";
import { Action } from "../parts/actions";
import { Card, Facts } from "../parts/card";
import { Empty, Load } from "../parts/empty";
import { JobTable } from "../parts/jobtable";
import { Spark } from "../parts/spark";
import { Stack } from "../parts/stack";
import { Mark } from "../parts/state";
import { Pager, Table } from "../parts/table";
import { Time } from "../parts/time";

export function ErrorsPage() {
  const { cursor } = query.value;
  const found = useResource<Page<ErrorGroupRow>>("errors", { range: range(), cursor }, true);
  return (
    <div class="stack">
      <h1 class="sr">{t.pageNames.errors}</h1>
      <Card title={t.pageNames.errors!} note={t.groupedByCause}>
        <Load of={found}>{({ items, next, total }) => items.length ? (
          <>
            <Table caption={t.pageNames.errors!} rows={items} id={(row) => row.fingerprint} columns={[
              { key: "group", title: t.error, wide: true, keep: true, cell: (row) => (
                <span class="block cut"><a class="strong" href={to("error", { fp: row.fingerprint })}>{line(row.type, 80)}</a> <span class="soft">{line(row.message, 160)}</span></span>
              ) },
              { key: "where", title: t.where, cell: (row) => <span class="mono cut block id">{row.where ? line(row.where, 60) : ""}</span> },
              { key: "tasks", title: t.pageNames.tasks!, cell: (row) => row.tasks.slice(0, 2).map((name) => line(name, 40)).join(", ") + (row.tasks.length > 2 ? " …" : "") },
              { key: "count", title: t.failures, num: true, keep: true, cell: (row) => <span class="strong">{number(row.count)}</span> },
              { key: "spark", title: t.trend, cell: (row) => <Spark values={row.spark} colour="var(--failed)" label={t.trend} /> },
              { key: "first", title: t.firstSeen, cell: (row) => <Time ms={row.first_ms} /> },
              { key: "last", title: t.lastSeen, keep: true, cell: (row) => <Time ms={row.last_ms} /> },
              { key: "versions", title: t.version, cell: (row) => row.versions.slice(-2).map((each) => line(each, 20)).join(", ") || "–" },
              { key: "state", title: t.status, cell: (row) => <GroupState of={row} /> },
            ]} />
            <Pager next={next} first={!cursor} shown={items.length} total={total} go={(to) => set({ cursor: to }, false)} />
          </>
        ) : <Empty title={t.noErrors} />}</Load>
      </Card>
    </div>
  );
}

function GroupState({ of }: { of: ErrorGroupRow }) {
  return <span class={of.is_new ? "tag bad" : "tag"}>{t.groupStates[of.is_new ? "new" : of.state] ?? of.state}</span>;
}

export function ErrorPage() {
  const { fp = "" } = query.value;
  const found = useResource<ErrorGroupDetail>("error", { fp }, true);
  return (
    <>
    {!found.data && <h1 class="sr">{t.error}</h1>}
    <Load of={found} lines={10}>{(group) => {
      const open = group.open ?? group.count;
      return (
      <div class="stack">
        <header class="page-head">
          <span class="state pill bad"><Mark of="failed" /> {number(group.count)}</span>
          <h1 class="cut">{line(group.type, 100)}</h1>
          <span class="soft cut">{line(group.message, 200)}</span>
          <span class="grow" />
          <span class="page-actions row wrap">
            {open > 0 && <Action action="retry" shortcut="r" primary confirm label={t.actionCount(t.actions.retry!, open)} request={{ target: { fingerprint: group.fingerprint } }} />}
            {open > 0 && <Action action="delete" danger confirm request={{ target: { fingerprint: group.fingerprint } }} />}
          </span>
        </header>
        <div class="columns">
          <div class="stack">
            {group.last && <Card title={t.lastTime} actions={<a class="button" href={toJob(group.last)}>{t.openJob}</a>}><Stack text={group.last.stack} /></Card>}
            {group.first && group.last && group.first.id !== group.last.id && group.first.stack !== group.last.stack && <Card title={t.firstTime} actions={<a class="button" href={toJob(group.first)}>{t.openJob}</a>}><Stack text={group.first.stack} /></Card>}
            <Card title={t.sample} actions={<a class="button" href={toJobs(join(term("error", group.fingerprint), "state:failed"))}>{t.showAll}</a>}>
              {group.sample.length ? <JobTable caption={t.sample} rows={group.sample} /> : <Empty title={t.noneKept} />}
            </Card>
          </div>
          <div class="stack">
            <section class="card"><h2 class="sr">{t.facts}</h2><Facts of={[
              [t.failures, number(group.count)], [t.stillFailed, number(group.open)], [t.firstSeen, <Time ms={group.first_ms} />], [t.lastSeen, <Time ms={group.last_ms} />],
              [t.where, <code>{group.where ? line(group.where, 120) : "–"}</code>], [t.pageNames.tasks!, group.tasks.map((name) => line(name, 60)).join(", ")],
              [t.pageNames.queues!, group.queues.map((name) => line(name, 60)).join(", ")], [t.version, group.versions.map((each) => line(each, 40)).join(", ") || "–"],
              [t.status, <GroupState of={group} />],
            ]} /></section>
            <Card title={t.trend}><Spark values={group.spark} colour="var(--failed)" label={t.trend} /></Card>
          </div>
        </div>
      </div>
      );
    }}</Load>
    </>
  );
}

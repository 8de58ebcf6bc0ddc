// Flows: the runs of trees of jobs, how far each is, and one of them as a graph or a waterfall.
import { t } from "../i18n";
import { useResource } from "../lib/api";
import { duration, number } from "../lib/format";
import { keyOf } from "../lib/flow";
import { query, set, to, toJob } from "../lib/route";
import { second } from "../lib/live";
import { line } from "../lib/text";
import type { Page } from "../lib/model";
import type { FlowAnswer, FlowRow } from "../lib/types";
import { Action } from "../parts/actions";
import { Card } from "../parts/card";
import { Empty, Load } from "../parts/empty";
import { Flow } from "../parts/flowgraph";
import { State } from "../parts/state";
import { Pager, Table } from "../parts/table";
import { Time } from "../parts/time";

export function FlowsPage() {
  const { cursor } = query.value;
  const flows = useResource<Page<FlowRow>>("flows", { cursor }, true);
  return (
    <div class="stack">
      <h1 class="sr">{t.pageNames.flows}</h1>
      <Card title={t.pageNames.flows!}>
        <Load of={flows}>{({ items, next, total }) => items.length ? (
          <>
            <Table caption={t.pageNames.flows!} rows={items} id={(row) => keyOf(row)} columns={[
              { key: "state", title: t.state, keep: true, cell: (row) => <State state={row.state} /> },
              { key: "name", title: t.flow, keep: true, cell: (row) => <a class="strong" href={to("flow", { queue: row.queue, id: row.id })}>{line(row.name, 60)}</a> },
              { key: "id", title: t.id, cell: (row) => <span class="mono">{line(row.id, 30)}</span> },
              { key: "queue", title: t.queue, cell: (row) => line(row.queue, 40) },
              { key: "done", title: t.progress, wide: true, keep: true, cell: (row) => <span class="row"><progress max={Math.max(1, row.total)} value={row.done} aria-label={t.doneOf(row.done, row.total)} /> <span class="small">{number(row.done)} / {number(row.total)}</span></span> },
              { key: "failed", title: t.failed, num: true, cell: (row) => <span class={row.failed ? "bad strong" : "dim"}>{number(row.failed)}</span> },
              { key: "started", title: t.started, cell: (row) => <Time ms={row.started_ms} /> },
              { key: "took", title: t.runTime, num: true, cell: (row) => duration(row.started_ms === null ? null : (row.finished_ms ?? second.value) - row.started_ms) },
            ]} />
            <Pager next={next} first={!cursor} shown={items.length} total={total} go={(to) => set({ cursor: to }, false)} />
          </>
        ) : <Empty title={t.noFlows}><p class="small soft">{t.noFlowsNote}</p></Empty>}</Load>
      </Card>
    </div>
  );
}

export function FlowPage() {
  const { queue = "", id = "" } = query.value;
  const flow = useResource<FlowAnswer>("flow", { queue, id }, true);
  return (
    <>
    {!flow.data && <h1 class="sr">{t.flow}</h1>}
    <Load of={flow}>{({ nodes, more }) => {
      const root = nodes.find((node) => node.parent === null) ?? nodes[0];
      if (!root) return <Empty title={t.notFound} />;
      const failed = nodes.filter((node) => node.state === "failed");
      const open = nodes.filter((node) => node.finished_ms === null);
      const late = open.filter((node) => node.state !== "waiting-children");
      return (
        <div class="stack">
          <header class="page-head">
            <State state={root.state} pill />
            <h1 class="cut">{line(root.name, 128)}</h1>
            <a class="mono link cut" href={toJob(root)}>{line(root.id, 60)}</a>
            <span class="grow" />
            <span class="page-actions row wrap">
              {failed.length > 0 && <Action action="retry" shortcut="r" primary confirm label={t.retryFailedPart} request={{ target: { jobs: failed.map(({ queue, id }) => ({ queue, id })) } }} />}
              {open.length > 0 && <Action action="cancel" shortcut="c" confirm label={`${t.cancelFlow}…`} request={{ target: { jobs: [{ queue: root.queue, id: root.id }] } }} />}
            </span>
          </header>
          {root.state === "waiting-children" && <p class="notice small">{failed.length ? t.waitsForFailed(failed.length) : t.waitsFor(late.length)} {late.slice(0, 5).map((node) => <a key={keyOf(node)} class="link" href={toJob(node)}>{line(node.name, 40)} </a>)}</p>}
          <Flow nodes={nodes} more={more} current={null} title={t.flow} />
        </div>
      );
    }}</Load>
    </>
  );
}

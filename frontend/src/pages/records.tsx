// What was done from here: bulk operations with their progress, and the audit log.
import { t } from "../i18n";
import { can, post, useResource } from "../lib/api";
import { number } from "../lib/format";
import { query, set } from "../lib/route";
import { line } from "../lib/text";
import type { Page } from "../lib/model";
import type { AuditRow, OperationRow } from "../lib/types";
import { Card } from "../parts/card";
import { Empty, Load } from "../parts/empty";
import { Pager, Table } from "../parts/table";
import { say } from "../parts/toast";
import { Time } from "../parts/time";

export function OperationsPage() {
  const found = useResource<Page<OperationRow>>("operations", {}, true);
  return (
    <div class="stack">
      <h1 class="sr">{t.pageNames.operations}</h1>
      <Card title={t.pageNames.operations!}>
        <Load of={found}>{({ items }) => items.length ? (
          <Table caption={t.pageNames.operations!} rows={items} id={(row) => row.id} columns={[
            { key: "action", title: t.action, keep: true, cell: (row) => <span class="strong">{t.actions[row.action] ?? line(row.action, 40)}</span> },
            { key: "state", title: t.state, keep: true, cell: (row) => <span class={row.state === "failed" ? "bad" : row.state === "running" ? "" : "soft"}>{t.operationStates[row.state] ?? line(row.state, 20)}</span> },
            { key: "progress", title: t.progress, wide: true, keep: true, cell: (row) => <span class="row"><progress max={Math.max(1, row.total ?? row.done)} value={row.done + row.skipped + row.failed} aria-label={t.progress} /><span class="small">{number(row.done)}{row.total === null ? "" : ` / ${number(row.total)}`}</span></span> },
            { key: "skipped", title: t.skipped, num: true, cell: (row) => number(row.skipped) },
            { key: "failed", title: t.failed, num: true, cell: (row) => <span class={row.failed ? "bad" : "dim"}>{number(row.failed)}</span> },
            { key: "selector", title: t.on, cell: (row) => <span class="mono cut block id" title={line(row.selector, 300)}>{line(row.selector, 60)}</span> },
            { key: "by", title: t.by, cell: (row) => line(row.by, 40) },
            { key: "started", title: t.started, cell: (row) => <Time ms={row.started_ms} /> },
            { key: "cancel", title: "", cell: (row) => row.state === "running" && can("cancel") && <button type="button" class="button" onClick={() => void post("operations/cancel", { id: row.id }).then(found.reload, (error: unknown) => say(String(error), { bad: true }))}>{t.actions.cancel}</button> },
          ]} />
        ) : <Empty title={t.noOperations}><p class="small soft">{t.noOperationsNote}</p></Empty>}</Load>
      </Card>
    </div>
  );
}

export function AuditPage() {
  const { cursor } = query.value;
  const found = useResource<Page<AuditRow>>("audit", { cursor }, true);
  return (
    <div class="stack">
      <h1 class="sr">{t.pageNames.audit}</h1>
      <Card title={t.pageNames.audit!} note={t.auditNote}>
        <Load of={found}>{({ items, next, total }) => items.length ? (
          <>
            <Table caption={t.pageNames.audit!} rows={items} id={(row) => `${row.at_ms}|${row.user}|${row.action}|${row.selector}`} columns={[
              { key: "at", title: t.time, keep: true, cell: (row) => <Time ms={row.at_ms} /> },
              { key: "user", title: t.who, keep: true, cell: (row) => <span class="strong">{line(row.user, 40)}</span> },
              { key: "action", title: t.action, keep: true, cell: (row) => t.actions[row.action] ?? line(row.action, 40) },
              { key: "selector", title: t.on, wide: true, cell: (row) => <span class="mono cut block" title={line(row.selector, 400)}>{line(row.selector, 120)}</span> },
              { key: "count", title: t.jobsWord, num: true, cell: (row) => number(row.count) },
              { key: "result", title: t.outcome, cell: (row) => line(row.result, 60) },
              { key: "reason", title: t.reason, cell: (row) => (row.reason ? line(row.reason, 100) : "") },
              { key: "change", title: t.change, cell: (row) => (row.before || row.after ? <span class="mono cut block id" title={`${line(row.before ?? "", 300)} → ${line(row.after ?? "", 300)}`}>{line(row.before ?? "", 40)} → {line(row.after ?? "", 40)}</span> : "") },
              { key: "address", title: t.address, cell: (row) => (row.address ? line(row.address, 50) : "") },
            ]} />
            <Pager next={next} first={!cursor} shown={items.length} total={total} go={(to) => set({ cursor: to }, false)} />
          </>
        ) : <Empty title={t.noAudit} />}</Load>
      </Card>
    </div>
  );
}

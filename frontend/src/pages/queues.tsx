// All queues, sorted by need; filter, pause and resume.
import { t } from "../i18n";
import { overview } from "../lib/live";
import { query, set } from "../lib/route";
import { Card } from "../parts/card";
import { Empty, Loading } from "../parts/empty";
import { QueueTable } from "../parts/queuetable";

export function QueuesPage() {
  const now = overview.value;
  const { q = "", sort = "need" } = query.value;
  if (!now) return <Loading lines={12} />;
  const rows = now.queues.filter((row) => row.name.toLowerCase().includes(q.toLowerCase()));
  return (
    <div class="stack">
      <h1 class="sr">{t.pageNames.queues}</h1>
      <Card title={t.pageNames.queues!} note={t.shownOf(rows.length, now.queues.length)}
        actions={<>
          <label class="row small"><span class="sr">{t.filterByName}</span><input class="input" value={q} placeholder={t.filterByName} onInput={(event) => set({ q: event.currentTarget.value || null })} /></label>
          {sort !== "need" && <button type="button" class="button" onClick={() => set({ sort: null })}>{t.sortByNeed}</button>}
        </>}>
        {rows.length ? <QueueTable rows={rows} sorted={sort} sortBy={(key) => set({ sort: key })} /> : <Empty title={t.noQueueMatches} />}
      </Card>
    </div>
  );
}

// Jobs: one search over everything, its filters as chips, selection with actions, a panel beside the rows.
import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { address, get, useResource } from "../lib/api";
import { dayClock } from "../lib/format";
import { chips, replaced, valueOf, without } from "../lib/query";
import { go, query, set, to, toJob } from "../lib/route";
import { savedViews } from "../lib/settings";
import { line } from "../lib/text";
import type { StateName } from "../lib/model";
import type { JobPlace, JobRow, JobsAnswer, SearchPlan } from "../lib/types";
import { Action, allowed } from "../parts/actions";
import { ask, dismiss } from "../parts/dialog";
import { Empty, Load } from "../parts/empty";
import { jobKey, JobTable } from "../parts/jobtable";
import { Mark, stateText } from "../parts/state";
import { Pager } from "../parts/table";
import { JobPanel } from "./job";

const LIMIT = 50;
const STATES: StateName[] = ["failed", "active", "waiting", "delayed", "waiting-children", "completed"];

export const refOf = (key: string): JobPlace => {
  const at = key.indexOf("|");
  return { queue: key.slice(0, at), id: key.slice(at + 1) };
};

export function JobsPage() {
  const { q = "", cursor, panel } = query.value;
  const found = useResource<JobsAnswer>("jobs", { q, cursor, limit: LIMIT }, !cursor);
  // Rows keep their places: what changed is shown in place, what left the result is greyed.
  const [kept, keep] = useState<{ of: string; items: JobRow[] } | null>(null);
  const list = `${q}|${cursor ?? ""}`;
  const same = found.current;
  useEffect(() => {
    if (found.data && same && kept?.of !== list) keep({ of: list, items: found.data.items });
  }, [found.data]);
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const last = useRef<string | null>(null);
  useEffect(() => setSelected(new Set()), [q, cursor]);
  const now = found.data?.items ?? [];
  const rows = kept?.of === list ? kept.items : now;
  const fresh = new Map(now.map((job) => [jobKey(job), job]));
  const known = new Set(rows.map(jobKey));
  const added = [...fresh.keys()].filter((key) => !known.has(key)).length;
  const shown = rows.map((job) => fresh.get(jobKey(job)) ?? job);
  const gone = new Set(now.length < LIMIT && same ? [...known].filter((key) => !fresh.has(key)) : []);

  const select = (key: string, on: boolean, range: boolean) => {
    const next = new Set(selected);
    const keys = rows.map(jobKey);
    const from = range && last.current ? keys.indexOf(last.current) : -1;
    const at = keys.indexOf(key);
    for (const each of from < 0 ? [key] : keys.slice(Math.min(from, at), Math.max(from, at) + 1)) on ? next.add(each) : next.delete(each);
    last.current = key;
    setSelected(next);
  };
  const open = (job: JobRow) => (panel === jobKey(job) ? go(toJob(job)) : set({ panel: jobKey(job) }));
  const fields = [...new Set(chips(q).map((chip) => chip.key).filter((key) => rows.some((job) => key in job.fields)))];
  return (
    <div class="stack">
      <h1 class="sr">{t.pageNames.jobs}</h1>
      <Filters q={q} plan={found.data?.plan ?? null} total={found.data?.total ?? null} />
      {found.data?.problems.map((problem) => <p key={problem.at} class="notice small">{line(problem.message, 300)}</p>)}
      <div class={panel ? "split with-panel" : "split"}>
        <section class="card">
          <div class="bulk" aria-live="polite">
            {selected.size > 0 ? <Selection keys={[...selected]} q={q} total={found.data?.total ?? null} clear={() => setSelected(new Set())} done={() => { setSelected(new Set()); keep(null); }} /> : (
              <>
                <span class="small soft grow">{t.selectHint}</span>
                {added > 0 && <button type="button" class="button" onClick={() => keep({ of: list, items: now })}>{t.newRows(added)}</button>}
                <Export q={q} />
                {allowed("enqueue") && <a class="button" data-key="n" href={to("add", { queue: valueOf(q, "queue") })}>{t.addJob}…</a>}
              </>
            )}
          </div>
          <Load of={found} lines={12}>{({ next, total, plan }) => (
            <>
              {shown.length ? <JobTable caption={t.pageNames.jobs!} rows={shown} fields={fields} open={open} selected={selected} select={select} current={panel ?? null} gone={gone} /> : <NoResults q={q} plan={plan} next={next} />}
              <Pager next={next} first={!cursor} shown={shown.length} total={total} go={(to) => set({ cursor: to }, false)} />
            </>
          )}</Load>
        </section>
        {panel && <JobPanel key={panel} of={refOf(panel)} />}
      </div>
    </div>
  );
}

function planText(plan: SearchPlan, total: number | null): string {
  const found = total === null ? "" : t.foundCount(total);
  if (plan.by === "id") return t.plan.byId;
  if (plan.by === "index") return [t.plan.byIndex(plan.index ? line(plan.index, 60) : ""), found].filter(Boolean).join(" · ");
  const looked = plan.of === null ? t.plan.looked(plan.looked_at) : t.plan.lookedOf(plan.looked_at, plan.of);
  return [looked, plan.back_to_ms === null ? "" : t.plan.backTo(dayClock(plan.back_to_ms))].filter(Boolean).join(", ");
}

function Filters({ q, plan, total }: { q: string; plan: SearchPlan | null; total: number | null }) {
  const state = valueOf(q, "state");
  const views = JSON.parse(savedViews.value) as { name: string; q: string }[];
  const save = () => ask(t.saveView, () => <SaveView q={q} />);
  return (
    <div class="filters">
      <nav class="tabs inline" aria-label={t.state}>
        <a href={to("jobs", { q: replaced(q, "state", "") })} aria-current={state ? undefined : "true"}>{t.all}</a>
        {STATES.map((each) => (
          <a key={each} href={to("jobs", { q: replaced(q, "state", each) })} aria-current={state === each ? "true" : undefined}><Mark of={each} /> {stateText(each)}</a>
        ))}
      </nav>
      {chips(q).map((chip, at) => chip.key !== "state" && (
        <span key={`${at}${chip.raw}`} class="chip"><span class="cut">{line(chip.raw, 60)}</span><button type="button" aria-label={t.removeFilter(line(chip.raw, 40))} onClick={() => set({ q: without(q, at) || null, cursor: null }, false)}>×</button></span>
      ))}
      {q && <button type="button" class="button plain" onClick={save}>{t.saveView}</button>}
      {views.map((view) => view.q !== q && (
        <span key={view.name} class="chip"><a href={to("jobs", { q: view.q })}>★ {line(view.name, 30)}</a><button type="button" aria-label={t.removeView(line(view.name, 40))} onClick={() => (savedViews.value = JSON.stringify(views.filter((each) => each !== view)))}>×</button></span>
      ))}
      <span class="grow" />
      {plan && <span class="small soft" role="status">{planText(plan, total)}</span>}
    </div>
  );
}

function SaveView({ q }: { q: string }) {
  const [name, setName] = useState("");
  const save = (event: Event) => {
    event.preventDefault();
    const views = JSON.parse(savedViews.value) as { name: string; q: string }[];
    savedViews.value = JSON.stringify([...views.filter((view) => view.name !== name), { name, q }].slice(-12));
    dismiss();
  };
  return (
    <form class="stack" onSubmit={save}>
      <label class="field"><span>{t.name}</span><input class="input" required maxLength={40} value={name} onInput={(event) => setName(event.currentTarget.value)} /></label>
      <p class="small soft">{line(q, 200)}</p>
      <div class="row end"><button class="button primary">{t.save}</button></div>
    </form>
  );
}

function Selection({ keys, q, total, clear, done }: { keys: string[]; q: string; total: number | null; clear: () => void; done: () => void }) {
  const [all, setAll] = useState(false);
  const target = all ? { query: q } : { jobs: keys.map(refOf) };
  const count = all && total !== null ? total : keys.length;
  return (
    <>
      <span class="small strong">{all && total === null ? t.allThatMatch : t.selectedCount(count)}</span>
      {(["retry", "cancel", "delete"] as const).map((action) => (
        <Action key={`${action}${all}${keys.length}`} action={action} danger={action === "delete"} confirm label={`${t.actions[action]}…`} request={{ target }} done={done} />
      ))}
      {!all && q && (total === null || total > keys.length) && <button type="button" class="button plain" onClick={() => setAll(true)}>{total === null ? t.selectAllMatching : t.selectAll(total)}</button>}
      <span class="grow" />
      <button type="button" class="button plain" onClick={clear}>{t.clear}</button>
    </>
  );
}

function NoResults({ q, plan, next }: { q: string; plan: SearchPlan; next: string | null }) {
  const filters = chips(q);
  return (
    <Empty title={q ? t.noMatch : t.noJobsYet}>
      {plan.by === "scan" && next && <p class="small soft">{t.goOnHint}</p>}
      {filters.length > 1 && <p class="small soft">{t.loosen} {filters.map((chip, at) => <a key={at} class="chip link" href={to("jobs", { q: without(q, at) })}>{t.withoutFilter(line(chip.raw, 40))}</a>)}</p>}
    </Empty>
  );
}

const CSV = ["queue", "id", "name", "state", "created_ms", "started_ms", "finished_ms", "run_ms", "wait_ms", "attempts_made", "error_type", "error"] as const;
// A cell that a spreadsheet would run as a formula gets a quote in front.
const cell = (value: unknown): string => `"${String(value ?? "").replace(/^[=+\-@\t\r]/, "'$&").replace(/"/g, '""')}"`;

function Export({ q }: { q: string }) {
  const save = async (kind: "csv" | "json") => {
    const jobs: JobRow[] = [];
    let cursor: string | null = null;
    do {
      const page: JobsAnswer = await get("jobs", { q, cursor, limit: 200 });
      jobs.push(...page.items);
      cursor = page.next;
    } while (cursor && jobs.length < 10_000);
    const text = kind === "json" ? JSON.stringify(jobs, null, 1) : [CSV.join(","), ...jobs.map((job) => CSV.map((key) => cell(job[key])).join(","))].join("\r\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: kind === "json" ? "application/json" : "text/csv" }));
    link.download = `jobs.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  return (
    <details class="menu">
      <summary class="button">{t.export}</summary>
      <div class="menu-body">
        <button type="button" class="button plain" onClick={() => void save("csv")}>CSV</button>
        <button type="button" class="button plain" onClick={() => void save("json")}>JSON</button>
        <a class="button plain" href={address("jobs", { q, limit: LIMIT })} target="_blank" rel="noreferrer">API</a>
      </div>
    </details>
  );
}

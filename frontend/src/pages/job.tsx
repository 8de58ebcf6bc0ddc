// One job: why it failed, its life, arguments, result, log, flow; as a page and as a panel.
import { useState } from "preact/hooks";
import { t } from "../i18n";
import { post, useResource } from "../lib/api";
import { bytes, duration, number } from "../lib/format";
import { query, set, to, toJob, toQueue } from "../lib/route";
import { keyOf } from "../lib/flow";
import { block, line } from "../lib/text";
import type { FlowAnswer, JobDetail, JobPlace, LogAnswer } from "../lib/types";
import { Action, allowed } from "../parts/actions";
import { Card, Facts } from "../parts/card";
import { Copy, copy } from "../parts/copy";
import { ask, dismiss } from "../parts/dialog";
import { Load } from "../parts/empty";
import { Flow } from "../parts/flowgraph";
import { Icon } from "../parts/icons";
import { Json } from "../parts/json";
import { Life } from "../parts/life";
import { Stack } from "../parts/stack";
import { State } from "../parts/state";
import { Time } from "../parts/time";

export function JobPage() {
  const { queue = "", id = "" } = query.value;
  const job = useResource<JobDetail>("job", { queue, id }, true);
  const [revealed, setRevealed] = useState<JobDetail | null>(null);
  return (
    <>
      {!job.data && <h1 class="sr">{t.job}</h1>}
      <Load of={job} lines={12}>{(found) => {
      const shown = revealed ?? found;
      return (
        <div class="stack">
          <header class="page-head">
            <State state={found.state} pill />
            <h1 class="cut">{line(found.name, 128)}</h1>
            <button type="button" class="mono soft cut id-copy" title={t.copyId} onClick={() => void copy(found.id)}>{line(found.id, 60)}</button>
            <span class="soft small">{t.inQueue} <a class="link" href={toQueue(found.queue)}>{line(found.queue, 60)}</a></span>
            <span class="grow" />
            <Actions of={found} />
          </header>
          <div class="columns">
            <div class="stack">
              <Why of={found} />
              <Life job={found} />
              {(found.flow_root !== null || family(found) > 0) && <FlowOf of={found} />}
              <LogOf of={found} />
            </div>
            <div class="stack">
              <section class="card"><h2 class="sr">{t.facts}</h2><Facts of={facts(found)} /></section>
              <Arguments of={shown} reveal={setRevealed} />
              {shown.result_json !== null && <Card title={t.result} actions={<Copy text={shown.result_json} />}><Json text={shown.result_json} label={t.result} /></Card>}
              {found.letter && <Card title={t.deadLetters}><Link of={found.letter} /></Card>}
            </div>
          </div>
        </div>
      );
      }}</Load>
    </>
  );
}

/** The job beside the list of jobs: what is needed to decide; Enter again opens the page. */
export function JobPanel({ of }: { of: JobPlace }) {
  const job = useResource<JobDetail>("job", { queue: of.queue, id: of.id }, true);
  return (
    <aside class="panel card" aria-label={t.job}>
      <header class="row">
        <a class="button" href={toJob(of)}>{t.fullPage}</a>
        <span class="grow" />
        <button type="button" class="button plain" aria-label={t.close} onClick={() => set({ panel: null })}><Icon name="close" /></button>
      </header>
      <Load of={job}>{(found) => (
        <div class="stack">
          <div class="row wrap"><State state={found.state} pill /><h2 class="cut">{line(found.name, 80)}</h2></div>
          <p class="mono soft">{line(found.id, 300)}</p>
          <Actions of={found} />
          <Why of={found} />
          <Life job={found} />
          <Arguments of={found} />
          <LogOf of={found} />
        </div>
      )}</Load>
    </aside>
  );
}

function Actions({ of }: { of: JobDetail }) {
  const target = { jobs: [{ queue: of.queue, id: of.id }] };
  const finished = of.state === "failed" || of.state === "completed";
  return (
    <span class="page-actions row wrap">
      {finished && <Action action="retry" shortcut="r" primary request={{ target }} />}
      {of.state === "delayed" && <Action action="run_now" shortcut="r" primary request={{ target }} />}
      {!finished && <Action action="cancel" shortcut="c" request={{ target }} confirm={of.state === "active"} />}
      {allowed("edit") && allowed("enqueue") && <a class="button" data-key="e" title={`${t.editAndRun} (e)`} href={to("add", { queue: of.queue, id: of.id })}>{t.editAndRun}…</a>}
      {of.state !== "active" && <Action action="delete" danger request={{ target }} confirm />}
      {of.link && /^https?:/.test(of.link.url) && <a class="button" href={of.link.url} target="_blank" rel="noreferrer">{line(of.link.label, 40)} ↗</a>}
    </span>
  );
}

function Why({ of }: { of: JobDetail }) {
  const text = of.stack.at(-1) ?? of.reason ?? of.error;
  const failed = of.state === "failed";
  if (!text || (!failed && of.attempts_made === 0)) return null;
  const note = [t.attemptOf(of.attempts_made, of.attempts ?? of.attempts_made), of.like && of.like.count > 1 ? t.oneOf(of.like.count) : ""].filter(Boolean).join(" · ");
  return (
    <Card title={failed ? t.whyFailed : t.lastError} note={note}
      actions={<>{of.fingerprint && <a class="button" href={to("error", { fp: of.fingerprint })}>{t.allLikeThis}</a>}<Copy text={text} /></>}>
      {of.reason && of.stack.length > 0 && !of.stack.at(-1)!.includes(of.reason.slice(0, 60)) && <p class="pad">{line(of.reason, 400)}</p>}
      <Stack text={text} />
      {of.stack.length > 1 && (
        <details><summary class="small link">{t.earlierErrors(of.stack.length - 1)}</summary>
          <div class="stack pad-top">{of.stack.slice(0, -1).map((each, at) => <div key={at}><p class="small soft">{t.attemptN(at + 1)}</p><Stack text={each} /></div>)}</div>
        </details>
      )}
    </Card>
  );
}

function facts(of: JobDetail): [string, preact.ComponentChildren][] {
  const last = of.attempts_list.at(-1);
  const worker = of.worker ?? last?.worker;
  const options = (parsed(of.options_json) ?? {}) as Record<string, unknown>;
  const rows: [string, preact.ComponentChildren | null][] = [
    [t.addedAt, <Time ms={of.created_ms} />],
    [t.due, of.due_ms && of.state === "delayed" ? <Time ms={of.due_ms} /> : null],
    [t.started, of.started_ms === null ? null : <Time ms={of.started_ms} />],
    [t.finished, of.finished_ms === null ? null : <Time ms={of.finished_ms} />],
    [t.runTime, of.run_ms === null ? null : duration(of.run_ms)],
    [t.worker, worker ? [line(worker, 60), last?.slot ? t.slotN(last.slot) : "", last?.version ? line(last.version, 40) : ""].filter(Boolean).join(" · ") : null],
    [t.attempts, `${number(of.attempts_made)} / ${of.attempts === null ? "?" : number(of.attempts)}`],
    [t.priority, of.priority ? number(of.priority) : null],
    [t.backoff, backoffText(options.backoff)], [t.timeout, of.timeout_ms === null ? null : duration(of.timeout_ms)], [t.deadline, of.deadline_ms === null ? null : <Time ms={of.deadline_ms} />],
    [t.uniqueKey, of.dedup ? <code>{line(of.dedup, 120)}</code> : null],
    [t.sameKey, of.same_key[0] ? <a class="link" href={toJob(of.same_key[0])}>{line(of.same_key[0].id, 60)}</a> : null],
    [t.schedule, of.schedule ? <a class="link" href={to("schedules", { schedule: `${of.queue}|${of.schedule}` })}>{line(of.schedule, 80)}</a> : null],
    [t.parent, of.parent ? <a class="link" href={toJob(of.parent)}>{line(of.parent.id, 60)}</a> : null],
    [t.tags, of.tags.length ? of.tags.map((tag) => line(tag, 40)).join(", ") : null],
    ...Object.entries(of.fields).map(([key, value]): [string, string] => [line(key, 40), line(value.join(", "), 120)]),
    [t.progress, of.progress_json === null ? null : <Progress text={of.progress_json} />],
  ];
  return rows.filter(([, value]) => value !== null && value !== undefined && value !== 0) as [string, preact.ComponentChildren][];
}

function backoffText(of: unknown): string | null {
  if (of === null || of === undefined) return null;
  if (typeof of === "number") return duration(of);
  const { type, delay } = of as { type?: unknown; delay?: unknown };
  if (typeof delay === "number") return `${type === "exponential" ? t.exponential : type === "fixed" ? t.fixed : line(String(type), 40)}, ${duration(delay)}`;
  return line(JSON.stringify(of), 80);
}

function Progress({ text }: { text: string }) {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0 || value > 100) return <span>{line(text, 200)}</span>;
  return <span class="row"><progress max={100} value={value} aria-label={t.progress} /> {Math.round(value)} %</span>;
}

function Arguments({ of, reveal }: { of: JobDetail; reveal?: (job: JobDetail) => void }) {
  const hidden = of.hidden > 0 ? t.valuesHidden(of.hidden) : of.data_size > 2_000 ? bytes(of.data_size) : "";
  return (
    <Card title={t.arguments} note={hidden} actions={<>
      {of.hidden > 0 && reveal && allowed("reveal") && <button type="button" class="button" onClick={() => ask(t.reveal, () => <Reveal of={of} done={reveal} />)}>{t.reveal}…</button>}
      {of.call && <Copy text={of.call} label={t.copyCall} />}
      <Copy text={of.data_json} />
    </>}>
      <Json text={of.data_json} label={t.arguments} />
      {of.data_cut && <p class="small soft">{t.cutAt} <a class="link" href={`api/v1/value?${new URLSearchParams({ queue: of.queue, id: of.id, part: "data" }).toString()}`} target="_blank" rel="noreferrer">{t.loadAll(bytes(of.data_size))}</a></p>}
    </Card>
  );
}

function Reveal({ of, done }: { of: JobDetail; done: (job: JobDetail) => void }) {
  const [reason, setReason] = useState("");
  const [fault, setFault] = useState("");
  const go = async (event: Event) => {
    event.preventDefault();
    try {
      done(await post<JobDetail>("reveal", { queue: of.queue, id: of.id, reason }));
      dismiss();
    } catch (error) {
      setFault(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <form class="stack" onSubmit={(event) => void go(event)}>
      <p class="small soft">{t.revealNote}</p>
      <label class="field"><span>{t.reason}</span><input class="input" required value={reason} onInput={(event) => setReason(event.currentTarget.value)} /></label>
      {fault && <p class="notice error" role="alert">{line(fault, 300)}</p>}
      <div class="row end"><button class="button primary">{t.reveal}</button></div>
    </form>
  );
}

function LogOf({ of }: { of: JobDetail }) {
  const log = useResource<LogAnswer>("job/log", { queue: of.queue, id: of.id }, of.state === "active");
  if (!log.data?.lines.length) return null;
  return (
    <Card title={t.log} note={t.lineCount(log.data.total)} actions={<Copy text={log.data.lines.join("\n")} />}>
      <div class="code scroll" tabIndex={0} role="log" aria-label={t.log}>
        {log.data.lines.map((each, at) => (
          <div key={at} class={/^\S*\s*(ERROR|CRITICAL)\b/.test(each) ? "bad" : ""}>{block(each, 4_000)}</div>
        ))}
      </div>
    </Card>
  );
}

function FlowOf({ of }: { of: JobDetail }) {
  const root = of.flow_root ?? of;
  const flow = useResource<FlowAnswer>("flow", { queue: root.queue, id: root.id }, true);
  if (!flow.data || flow.data.nodes.length < 2) return null;
  return <Flow nodes={flow.data.nodes} more={flow.data.more} current={keyOf(of)} title={t.flow} />;
}

/** A job that is named as "queue:id", such as a dead letter. */
function Link({ of }: { of: string }) {
  const at = of.lastIndexOf(":");
  const place = { queue: of.slice(0, at), id: of.slice(at + 1) };
  return <a class="link" href={toJob(place)}>{line(of, 120)}</a>;
}

const family = ({ children }: JobDetail): number => children.pending + children.completed + children.failed + children.ignored;

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

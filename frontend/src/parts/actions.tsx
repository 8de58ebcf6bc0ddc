// Actions: run one at once with Undo, or show first what it would do and ask.
import { useEffect, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { t } from "../i18n";
import { act, ApiError, can, get, preview } from "../lib/api";
import { number } from "../lib/format";
import { refresh } from "../lib/live";
import { line } from "../lib/text";
import type { ActRequest, ActTarget, Page } from "../lib/model";
import type { ActAnswer, OperationRow } from "../lib/types";
import { ask, dismiss } from "./dialog";
import { Loading } from "./empty";
import { State } from "./state";
import { say } from "./toast";

/** Which permission an action needs; the server checks it, the page hides what it would refuse. */
const PERMISSIONS: Record<string, string> = { run_now: "retry", resume: "pause", empty: "delete" };

export const allowed = (action: string, target: ActTarget = {}): boolean => can(target.schedule ? "schedules" : PERMISSIONS[action] ?? action);

const words = (error: unknown): string => (error instanceof ApiError ? [error.message, error.hint].filter(Boolean).join(" ") : String(error));

export function tell(action: string, answer: ActAnswer): void {
  const back = answer.undo;
  const refused = answer.refused[0];
  if (!answer.done && refused) say(line(refused.message, 300), { bad: true });
  else say(answer.operation ? t.operationStarted : t.actionDone(t.actions[action] ?? action, answer.done ?? 0, answer.refused.length), { undo: back ? () => void run(back) : null });
  if (answer.operation) void watch(action, answer.operation);
  refresh();
}

const WATCHED_S = 600;

/** Wait for the end of work on many jobs, and say how it ended. */
async function watch(action: string, id: string): Promise<void> {
  for (let second = 0; second < WATCHED_S; second += 1) {
    await new Promise((done) => setTimeout(done, 1_000));
    const rows = await get<Page<OperationRow>>("operations").catch(() => null);
    const row = rows?.items.find((each) => each.id === id);
    if (!row || row.state === "running") continue;
    say(t.actionDone(t.actions[action] ?? action, row.done, row.failed + row.skipped), { bad: row.state === "failed" });
    return refresh();
  }
}

/** Do it now, and say what came of it. */
export async function run(request: ActRequest): Promise<ActAnswer | null> {
  try {
    const answer = await act(request);
    tell(request.action, answer);
    return answer;
  } catch (error) {
    say(line(words(error), 300), { bad: true });
    return null;
  }
}

interface ActionProps { action: string; request: Omit<ActRequest, "action">; label?: string; primary?: boolean; danger?: boolean; confirm?: boolean; shortcut?: string; done?: (answer: ActAnswer) => void }

/** A button for an action that is shown only to those who may do it. */
export function Action({ action, request, label, primary = false, danger = false, confirm = false, shortcut, done }: ActionProps) {
  const [busy, setBusy] = useState(false);
  if (!allowed(action, request.target)) return null;
  const text = label ?? t.actions[action] ?? action;
  const press = async () => {
    if (confirm) return confirmed({ ...request, action }, danger, done);
    setBusy(true);
    const answer = await run({ ...request, action });
    setBusy(false);
    if (answer) done?.(answer);
  };
  return (
    <button type="button" class={["button", primary && "primary", danger && "danger"].filter(Boolean).join(" ")} disabled={busy} data-key={shortcut} title={shortcut ? `${text} (${shortcut})` : undefined} onClick={() => void press()}>
      {text}
    </button>
  );
}

/** Show what an action would do, and do it when that is confirmed. */
export function confirmed(request: ActRequest, danger = false, done?: (answer: ActAnswer) => void, fields?: (set: (values: Record<string, unknown>) => void) => ComponentChildren): void {
  ask(t.actions[request.action] ?? request.action, () => <Confirm request={request} danger={danger} done={done} fields={fields} />);
}

function Confirm({ request, danger, done, fields }: { request: ActRequest; danger: boolean; done: ((answer: ActAnswer) => void) | undefined; fields: ((set: (values: Record<string, unknown>) => void) => ComponentChildren) | undefined }) {
  const [found, setFound] = useState<ActAnswer | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [typed, setTyped] = useState("");
  const [rate, setRate] = useState("");
  const [busy, setBusy] = useState(false);
  const [extra, setExtra] = useState<Record<string, unknown>>({});
  useEffect(() => {
    preview(request).then(setFound, (error: unknown) => setFault(words(error)));
  }, []);
  if (fault && !found) return <p class="notice error" role="alert">{line(fault, 400)}</p>;
  if (!found) return <Loading lines={3} />;
  const count = found.count ?? 0;
  const verb = t.actions[request.action] ?? request.action;
  const ready = count > 0 && (!found.confirm || typed === found.confirm);
  const go = async () => {
    setBusy(true);
    setFault(null);
    try {
      const params = { ...request.params, ...extra, ...(Number(rate) > 0 ? { rate: Number(rate) } : {}), ...(typed ? { confirm: typed } : {}) };
      const answer = await act({ ...request, params });
      dismiss();
      tell(request.action, answer);
      done?.(answer);
    } catch (error) {
      setFault(words(error));
      setBusy(false);
    }
  };
  return (
    <div class="stack">
      <p aria-live="polite">{count ? t.wouldTouch(verb, count, found.exact) : t.nothingToDo}</p>
      <Split title={t.byTask} of={found.by_task} />
      <Split title={t.byQueue} of={found.by_queue} />
      {found.sample.length > 0 && (
        <ul class="sample small" aria-label={t.sample}>
          {found.sample.slice(0, 5).map((job) => (
            <li key={`${job.queue}|${job.id}`} class="cut"><State state={job.state} /> {line(job.name, 40)} <span class="dim">{line(job.id, 40)}</span> {job.error && <span class="soft">{line(job.error, 80)}</span>}</li>
          ))}
        </ul>
      )}
      {found.untouched.map(({ why, count }) => <p key={why} class="small warn">{t.notTouched(count, line(why))}</p>)}
      {fields?.((values) => setExtra({ ...extra, ...values }))}
      {count > 500 && (
        <label class="field"><span>{t.ratePerSecond}</span><input class="input" type="number" min="1" inputMode="numeric" value={rate} placeholder={t.noLimit} onInput={(event) => setRate(event.currentTarget.value)} /></label>
      )}
      {found.confirm && (
        <label class="field"><span>{t.typeToConfirm(line(found.confirm, 128))}</span><input class="input" value={typed} autoComplete="off" onInput={(event) => setTyped(event.currentTarget.value)} /></label>
      )}
      {fault && <p class="notice error" role="alert">{line(fault, 400)}</p>}
      <div class="row end">
        <button type="button" class="button" onClick={dismiss}>{t.close}</button>
        <button type="button" class={danger ? "button danger primary" : "button primary"} disabled={!ready || busy} onClick={() => void go()} ref={(button) => { if (button && !found.confirm && document.activeElement?.closest("dialog") && !button.dataset.once) { button.dataset.once = "1"; button.focus(); } }}>
          {t.actionCount(verb, count)}
        </button>
      </div>
    </div>
  );
}

function Split({ title, of }: { title: string; of: Record<string, number> }) {
  const parts = Object.entries(of).sort((a, b) => b[1] - a[1]);
  if (parts.length < 2) return null;
  return <p class="small soft">{title}: {parts.slice(0, 6).map(([name, count]) => `${line(name, 40)} ${number(count)}`).join(", ")}{parts.length > 6 && " …"}</p>;
}

/** Ask for a reason, which goes into the audit log; then do it. */
export function withReason(request: ActRequest, title: string): void {
  ask(title, () => <Reason request={request} />);
}

function Reason({ request }: { request: ActRequest }) {
  const [reason, setReason] = useState("");
  const [until, setUntil] = useState("");
  const go = async (event: Event) => {
    event.preventDefault();
    if (await run({ ...request, reason, params: { ...request.params, ...(until ? { until } : {}) } })) dismiss();
  };
  return (
    <form class="stack" onSubmit={(event) => void go(event)}>
      <label class="field"><span>{t.reason}</span><input class="input" value={reason} onInput={(event) => setReason(event.currentTarget.value)} ref={(input) => { if (input && !input.dataset.once) { input.dataset.once = "1"; input.focus(); } }} /></label>
      {request.action === "pause" && request.target.queue && <label class="field"><span>{t.pauseUntil}</span><input class="input" value={until} placeholder="30m, 2h" autoComplete="off" onInput={(event) => setUntil(event.currentTarget.value)} /></label>}
      <div class="row end"><button type="button" class="button" onClick={dismiss}>{t.close}</button><button class="button primary">{t.actions[request.action] ?? request.action}</button></div>
    </form>
  );
}

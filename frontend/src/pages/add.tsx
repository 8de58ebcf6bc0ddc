// Add a job, or edit one and run it again: the task's own parameters with types and defaults, or JSON.
import { useEffect, useState } from "preact/hooks";
import { t } from "../i18n";
import { act, ApiError, post, useResource } from "../lib/api";
import { refresh } from "../lib/live";
import { go, query, toJob } from "../lib/route";
import { line } from "../lib/text";
import type { Page } from "../lib/model";
import type { JobDetail, JobPlace, ParameterRow, TaskRow } from "../lib/types";
import { Load } from "../parts/empty";
import { say } from "../parts/toast";

type Values = Record<string, string>;

export function AddPage() {
  const { queue = "", id, task = "" } = query.value;
  const tasks = useResource<Page<TaskRow>>("tasks", { limit: 500 });
  const job = useResource<JobDetail>(id ? "job" : null, { queue, id });
  return (
    <div class="stack narrow">
      <header class="page-head"><h1>{id ? t.editAndRun : t.addJob}</h1></header>
      <Load of={tasks}>{({ items }) => (id ? <Load of={job}>{(found) => <Form tasks={items} job={found} queue={queue} task={found.name} />}</Load> : <Form tasks={items} job={null} queue={queue} task={task} />)}</Load>
    </div>
  );
}

function initial(parameters: ParameterRow[], given: Record<string, unknown> | null): Values {
  return Object.fromEntries(parameters.map(({ name, default_json }) => [name, given && name in given ? JSON.stringify(given[name]) : default_json ?? ""]));
}

const parsed = (text: string): Record<string, unknown> | null => {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
};

/** Whether reading the JSON and writing it again would lose digits. */
const exact = (text: string): boolean => !/(?<![\w"])-?\d{16,}/.test(text);

function Form({ tasks, job, queue, task }: { tasks: TaskRow[]; job: JobDetail | null; queue: string; task: string }) {
  const [name, setName] = useState(task);
  const [where, setWhere] = useState(queue);
  const known = tasks.find((each) => each.name === name) ?? null;
  const given = job && exact(job.data_json) ? parsed(job.data_json) : null;
  const fits = known !== null && known.parameters.length > 0 && (job === null || given !== null);
  const [values, setValues] = useState<Values>({});
  const [raw, setRaw] = useState(job?.data_json ?? "{}");
  const [asJson, setAsJson] = useState(false);
  const [delay, setDelay] = useState("");
  const [priority, setPriority] = useState(job?.priority ? String(job.priority) : "");
  const [fault, setFault] = useState<ApiError | null>(null);
  useEffect(() => {
    if (known) setValues(initial(known.parameters, given));
    if (known && !where) setWhere(known.queue);
  }, [name]);
  const form = fits && !asJson;

  // Text is put together from what was typed, so that large numbers keep all their digits.
  const text = () => {
    if (!form) return raw;
    const parts = known.parameters.filter((each) => values[each.name]?.trim()).map((each) => `${JSON.stringify(each.name)}: ${literal(values[each.name]!)}`);
    return `{${parts.join(", ")}}`;
  };
  const send = async (event: Event) => {
    event.preventDefault();
    setFault(null);
    const options = { ...(Number(delay) > 0 ? { delay: Number(delay) } : {}), ...(priority ? { priority: Number(priority) } : {}) };
    try {
      let made: (JobPlace & { duplicate?: boolean }) | null;
      if (job) {
        const answer = await act({ action: "edit", target: { jobs: [{ queue: job.queue, id: job.id }] }, params: { data_json: text(), options } });
        made = answer.added && { ...answer.added, duplicate: answer.duplicate };
      }
      else made = await post<JobPlace & { duplicate: boolean }>("jobs", { queue: where, name, args_json: text(), options });
      refresh();
      say(made?.duplicate ? t.duplicate : t.jobAdded);
      go(made ? toJob(made) : job ? toJob(job) : "");
    } catch (error) {
      setFault(error instanceof ApiError ? error : new ApiError(0, "page", String(error)));
    }
  };
  return (
    <form class="card stack" onSubmit={(event) => void send(event)}>
      {!job && (
        <>
          <label class="field"><span>{t.task}</span><input class="input" required list="tasks" value={name} onInput={(event) => setName(event.currentTarget.value)} /></label>
          <datalist id="tasks">{tasks.map((each) => <option key={each.name} value={each.name} />)}</datalist>
          <label class="field"><span>{t.queue}</span><input class="input" required value={where} onInput={(event) => setWhere(event.currentTarget.value)} /></label>
        </>
      )}
      {job && <p class="small soft">{t.editNote} {job.hidden > 0 && t.hiddenKept}</p>}
      {form ? known.parameters.map((each) => (
        <label key={each.name} class="field">
          <span>{line(each.name, 60)} <span class="dim">{line(each.type, 60)}{each.required ? "" : ` · ${t.optional}`}</span></span>
          <input class="input mono" required={each.required} value={values[each.name] ?? ""} placeholder={each.default_json ?? ""} spellcheck={false} onInput={(event) => setValues({ ...values, [each.name]: event.currentTarget.value })} />
        </label>
      )) : (
        <label class="field"><span>{t.argumentsJson}</span><textarea class="textarea" rows={12} spellcheck={false} value={raw} onInput={(event) => setRaw(event.currentTarget.value)} /></label>
      )}
      {fits && <button type="button" class="button" onClick={() => { if (form) setRaw(text()); setAsJson(!asJson); }}>{form ? t.asJson : t.asForm}</button>}
      <div class="row wrap">
        <label class="field"><span>{t.delaySeconds}</span><input class="input" type="number" min="0" step="any" value={delay} placeholder="0" onInput={(event) => setDelay(event.currentTarget.value)} /></label>
        <label class="field"><span>{t.priority}</span><input class="input" type="number" min="0" value={priority} placeholder="0" onInput={(event) => setPriority(event.currentTarget.value)} /></label>
      </div>
      {fault && <p class="notice error" role="alert">{line([fault.message, fault.hint].filter(Boolean).join(" "), 500)}</p>}
      <div class="row end"><button class="button primary">{job ? t.runAgain : t.addJob}</button></div>
    </form>
  );
}

/** What was typed as JSON; words that are no JSON are taken as text. */
function literal(typed: string): string {
  try {
    JSON.parse(typed);
    return typed;
  } catch {
    return JSON.stringify(typed);
  }
}


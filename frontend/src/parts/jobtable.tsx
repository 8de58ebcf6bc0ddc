// Rows of jobs: state, task, id, queue, times, attempts, error.
import { t } from "../i18n";
import { duration } from "../lib/format";
import { toJob } from "../lib/route";
import { line } from "../lib/text";
import type { JobRow } from "../lib/types";
import { State } from "./state";
import { type Column, Table } from "./table";
import { Time } from "./time";

export const jobKey = (job: { queue: string; id: string }): string => `${job.queue}|${job.id}`;
const moment = (job: JobRow): number => job.finished_ms ?? job.started_ms ?? (job.state === "delayed" ? job.due_ms : null) ?? job.created_ms;

function columns(withQueue: boolean, fields: string[], open: ((job: JobRow) => void) | undefined): Column<JobRow>[] {
  const follow = (event: MouseEvent, job: JobRow) => {
    if (!open || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    open(job);
  };
  return [
    { key: "state", title: t.state, keep: true, cell: (job) => <State state={job.state} /> },
    { key: "task", title: t.task, keep: true, cell: (job) => <a class="strong cut block" href={toJob(job)} onClick={(event) => follow(event, job)}>{line(job.name, 60)}</a> },
    { key: "id", title: t.id, cell: (job) => <span class="mono cut block id" title={line(job.id, 300)}>{line(job.id, 24)}</span> },
    ...(withQueue ? [{ key: "queue", title: t.queue, cell: (job: JobRow) => line(job.queue, 40) }] : []),
    { key: "when", title: t.when, keep: true, cell: (job) => <Time ms={moment(job)} /> },
    { key: "run", title: t.runTime, num: true, cell: (job) => duration(job.run_ms) },
    { key: "wait", title: t.waitTime, num: true, cell: (job) => duration(job.wait_ms) },
    { key: "tries", title: t.attempts, num: true, cell: (job) => `${job.attempts_made}/${job.attempts ?? "?"}` },
    ...fields.map((field) => ({ key: `field ${field}`, title: line(field, 24), cell: (job: JobRow) => line((job.fields[field] ?? []).join(", "), 40) })),
    { key: "error", title: t.error, wide: true, cell: (job) => job.error && <span class="cut block soft" title={line(job.error, 500)}><span class="bad">{job.error_type ? line(job.error_type, 60) : ""}</span> {line(job.error, 160)}</span> },
  ];
}

interface Props { caption: string; rows: JobRow[]; withQueue?: boolean; fields?: string[]; open?: (job: JobRow) => void; selected?: ReadonlySet<string>; select?: (id: string, on: boolean, range: boolean) => void; current?: string | null; gone?: ReadonlySet<string> }

export function JobTable({ caption, rows, withQueue = true, fields = [], open, ...rest }: Props) {
  return <Table caption={caption} columns={columns(withQueue, fields, open)} rows={rows} id={jobKey} {...rest} />;
}

// Written by `python -m tools.api_types` from the server's dataclasses. Do not edit.

export interface ActAnswer {
  count: number | null;
  exact: boolean;
  by_task: Record<string, number>;
  by_queue: Record<string, number>;
  sample: JobRow[];
  untouched: Untouched[];
  confirm: string | null;
  done: number | null;
  refused: Refusal[];
  operation: string | null;
  undo: UndoRow | null;
  added: JobPlace | null;
  duplicate: boolean;
}

export interface ActTarget {
  jobs: JobPlace[] | null;
  query: string | null;
  fingerprint: string | null;
  queue: string | null;
  schedule: JobPlace | null;
  worker: string | null;
}

export interface AddedAnswer {
  queue: string;
  id: string;
  duplicate: boolean;
}

export interface AttemptRow {
  run: number;
  worker: string | null;
  slot: number | null;
  started_ms: number | null;
  ended_ms: number;
  end: string;
  reason: string | null;
  fingerprint: string | null;
  version: string | null;
}

export interface AttentionAnswer {
  items: AttentionItem[];
}

export interface AttentionItem {
  kind: string;
  level: string;
  queue: string | null;
  task: string | null;
  fingerprint: string | null;
  count: number | null;
  since_ms: number | null;
  values: Record<string, string | number>;
}

export interface AuditRow {
  at_ms: number;
  user: string;
  address: string;
  action: string;
  selector: string;
  count: number | null;
  result: string;
  reason: string;
  before: string | null;
  after: string | null;
}

export interface AuditRowPage {
  items: AuditRow[];
  next: string | null;
  total: number | null;
}

export interface ChildCounts {
  pending: number;
  completed: number;
  failed: number;
  ignored: number;
}

export interface ErrorGroupDetail {
  fingerprint: string;
  type: string;
  message: string;
  where: string;
  tasks: string[];
  queues: string[];
  count: number;
  open: number | null;
  first_ms: number;
  last_ms: number;
  versions: string[];
  spark: number[];
  state: string;
  is_new: boolean;
  first: StackRow | null;
  last: StackRow | null;
  sample: JobRow[];
  points: number[][];
}

export interface ErrorGroupRow {
  fingerprint: string;
  type: string;
  message: string;
  where: string;
  tasks: string[];
  queues: string[];
  count: number;
  open: number | null;
  first_ms: number;
  last_ms: number;
  versions: string[];
  spark: number[];
  state: string;
  is_new: boolean;
}

export interface ErrorGroupRowPage {
  items: ErrorGroupRow[];
  next: string | null;
  total: number | null;
}

export interface FactRow {
  key: string;
  level: string;
  value: string;
  hint: string;
  queue: string | null;
}

export interface FlowAnswer {
  nodes: FlowNode[];
  more: boolean;
}

export interface FlowNode {
  queue: string;
  id: string;
  name: string;
  state: string;
  parent: number | null;
  created_ms: number | null;
  started_ms: number | null;
  finished_ms: number | null;
  attempts_made: number;
  attempts: number | null;
  children: number;
  folded: FoldedRow | null;
  gone: boolean;
}

export interface FlowRow {
  queue: string;
  id: string;
  name: string;
  state: string;
  done: number;
  failed: number;
  total: number;
  started_ms: number;
  finished_ms: number | null;
}

export interface FlowRowPage {
  items: FlowRow[];
  next: string | null;
  total: number | null;
}

export interface FoldedRow {
  count: number;
  failed: number;
}

export interface HealthAnswer {
  ok: boolean;
  ping_ms: number;
}

export interface HeatAnswer {
  start_ms: number;
  step_ms: number;
  floor_ms: number;
  per_doubling: number;
  columns: number[][];
}

export interface JobDetail {
  queue: string;
  id: string;
  name: string;
  state: string;
  created_ms: number;
  data_json: string;
  data_size: number;
  data_cut: boolean;
  result_json: string | null;
  result_size: number;
  result_cut: boolean;
  progress_json: string | null;
  hidden: number;
  reason: string | null;
  end: string | null;
  cancelled: string | null;
  stack: string[];
  attempts_list: AttemptRow[];
  options_json: string;
  runs: number;
  stalls: number;
  parent: JobPlace | null;
  children: ChildCounts;
  flow_root: JobPlace | null;
  schedule: string | null;
  dedup: string | null;
  letter: string | null;
  origin: string | null;
  deadline_ms: number | null;
  timeout_ms: number | null;
  delay_ms: number;
  call: string;
  logs: number;
  due_ms: number | null;
  started_ms: number | null;
  finished_ms: number | null;
  run_ms: number | null;
  wait_ms: number | null;
  attempts_made: number;
  attempts: number | null;
  error_type: string | null;
  error: string | null;
  fingerprint: string | null;
  worker: string | null;
  slot: number | null;
  priority: number;
  progress: number | null;
  tags: string[];
  fields: Record<string, string[]>;
  like: LikeRow | null;
  same_key: JobRow[];
  link: JobLinkRow | null;
}

export interface JobLinkRow {
  url: string;
  label: string;
}

export interface JobPlace {
  queue: string;
  id: string;
}

export interface JobRow {
  queue: string;
  id: string;
  name: string;
  state: string;
  created_ms: number;
  due_ms: number | null;
  started_ms: number | null;
  finished_ms: number | null;
  run_ms: number | null;
  wait_ms: number | null;
  attempts_made: number;
  attempts: number | null;
  error_type: string | null;
  error: string | null;
  fingerprint: string | null;
  worker: string | null;
  slot: number | null;
  priority: number;
  progress: number | null;
  tags: string[];
  fields: Record<string, string[]>;
}

export interface JobsAnswer {
  items: JobRow[];
  plan: SearchPlan;
  next: string | null;
  total: number | null;
  problems: SearchProblem[];
}

export interface KeepRow {
  count: number | null;
  age_ms: number | null;
}

export interface LikeRow {
  fingerprint: string;
  count: number;
  first_ms: number;
}

export interface LogAnswer {
  lines: string[];
  total: number;
}

export interface MarkRow {
  at_ms: number;
  text: string;
  by: string;
}

export interface MeAnswer {
  user: string;
  permissions: string[];
  queues: string[] | null;
  reveal: boolean;
  read_only: boolean;
  read_only_reason: string | null;
  version: string;
  store: string;
  address: string;
  environment: string;
  zone: string;
  title: string;
  tasks_known: boolean;
  now_ms: number;
}

export interface OperationRow {
  id: string;
  action: string;
  selector: string;
  by: string;
  started_ms: number;
  finished_ms: number | null;
  total: number | null;
  done: number;
  skipped: number;
  failed: number;
  state: string;
  rate: number | null;
  refused: Record<string, string>;
  error: string | null;
}

export interface OperationRowPage {
  items: OperationRow[];
  next: string | null;
  total: number | null;
}

export interface OverviewAnswer {
  at_ms: number;
  took_ms: number;
  interval_s: number;
  queues: QueueSummary[];
  workers: WorkerTotals;
  counts: StateCounts;
  schedules: number;
  errors: number | null;
  flows: number | null;
  tasks: number | null;
}

export interface ParameterRow {
  name: string;
  type: string;
  kind: string;
  required: boolean;
  default_json: string | null;
}

export interface PauseRow {
  by: string;
  reason: string;
  since_ms: number | null;
  until_ms: number | null;
}

export interface PreviousRow {
  completed: number;
  failed: number;
  run_p95_ms: number | null;
}

export interface Problem {
  error: string;
  message: string;
  hint: string | null;
  field: string | null;
}

export interface ProcessRow {
  pid: number;
  host: string;
  python: string;
  started_ms: number;
  viewers: number;
  interval_s: number;
}

export interface QueueDetail {
  name: string;
  counts: StateCounts;
  ready: number;
  paused: PauseRow | null;
  concurrency: number | null;
  rate_max: number | null;
  rate_ms: number | null;
  limited_until_ms: number | null;
  max_waiting: number | null;
  workers: number;
  slots: number | null;
  oldest_waiting_ms: number | null;
  in_per_s: number | null;
  out_per_s: number | null;
  eta_s: number | null;
  failed_1h: number | null;
  p95_ms: number | null;
  spark: number[];
  keep_completed: KeepRow | null;
  keep_failed: KeepRow | null;
  dead_letter: string | null;
  events_limit: number | null;
  consumers: WorkerRow[];
}

export interface QueueSummary {
  name: string;
  counts: StateCounts;
  ready: number;
  paused: PauseRow | null;
  concurrency: number | null;
  rate_max: number | null;
  rate_ms: number | null;
  limited_until_ms: number | null;
  max_waiting: number | null;
  workers: number;
  slots: number | null;
  oldest_waiting_ms: number | null;
  in_per_s: number | null;
  out_per_s: number | null;
  eta_s: number | null;
  failed_1h: number | null;
  p95_ms: number | null;
  spark: number[];
}

export interface QueueSummaryPage {
  items: QueueSummary[];
  next: string | null;
  total: number | null;
}

export interface RedactionRow {
  keys: string[];
  words: string[];
  tasks: Record<string, string[]>;
  own_rule: boolean;
}

export interface Refusal {
  queue: string;
  id: string;
  message: string;
}

export interface RunRow {
  at_ms: number;
  outcome: string;
  queue: string;
  job_id: string;
  run_ms: number | null;
}

export interface RunSpan {
  worker: string;
  slot: number;
  queue: string;
  id: string;
  name: string;
  start_ms: number;
  end_ms: number | null;
  outcome: string;
}

export interface ScaleAnswer {
  ready: number;
  running: number;
  oldest_ready_s: number;
  need: number;
}

export interface ScheduleRow {
  queue: string;
  id: string;
  name: string;
  rule: string;
  every_ms: number | null;
  pattern: string | null;
  zone: string | null;
  start_ms: number | null;
  end_ms: number | null;
  limit: number | null;
  count: number;
  next_ms: number[];
  job_id: string | null;
  missed: number;
  paused: PauseRow | null;
  declared: boolean;
  owner: string | null;
  data_json: string;
  fault: string | null;
  last: RunRow | null;
  runs: RunRow[];
}

export interface ScheduleRowPage {
  items: ScheduleRow[];
  next: string | null;
  total: number | null;
}

export interface SearchPlan {
  by: string;
  index: string | null;
  looked_at: number;
  of: number;
  back_to_ms: number | null;
  done: boolean;
}

export interface SearchProblem {
  at: number;
  message: string;
}

export interface SeriesAnswer {
  start_ms: number;
  step_ms: number;
  added: number[];
  completed: number[];
  failed: number[];
  retried: number[];
  stalled: number[];
  run_p50_ms: (number | null)[];
  run_p95_ms: (number | null)[];
  run_p99_ms: (number | null)[];
  wait_p50_ms: (number | null)[];
  wait_p95_ms: (number | null)[];
  wait_p99_ms: (number | null)[];
  marks: MarkRow[];
  previous: PreviousRow | null;
  missing: string[];
}

export interface SlotRow {
  number: number;
  queue: string;
  id: string;
  name: string;
  started_ms: number | null;
}

export interface StackRow {
  queue: string;
  id: string;
  stack: string;
}

export interface StateCounts {
  waiting: number;
  prioritized: number;
  delayed: number;
  active: number;
  waiting_children: number;
  completed: number;
  failed: number;
}

export interface StoreAnswer {
  kind: string;
  version: string;
  address: string;
  ping_ms: number;
  facts: FactRow[];
  redaction: RedactionRow;
  process: ProcessRow;
  retention: Record<string, string>;
}

export interface SuggestAnswer {
  tasks: string[];
  queues: string[];
  workers: string[];
  states: string[];
  fields: string[];
}

export interface TaskRow {
  name: string;
  queue: string;
  declared: boolean;
  where: string | null;
  doc: string | null;
  options: Record<string, string>;
  parameters: ParameterRow[];
  per_s: number | null;
  failed_share: number | null;
  run_p50_ms: number | null;
  run_p95_ms: number | null;
  wait_p95_ms: number | null;
  spark: number[];
}

export interface TaskRowPage {
  items: TaskRow[];
  next: string | null;
  total: number | null;
}

export interface UndoRow {
  action: string;
  target: ActTarget;
  params: Record<string, unknown>;
}

export interface Untouched {
  why: string;
  count: number;
}

export interface WorkerRow {
  id: string;
  name: string;
  host: string;
  pid: number;
  queues: string[];
  slots: number;
  active: number;
  started_ms: number;
  seen_ms: number;
  alive: boolean;
  node: boolean;
  quiet: boolean | null;
  rss: number | null;
  cpu_pct: number | null;
  version: string | null;
  running: SlotRow[];
}

export interface WorkerTotals {
  count: number;
  alive: number;
  slots: number;
  busy: number;
}

export interface WorkersAnswer {
  items: WorkerRow[];
  spans: RunSpan[];
  from_ms: number;
  merged: boolean;
}

import { plurals } from "./plural";

const n = plurals("en");
const jobs = (count: number) => n(count, { one: "# job", other: "# jobs" });
type Words = Record<string, string>;

export const en = {
  // Frame
  navigation: "Pages", skip: "Skip to content", search: "Search", searchHint: "Find a job, queue, task, worker…  user_id:481", suggestions: "Suggestions",
  commands: "Commands", shortcuts: "Shortcuts", range: "Time range", themeToggle: "Switch theme", live: "live", frozen: "frozen", connecting: "connecting",
  freeze: "Freeze or resume live updates", copyLink: "Copy link to this page", chartsAsTables: "Charts as tables", keyRows: "Next and previous row",
  keyOpen: "Open in panel, then as page", keySelect: "Select row (Shift: range)", readOnly: "Read-only.", noSuchPage: "There is no such page",
  pageNames: {
    overview: "Overview", queues: "Queues", queue: "Queue", jobs: "Jobs", job: "Job", errors: "Errors", error: "Error", flows: "Flows", flow: "Flow", schedules: "Schedules",
    workers: "Workers", tasks: "Tasks", task: "Task", operations: "Operations", audit: "Audit log", settings: "Settings", add: "Add a job",
  } as Words,

  // States and common words
  states: {
    waiting: "waiting", prioritized: "prioritized", delayed: "delayed", active: "active", completed: "completed", failed: "failed", waiting_children: "blocked",
    cancelled: "cancelled", retried: "retried", snoozed: "snoozed", stalled: "stalled", timeout: "timed out", deadline: "past deadline", expired: "expired",
    released: "released", running: "running", missed: "missed", skipped: "skipped",
  } as Words,
  queue: "Queue", task: "Task", job: "Job", jobsWord: "Jobs", worker: "Worker", error: "Error", flow: "Flow", schedule: "Schedule", state: "State", status: "Status", id: "Id",
  when: "When", time: "Time", name: "Name", type: "Type", kind: "Kind", version: "Version", where: "Where", who: "Who", on: "On", by: "By", action: "Action", outcome: "Result",
  reason: "Reason", address: "Address", change: "Change", now: "now", latest: "latest", highest: "highest", from: "from", all: "All", open: "Open", show: "Show", showAll: "Show all",
  close: "Close", save: "Save", clear: "Clear", copy: "Copy", copied: "Copied", copyFailed: "Could not copy", copyId: "Copy id", undo: "Undo", view: "View", filter: "filter",
  select: "Select", selectRow: "Select this job", pages: "Pages of the list", firstPage: "First page", nextPage: "Next page", optional: "optional", required: "required",
  theDefault: "Default", noLimit: "No limit", export: "Export", sample: "Sample", facts: "Facts", options: "Options", user: "User", tags: "Tags",
  shown: (count: number) => n(count, { other: "# shown" }),
  shownOf: (count: number, total: number) => `${n(count, { other: "#" })} of ${n(total, { other: "#" })}`,
  moreItems: (count: number) => n(count, { other: "and # more" }),
  jobsCount: jobs, failuresCount: (count: number) => n(count, { one: "# failure", other: "# failures" }),
  waitingCount: (count: number) => n(count, { one: "# job waiting", other: "# jobs waiting" }),
  failedCount: (count: number) => n(count, { other: "# failed" }),
  doneCount: (count: number) => n(count, { other: "# completed" }),
  failedOf: (failed: number, total: number) => `${n(failed, { other: "#" })} of ${n(total, { one: "# finished job", other: "# finished jobs" })} failed in the last hour`,
  sinceClock: (clock: string) => `since ${clock}`,

  // Empty, loading, errors
  loading: "Loading", serverAway: "The dashboard's server does not answer.", storeAway: "The store does not answer.", notFound: "Not found", notAllowed: "You may not do this",
  requestFailed: "The request failed", tryAgain: "Try again", dataAge: (age: string) => `Data is ${age} old.`,
  noJobsYet: "No jobs yet", noJobsNote: "this page updates when the first one arrives", startWorker: "Start a worker:", noWorkers: "No workers",
  nothingOpen: "nothing open", nothingWaits: "nothing waits", nothingRuns: "No job is running.", nothingInRange: "Nothing ran in this range.",
  notRecorded: (what: string) => `Not recorded: ${what}`, notReported: "not reported", notKnownHere: "This server does not know the code: start it with --app to see parameters.",

  // Overview
  throughput: "Throughput", jobsPerSecond: "jobs per second", failureRate: "Failure rate", oldestWaiting: "Oldest waiting", backlog: "Backlog", busySlots: "Busy slots",
  runTimeP95: "Run time p95", runTime: "Run time", waitTime: "Wait time", completed: "completed", retried: "retried", failed: "failed", added: "added",
  vsPrevious: "vs. the range before", clearsAbout: (time: string) => `clears in ≈ ${time}`, notMoving: "nothing is being completed",
  shareOfWorkers: (share: string, count: number) => `${share} of ${n(count, { one: "# worker", other: "# workers" })}`,
  needsAttention: "Needs attention", allQuiet: "Nothing needs attention", completedInRange: (count: number) => `${jobs(count)} completed in this range.`,
  nextRuns: "Next runs", noRunsPlanned: "No runs planned.",
  sortedByNeed: (count: number, total: number) => `${count} of ${total} · sorted by need`, retryAll: "Retry all…",
  levels: { error: "Error", warning: "Warning", info: "Note" } as Words,
  inOut: (incoming: string, outgoing: string) => `in ${incoming}/s, out ${outgoing}/s`,
  attention: {
    errorIn: (error: string, task: string) => `${error} in ${task}`, fallingBehind: (queue: string) => `${queue} is falling behind`,
    oldest: (queue: string, age: string) => `${queue}: oldest job waits ${age}`,
    slow: (count: number, factor: string) => `${n(count, { one: "# job runs", other: "# jobs run" })} ${factor}× longer than usual`,
    noWorker: (queue: string) => `No worker serves ${queue}`, stuck: (count: number) => n(count, { one: "# job is stuck", other: "# jobs are stuck" }),
    failing: (queue: string) => `${queue}: many jobs fail`, workerGone: (worker: string) => `Worker ${worker} is silent`, broken: (schedule: string) => `Schedule ${schedule} cannot be followed`,
    missed: (schedule: string) => `Schedule ${schedule} missed a run`, mixedVersions: "Workers run different versions", memory: (worker: string) => `Memory of ${worker} keeps growing`,
    eviction: (policy: string) => `Redis may delete jobs (maxmemory-policy ${policy})`, evictionWhy: "Set maxmemory-policy to noeviction.",
    deadLetters: (count: number) => n(count, { one: "# dead letter", other: "# dead letters" }), paused: (queue: string) => `${queue} is paused`,
  },

  // Queues
  stateMix: "Open jobs", waiting: "Waiting", running: "Running", oldest: "Oldest", inPerSecond: "In /s", outPerSecond: "Out /s", clearsIn: "Clears in", failedHour: "Failed 1 h",
  throughputHour: "Throughput", paused: "paused", pausedFor: (time: string) => `paused, ${time} left`, limited: "rate limit reached", fallingBehind: "falling behind",
  filterByName: "Filter by name", sortByNeed: "Sort by need", noQueueMatches: "No queue matches",
  retryFailed: "Retry failed…", limits: "Limits", limitsOf: (queue: string) => `Limits of ${queue}`, inOutShort: "In / out", listening: "listening", atMost: (count: number) => `at most ${count}`,
  failedKept: (count: number) => n(count, { other: "# failed jobs kept" }), searchThese: "Search these", noJobsInState: (state: string) => `No jobs are ${state}`,
  concurrency: "Concurrency", rateLimit: "Rate limit", starts: "Starts", perSeconds: "Per … seconds", startsPer: (count: number, time: string) => `${count} starts per ${time}`,
  mostWaiting: "Most waiting", keepCompleted: "Keep completed", keepFailed: "Keep failed", deadLetters: "Dead letters",
  pauseUntil: "Resume after (optional)", pausedBy: (who: string) => `by ${who}`, pausedUntil: (time: string) => `until ${time}`, pauseQueue: (queue: string) => `Pause ${queue}`,

  // Jobs
  attempts: "Attempts", selectHint: "x selects a row, ⏎ opens it", selectedCount: (count: number) => n(count, { other: "# selected" }),
  selectAll: (count: number) => n(count, { other: "Select all # that match" }), selectAllMatching: "Select all that match", allThatMatch: "All that match",
  newRows: (count: number) => n(count, { other: "# new ↑" }), foundCount: (count: number) => n(count, { other: "# found" }), saveView: "Save view",
  removeFilter: (text: string) => `Remove filter ${text}`, removeView: (text: string) => `Remove view ${text}`, withoutFilter: (text: string) => `without ${text}`,
  noMatch: "No job matches", loosen: "Try", goOnHint: "The search has not looked at every job yet: go on with “Next page”.",
  plan: {
    byId: "by id", byIndex: (index: string) => (index ? `by index ${index}` : "by index"), looked: (count: number) => `looked at ${jobs(count)}`,
    lookedOf: (count: number, total: number) => `looked at ${n(count, { other: "#" })} of about ${n(total, { other: "#" })}`, backTo: (time: string) => `back to ${time}`,
  },
  fullPage: "Full page",

  // Job
  inQueue: "in", whyFailed: "Why it failed", lastError: "Last error", allLikeThis: "All like this", oneOf: (count: number) => `one of ${n(count, { other: "#" })} like it`,
  attemptOf: (attempt: number, of: number) => `attempt ${attempt} of ${of}`, attemptN: (attempt: number) => `attempt ${attempt}`, earlierErrors: (count: number) => n(count, { one: "# earlier error", other: "# earlier errors" }),
  traceback: "Traceback", framesHidden: (count: number) => n(count, { one: "(# library frame hidden: show)", other: "(# library frames hidden: show)" }),
  life: "Life", lifeNote: (total: string, work: string) => `${total}, of which ${work} at work`,
  phases: { waiting: "waiting", backoff: "backoff", blocked: "waiting for children" } as Words,
  addedAt: "Added", exponential: "exponential", fixed: "fixed", due: "Due", started: "Started", finished: "Finished", priority: "Priority", backoff: "Backoff", timeout: "Timeout", deadline: "Deadline", uniqueKey: "Unique key", parent: "Parent", progress: "Progress",
  arguments: "Arguments", result: "Result", log: "Log", hiddenValue: "hidden", valuesHidden: (count: number) => n(count, { one: "# value hidden", other: "# values hidden" }), reveal: "Reveal",
  revealNote: "The values are shown to you on this page. Who revealed them, and why, is in the audit log.", copyCall: "Copy as call", cutText: (size: string) => `… ${size} in all`, cutMore: (count: number) => n(count, { other: "# more" }), cutAt: "The value is cut.", loadAll: (size: string) => `Load all ${size}`,
  lineCount: (count: number) => n(count, { one: "# line", other: "# lines" }), sameKey: "Same key", editAndRun: "Edit and run again",

  // Add
  addJob: "Add a job", runAgain: "Run again", argumentsJson: "Arguments, as JSON", asJson: "Edit as JSON", asForm: "Edit as form", delaySeconds: "Delay in seconds",
  editNote: "A new job is added; the old one stays as it is.", hiddenKept: "Values left hidden keep what is stored.", jobAdded: "Job added", duplicate: "A job with this key exists: nothing was added, this is the existing one.",

  // Flows
  graph: "Graph", waterfall: "Waterfall", doneOf: (done: number, total: number) => `${n(done, { other: "#" })} of ${n(total, { other: "#" })} done`, moreNotShown: "more not shown",
  children: (count: number) => n(count, { one: "# child", other: "# children" }), folded: (name: string, count: number) => `${name} ×${count}`, criticalPath: "Critical path: what made the flow this late",
  noFlows: "No flows", noFlowsNote: "A job with children appears here.", retryFailedPart: "Retry failed part…", cancelFlow: "Cancel flow",
  waitsFor: (count: number) => n(count, { one: "Waits for # job that is still open:", other: "Waits for # jobs that are still open:" }),
  waitsForFailed: (count: number) => n(count, { one: "# child failed; retry it to let the flow continue.", other: "# children failed; retry them to let the flow continue." }),

  // Schedules
  nextRun: "Next", lastRun: "Last run", lastRuns: "Last runs", missed: "Missed", noSchedules: "No schedules", dayRibbon: "Half a day back and ahead", noRunsYet: "No runs yet.",
  runsSummary: (count: number, failed: number) => `${n(count, { one: "# run", other: "# runs" })}, ${failed} failed`, ribbonSummary: (past: number, coming: number) => `${past} past runs, ${coming} coming runs`,
  pileUp: (clock: string, count: number) => `${n(count, { other: "# schedules start together" })} at ${clock}`, declared: "Declared", declaredYes: "in code: change the rule there", declaredNo: "at run time", yourTime: "Your time",
  rule: {
    text: "Rule", every: (time: string) => `every ${time}`, everyMinutes: (count: number) => n(count, { one: "every minute", other: "every # minutes" }), hourly: (minute: string) => `every hour at :${minute}`,
    everyHours: (count: number, minute: string) => n(count, { one: `every hour at :${minute}`, other: `every # hours at :${minute}` }), daily: (at: string) => `every day at ${at}`,
    weekdays: (at: string) => `Monday to Friday at ${at}`, weekly: (day: string, at: string) => `every ${day} at ${at}`, monthly: (day: number, at: string) => `day ${day} of every month at ${at}`,
  },

  // Workers
  memory: "Memory", codeVersion: "Code version", mixedVersions: "different versions are running", sameEverywhere: "the same everywhere", queuesServed: "Queues served",
  byWorkers: (count: number) => n(count, { one: "by # worker", other: "by # workers" }), ofHosts: (count: number) => n(count, { one: "on # host", other: "on # hosts" }), largest: "largest", allAlive: "all alive",
  silentCount: (count: number) => n(count, { other: "# silent" }), silent: "silent", quiet: "quiet", alive: "alive", host: "Host", upFor: "Up for", heartbeat: "Heartbeat",
  whoRanWhat: "Who ran what", lanesNote: "each lane is one slot; click a bar to open its job", lanesMerged: "Only the newest are shown.", lanesSummary: (spans: number, workers: number) => `${jobs(spans)} on ${n(workers, { one: "# worker", other: "# workers" })}`,
  slots: (count: number) => n(count, { one: "# slot", other: "# slots" }), slotN: (slot: number) => `slot ${slot}`, runningNow: "Running now", stackOf: (name: string) => `Where ${name} is now`, stackShort: "Stack",

  // Errors
  groupedByCause: "grouped by cause", failures: "Failures", stillFailed: "Still failed", trend: "Trend", firstSeen: "First seen", lastSeen: "Last seen", lastTime: "Last time", firstTime: "First time", openJob: "Open job",
  noErrors: "No failures in this range", noneKept: "No job of this group is kept", groupStates: { new: "new", known: "known", muted: "muted", resolved: "resolved" } as Words,

  // Tasks
  perSecond: "Runs /s", heatMap: "Heat map", heatNote: "time across, duration up; darker is more jobs", parameters: "Parameters", showJobs: "Jobs", showFailed: "Failed", noTasks: "No tasks have run in this range",

  // Operations, audit
  skipped: "Skipped", noOperations: "No bulk operations yet", noOperationsNote: "A retry, cancel or delete of many jobs appears here with its progress.",
  operationStates: { running: "running", done: "done", cancelled: "cancelled", failed: "failed" } as Words, auditNote: "who did what, from where", noAudit: "Nothing was changed from here yet",

  // Settings
  thisBrowser: "This browser", theme: "Theme", themes: { system: "System", light: "Light", dark: "Dark" }, language: "Language", zone: "Time zone", zones: { local: "Local", server: "Server" },
  rows: "Rows", rowsNormal: "Normal", rowsCompact: "Compact", singleKeys: "Single-key shortcuts", switchedOn: "On", switchedOff: "Off", access: "Access", permissions: "Permissions", mode: "Mode",
  readOnlyShort: "read-only", mayChange: "changes allowed", store: "Store", redaction: "Redaction", redactionNote: "hidden on the server, before anything is sent", retention: "Retention",
  serverProcess: "This server", interval: "Interval", factNames: {
    keys: "Names of keys", words: "Words in names", tasks: "By task", own_rule: "Own rule", pid: "Process", host: "Host", python: "Python", started_ms: "Started", viewers: "Open pages",
  } as Words,
  permissionNames: {
    view: "view", retry: "retry", cancel: "cancel", delete: "delete", edit: "edit", enqueue: "add", pause: "pause", limits: "limits", schedules: "schedules", workers: "workers", reveal: "reveal", audit: "audit log",
  } as Words,

  // Actions
  actions: {
    retry: "Retry", run_now: "Run now", cancel: "Cancel", delete: "Delete", edit: "Edit and run again", move: "Move", priority: "Change priority", pause: "Pause", resume: "Resume", limits: "Change limits",
    empty: "Empty", reschedule: "Reschedule", reveal: "Reveal", enqueue: "Add", add: "Add", "schedule run_now": "Run schedule now", "schedule pause": "Pause schedule", "schedule resume": "Resume schedule", "schedule delete": "Delete schedule",
  } as Words,
  actionCount: (verb: string, count: number) => `${verb} ${jobs(count)}`,
  actionDone: (verb: string, done: number, refused: number) => `${verb}: ${n(done, { other: "# done" })}${refused ? `, ${n(refused, { other: "# refused" })}` : ""}`,
  wouldTouch: (verb: string, count: number, exact: boolean) => `${verb}: ${exact ? "" : "about "}${jobs(count)}.`, nothingToDo: "Nothing matches: there is nothing to do.",
  notTouched: (count: number, why: string) => `${jobs(count)} not touched: ${why}`, byTask: "By task", byQueue: "By queue", ratePerSecond: "At most … jobs a second",
  typeToConfirm: (name: string) => `Type ${name} to confirm`, operationStarted: "Started; progress is under Operations",
};

export type Texts = typeof en;

// A Node process that does with BullMQ what the tests tell it, a line of JSON at a time.
//
// node peer.mjs <5 or 6> <port>. A request is {id, op, timeout?, ...}, its answer {id, value} or
// {id, error: {name, message, code}}. Every request is answered in time, if only by a time-out.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [, , version, port] = process.argv;
const name = version === "6" ? "bullmq" : `bullmq${version}`;
const bull = await import(name);
const require = createRequire(import.meta.resolve(name));
const connection = { host: "127.0.0.1", port: Number(port) };
const PATIENCE_MS = 8000;
const CLOSING_MS = 3000;

// What is open, by prefix, so that one process can serve many tests.

class Space {
  constructor(prefix) {
    this.options = { prefix, connection };
    this.queues = new Map();
    this.workers = new Map();
    this.listeners = new Map();
    this.gates = new Map();
    this.runs = [];
    this.errors = [];
  }

  watch(thing) {
    thing.on("error", (error) => this.errors.push(String(error.message)));
    return thing;
  }

  queue(name, options = {}) {
    const known = this.queues.get(name);
    if (known) return known;
    const queue = this.watch(new bull.Queue(name, { ...this.options, ...options }));
    this.queues.set(name, queue);
    return queue;
  }

  get flows() {
    this.producer ??= this.watch(new bull.FlowProducer(this.options));
    return this.producer;
  }

  gate(name) {
    if (!this.gates.has(name)) this.gates.set(name, new Gate());
    return this.gates.get(name);
  }

  async close() {
    for (const gate of this.gates.values()) gate.let(1e9);
    const open = [...this.listeners.values(), ...this.queues.values()];
    const workers = [...this.workers.values()].map((worker) => worker.close());
    await Promise.all([...workers, ...open.map((one) => one.close())]);
    await this.producer?.close();
  }
}

class Gate {
  permits = 0;
  reached = 0;
  inside = [];
  watchers = [];

  pass() {
    this.reached += 1;
    this.watchers = this.watchers.filter(([count, tell]) => this.reached < count || tell());
    if (this.permits > 0) {
      this.permits -= 1;
      return Promise.resolve();
    }
    return new Promise((go) => this.inside.push(go));
  }

  let(count) {
    for (const go of this.inside.splice(0, count)) {
      count -= 1;
      go();
    }
    this.permits += count;
  }

  until(count) {
    if (this.reached >= count) return Promise.resolve();
    return new Promise((tell) => this.watchers.push([count, () => void tell()]));
  }
}

const spaces = new Map();

function space(prefix) {
  if (!spaces.has(prefix)) spaces.set(prefix, new Space(prefix));
  return spaces.get(prefix);
}

// What a job does is written in its data: {"do": [[word, ...arguments], ...]}.

class Done {
  constructor(value) {
    this.value = value;
  }
}

const STEPS = {
  return: (_, [value]) => new Done(value),
  undefined: () => new Done(undefined),
  children: async ({ job }) => new Done(await job.getChildrenValues()),
  ignored: async ({ job }) => new Done(await job.getIgnoredChildrenFailures()),
  seen: ({ job }) => new Done({ name: job.name, ...seenInside(job) }),
  throw: ({ job }, [message, times = Infinity]) => {
    if (job.attemptsMade < times) throw new Error(message);
  },
  fatal: (_, [message]) => {
    throw new bull.UnrecoverableError(message);
  },
  progress: ({ job }, [value]) => job.updateProgress(value),
  log: ({ job }, [row]) => job.log(row),
  data: ({ job }, [data]) => job.updateData(data),
  gate: ({ here }, [name]) => here.gate(name).pass(),
  sleep: (_, [ms]) => new Promise((go) => setTimeout(go, ms)),
  later: async ({ job, token }, [ms]) => {
    if (job.attemptsStarted > 1) return;
    await job.moveToDelayed(Date.now() + ms, token);
    throw new bull.DelayedError();
  },
  back: async ({ job, token }) => {
    if (job.attemptsStarted > 1) return;
    await job.moveToWait(token);
    throw new bull.WaitingError();
  },
  child: async ({ job, here }, [queue, name, data, options = {}]) => {
    if (job.attemptsStarted > 1) return;
    const parent = { id: job.id, queue: job.queueQualifiedName };
    await here.queue(queue).add(name, data, { ...options, parent });
  },
  await: async ({ job, token }) => {
    if (await job.moveToWaitingChildren(token)) throw new bull.WaitingChildrenError();
  },
  limit: async ({ job, here }, [ms]) => {
    if (job.attemptsStarted > 1) return;
    await here.queue(job.queueName).rateLimit(ms);
    throw bull.Worker.RateLimitError();
  },
};

function seenInside(job) {
  const { data, attemptsMade, attemptsStarted, priority, parentKey } = job;
  return { data, attemptsMade, attemptsStarted, priority, parentKey };
}

async function run(here, worker, job, token) {
  const { id, name, queueName: queue } = job;
  const entry = { queue, id, name, worker, began: Date.now(), ended: null };
  here.runs.push(entry);
  try {
    for (const [word, ...given] of job.data?.do ?? []) {
      const done = await STEPS[word]({ job, token, here }, given);
      if (done instanceof Done) return done.value;
    }
    return null;
  } finally {
    entry.ended = Date.now();
  }
}

// Requests.

const OPS = {
  queue: ({ here, queue, method, args = [] }) => here.queue(queue)[method](...args),
  open: ({ here, queue, options }) => void here.queue(queue, options),
  flow: ({ here, method, args = [] }) => here.flows[method](...args),
  job: async ({ here, queue, job, method, args = [] }) => {
    const found = await here.queue(queue).getJob(job);
    if (!found) throw new Error(`no job ${job} in queue ${queue}`);
    return found[method](...args);
  },
  end: async ({ here, queue, job, state, token, value }) => {
    const found = await here.queue(queue).getJob(job);
    if (state === "completed") await found.moveToCompleted(value, token, false);
    else await found.moveToFailed(new Error(value), token, false);
  },
  result: async ({ here, queue, job, ttl }) => {
    const events = await listen(here, queue);
    const found = await here.queue(queue).getJob(job);
    if (!found) throw new Error(`no job ${job} in queue ${queue}`);
    return found.waitUntilFinished(events, ttl);
  },
  publish: async ({ here, queue, event }) => {
    const producer = new bull.QueueEventsProducer(queue, here.options);
    await producer.publishEvent(event);
    await producer.close();
  },
  listen: async ({ here, queue }) => void (await listen(here, queue)),
  heard: async ({ here, queue }) => (await listen(here, queue)).heard,
  worker: startWorker,
  workerCall: ({ here, key, method, args = [] }) => here.workers.get(key)[method](...args),
  local: ({ here, key }) => here.workers.get(key).heard,
  runs: ({ here }) => here.runs,
  go: ({ here, gate, count = 1 }) => here.gate(gate).let(count),
  reached: ({ here, gate, count = 1 }) => here.gate(gate).until(count),
  errors: ({ here }) => here.errors,
  close: async ({ prefix }) => {
    const here = spaces.get(prefix);
    spaces.delete(prefix);
    await Promise.race([here?.close(), patience(CLOSING_MS, "close")]);
  },
  cron: ({ pattern, tz, after, count }) => cronRuns(pattern, tz, after, count),
};

async function listen(here, queue) {
  if (!here.listeners.has(queue)) {
    const events = here.watch(new bull.QueueEvents(queue, here.options));
    events.heard = [];
    for (const name of EVENTS) {
      events.on(name, (...args) => {
        const told = typeof args[0] === "object" ? args[0] : {};
        events.heard.push([name, told]);
      });
    }
    here.listeners.set(queue, events);
    await events.waitUntilReady();
    // Ready says that it is connected; only what comes after the first read is heard.
    await new Promise((go) => setTimeout(go, 30));
  }
  return here.listeners.get(queue);
}

const EVENTS = [
  "active", "added", "cleaned", "completed", "deduplicated", "delayed", "drained", "duplicated",
  "failed", "paused", "progress", "removed", "resumed", "retries-exhausted", "stalled", "waiting",
  "waiting-children", "custom",
];
const LOCAL = ["active", "completed", "failed", "stalled", "drained", "lockRenewalFailed"];

async function startWorker({ here, queue, key, options = {}, manual = false }) {
  const processor = manual ? null : (job, token) => run(here, key, job, token);
  const { waits, ...given } = options;
  const settings = { ...here.options, name: key, drainDelay: 1, ...given };
  // The waits of a custom backoff, attempt by attempt: a function cannot be told over a pipe.
  if (waits) settings.settings = { backoffStrategy: (made) => waits[made - 1] };
  const worker = here.watch(new bull.Worker(queue, processor, settings));
  worker.heard = [];
  for (const name of LOCAL) {
    worker.on(name, (first, second) => {
      worker.heard.push([name, first?.id ?? first ?? null, second?.message ?? second ?? null]);
    });
  }
  here.workers.set(key, worker);
  await worker.waitUntilReady();
}

function cronRuns(pattern, tz, after, count) {
  const { CronExpressionParser } = require("cron-parser");
  const runs = CronExpressionParser.parse(pattern, { currentDate: new Date(after), tz });
  return Array.from({ length: count }, () => runs.next().getTime());
}

// Answers.

function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof bull.Job) return plainJob(value);
  if (value?.job instanceof bull.Job) {
    return { job: plainJob(value.job), children: plain(value.children ?? []) };
  }
  return value ?? null;
}

const FIELDS = [
  "id", "name", "queueName", "data", "opts", "progress", "returnvalue", "failedReason", "stacktrace",
  "delay", "priority", "timestamp", "processedOn", "finishedOn", "attemptsMade", "attemptsStarted",
  "stalledCounter", "processedBy", "parent", "parentKey", "deduplicationId", "repeatJobKey",
  "deferredFailure", "token",
];

function plainJob(job) {
  return Object.fromEntries(FIELDS.map((field) => [field, job[field] ?? null]));
}

function plainError(error) {
  const { name = "Error", message = String(error), code = null } = error ?? {};
  return { name: error?.constructor?.name ?? name, message, code };
}

function patience(ms, what) {
  return new Promise((_, stop) => {
    setTimeout(() => stop(new Error(`Timeout: ${what} took over ${ms} ms`)), ms).unref();
  });
}

function tell(answer) {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

async function serve(line) {
  const request = JSON.parse(line);
  const { id, op, timeout = PATIENCE_MS } = request;
  try {
    const here = op === "close" || !request.prefix ? undefined : space(request.prefix);
    const work = (async () => plain(await OPS[op]({ ...request, here })))();
    tell({ id, value: await Promise.race([work, patience(timeout, op)]) });
  } catch (error) {
    tell({ id, error: plainError(error) });
  }
}

process.on("unhandledRejection", (error) => tell({ id: null, error: plainError(error) }));
createInterface({ input: process.stdin }).on("line", serve).on("close", () => process.exit(0));
tell({ id: 0, value: { version, pid: process.pid } });

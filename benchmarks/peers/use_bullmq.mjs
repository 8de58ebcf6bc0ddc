// BullMQ on Node: the same modes and answers as peer.py.

import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import { Queue, Worker } from "bullmq";

const QUEUE = "bench";
const CALL = 1000;
const SETTLE_MS = 500;
const keep = process.env.BENCH_KEEP ?? "1000";
const options = keep === "all" ? {} : { removeOnComplete: { count: Number(keep) } };

const [url, mode, ...rest] = process.argv.slice(2);
const at = new URL(url);
const connection = { host: at.hostname, port: Number(at.port), maxRetriesPerRequest: null };

const tell = (...facts) => process.stdout.write(facts.join(" ") + "\n");
const tellJson = (facts) => tell(JSON.stringify(facts));
const cpuMicros = () => {
  const used = process.cpuUsage();
  return used.user + used.system;
};
const texts = (jobs) =>
  Array.from({ length: jobs }, (_, n) => String(n).padStart(8, "0") + "x".repeat(81));

function clock() {
  const began = process.hrtime.bigint();
  const cpu = cpuMicros();
  return (jobs) => ({
    "jobs/s": jobs / (Number(process.hrtime.bigint() - began) / 1e9),
    "µs CPU": (cpuMicros() - cpu) / jobs,
  });
}

async function open() {
  const queue = new Queue(QUEUE, { connection });
  await queue.waitUntilReady();
  return queue;
}

const add = (queue, text) => queue.add("noop", { text }, options);

async function inTurn(jobs) {
  const queue = await open();
  await add(queue, "warm");
  const told = clock();
  for (const text of texts(jobs)) await add(queue, text);
  return told(jobs);
}

async function atOnce(jobs, adders = 50) {
  const queue = await open();
  await Promise.all(Array.from({ length: adders }, () => add(queue, "warm")));
  const left = texts(jobs).values();
  const told = clock();
  await Promise.all(
    Array.from({ length: adders }, async () => {
      for (const text of left) await add(queue, text);
    }),
  );
  return told(jobs);
}

async function many(jobs) {
  const queue = await open();
  await add(queue, "warm");
  const all = texts(jobs);
  const told = clock();
  for (let start = 0; start < jobs; start += CALL) {
    const some = all.slice(start, start + CALL);
    await queue.addBulk(some.map((text) => ({ name: "noop", data: { text }, opts: options })));
  }
  return told(jobs);
}

async function work(ran, concurrency, queues) {
  for (const name of queues) {
    new Worker(name, async (job) => ran(job.data.text), { connection, concurrency });
  }
}

function drain(jobs) {
  const runs = [];
  let missing, told;
  return (text) => {
    if (text === "warm") return;
    told ??= clock();
    runs.push(text);
    if (runs.length < jobs || (missing && !missing.size)) return;
    if (!missing) {
      missing = new Set(texts(jobs));
      for (const one of runs) missing.delete(one);
    }
    missing.delete(text);
    if (missing.size) return;
    const found = told(jobs - 1);
    setTimeout(() => {
      const MB = process.memoryUsage().rss / 1e6;
      tellJson({ ...found, MB, "run twice": runs.length - new Set(runs).size });
      process.exit(0);
    }, SETTLE_MS);
  };
}

function tellStart(text) {
  const at = process.hrtime.bigint();
  const now = performance.timeOrigin + performance.now();
  if (text.startsWith("due ")) tell("late", now - Number(text.slice(4)));
  else if (text !== "warm") tell("at", at);
}

const modes = {
  about() {
    const read = (file) => JSON.parse(readFileSync(new URL(file, import.meta.url), "utf8"));
    const versions = ["bullmq", "ioredis"].map(
      (name) => `${name} ${read(`node_modules/${name}/package.json`).version}`,
    );
    tellJson({ versions: [...versions, `Node ${process.versions.node}`].join(", ") });
  },
  async fill(jobs) {
    await many(jobs);
    process.exit(0);
  },
  async add(jobs) {
    tellJson(await inTurn(jobs));
    process.exit(0);
  },
  async add_at_once(jobs) {
    tellJson(await atOnce(jobs));
    process.exit(0);
  },
  async add_many(jobs) {
    tellJson(await many(jobs));
    process.exit(0);
  },
  work(jobs, concurrency) {
    return work(drain(jobs), concurrency, [QUEUE]);
  },
  async wait(concurrency, queues) {
    const names = Array.from({ length: queues }, (_, n) => (n ? `${QUEUE}-${n}` : QUEUE));
    await work(tellStart, concurrency, names);
    for await (const _ of createInterface({ input: process.stdin })) tell("cpu", cpuMicros() / 1e6);
    process.exit(0);
  },
  async produce() {
    const queue = await open();
    await add(queue, "warm");
    const [text] = texts(1);
    tell("ready");
    for await (const line of createInterface({ input: process.stdin })) {
      const [order, delay] = line.split(" ");
      if (order === "now") {
        const at = process.hrtime.bigint();
        await add(queue, text);
        tell("at", at);
      } else {
        const due = performance.timeOrigin + performance.now() + Number(delay);
        await queue.add("noop", { text: `due ${due}` }, { ...options, delay: Number(delay) });
      }
    }
    process.exit(0);
  },
};

await modes[mode](...rest.map(Number));

// A Node process that is killed while it works, or that adds jobs beside those that are:
//
// node storm.mjs <work or add> <port> <prefix> <ledger> <queue> <queue of parents>
//
// Each act is a line of the ledger, as tests/robustness/chaos/ledger.py has it. It says "up" on its standard
// output, and ends by SIGTERM.

import { openSync, writeSync } from "node:fs";
import { FlowProducer, Queue, Worker } from "bullmq";

const [, , role, port, prefix, path, jobs, parents] = process.argv;
const options = { prefix, connection: { host: "127.0.0.1", port: Number(port) } };
// Opened to append: a line is one write, and there whole or not at all.
const ledger = openSync(path, "a");
const BACKLOG = 40;

function note(...facts) {
  writeSync(ledger, `${[process.hrtime.bigint(), process.pid, ...facts].join("|")}\n`);
}

function pause(ms) {
  return new Promise((go) => setTimeout(go, ms));
}

function work(queue) {
  const worker = new Worker(
    queue,
    async (job) => {
      const run = [queue, job.id, job.attemptsStarted];
      note("start", ...run);
      if (job.name === "gather") {
        const values = Object.keys(await job.getChildrenValues());
        if (values.length !== job.data.children) throw new Error(`ran with ${values} only`);
      }
      // Whoever takes a zombie's job over has it done soon.
      await pause(job.name === "zombie" && job.attemptsStarted > 1 ? 100 : job.data.ms);
      note("end", ...run);
      if (job.name === "retry" && job.attemptsMade === 0) throw new Error("planned");
      return job.id;
    },
    // What is not said stays as Node has it: a job that stalls twice is given up.
    { ...options, concurrency: 3, lockDuration: 1000, stalledInterval: 300, drainDelay: 1 },
  );
  const settled = (word) => (job) => {
    if (job) note("settled", queue, job.id, job.attemptsStarted, word);
  };
  worker.on("completed", settled("completed"));
  worker.on("failed", settled("attempt_failed"));
  worker.on("error", () => {});
  return worker;
}

async function add(over) {
  const streams = { events: { maxLen: 10_000_000 } };
  const queue = new Queue(jobs, { ...options, streams });
  const other = new Queue(parents, { ...options, streams });
  const flows = new FlowProducer(options);
  const data = () => ({ ms: 5 + Math.floor(Math.random() * 60) });
  const child = () => ({ queueName: jobs, name: "child", data: data() });
  await Promise.all([queue.waitUntilReady(), other.waitUntilReady(), flows.waitUntilReady()]);
  process.stdout.write("up\n");
  while (!over()) {
    if ((await queue.getWaitingCount()) >= BACKLOG) {
      await pause(20);
      continue;
    }
    const plain = Array.from({ length: 8 }, () => ({ name: "plain", data: data() }));
    for (const job of await queue.addBulk(plain)) note("acked", jobs, job.id, "plain");
    const again = await queue.add("retry", data(), { attempts: 2, backoff: 20 });
    note("acked", jobs, again.id, "retry");
    const top = { queueName: parents, name: "gather", data: { ...data(), children: 2 } };
    const tree = await flows.add({ ...top, children: [child(), child()] });
    note("acked", parents, tree.job.id, "parent");
    for (const one of tree.children) note("acked", jobs, one.job.id, "child");
  }
  await Promise.all([queue.close(), other.close(), flows.close()]);
}

let stopping = false;
if (role === "add") {
  process.on("SIGTERM", () => (stopping = true));
  await add(() => stopping);
} else {
  const workers = [work(jobs), work(parents)];
  process.on("SIGTERM", async () => {
    await Promise.all(workers.map((worker) => worker.close()));
    process.exit(0);
  });
  await Promise.all(workers.map((worker) => worker.waitUntilReady()));
  note("node");
  process.stdout.write("up\n");
}

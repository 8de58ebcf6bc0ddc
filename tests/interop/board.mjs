// Bull Board as people run it, and a browser to look at it: told what to do by lines of JSON.
//
// node board.mjs 6 <port of Redis> <path of a browser>. Requests and answers as in peer.mjs.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { ExpressAdapter } from "@bull-board/express";
import { FlowProducer, Queue } from "bullmq";
import express from "express";
import { chromium } from "playwright-core";

const [, , , port, browserPath] = process.argv;
const connection = { host: "127.0.0.1", port: Number(port) };
const PATIENCE_MS = 8000;
const SEEN_MS = 5000;
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--disable-dev-shm-usage",
];

const boards = new Map();
let browser, profile, page;

async function serveBoard({ prefix, queues }) {
  const open = queues.map((name) => new Queue(name, { prefix, connection, skipMetasUpdate: true }));
  const flows = new FlowProducer({ prefix, connection });
  const serverAdapter = new ExpressAdapter();
  const adapters = open.map((queue) => new BullMQAdapter(queue, { flowProducer: flows }));
  createBullBoard({ queues: adapters, serverAdapter });
  const app = express();
  app.use(serverAdapter.getRouter());
  const server = await new Promise((ready) => {
    const listening = app.listen(0, "127.0.0.1", () => ready(listening));
  });
  boards.set(prefix, { open: [...open, flows], server });
  return `http://127.0.0.1:${server.address().port}`;
}

async function thePage() {
  if (page) return page;
  profile = await mkdtemp(join(tmpdir(), "toril-board-"));
  browser = await chromium.launchPersistentContext(profile, {
    executablePath: browserPath, args: FLAGS, headless: true, timeout: PATIENCE_MS,
    viewport: { width: 1400, height: 1000 },
  });
  page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS - 1000);
  page.on("dialog", (dialog) => dialog.accept());
  return page;
}

const OPS = {
  board: serveBoard,
  visit: async ({ url }) => void (await (await thePage()).goto(url)),
  // Wait until all of these texts are to be seen, and say what is missing.
  sees: async ({ texts }) => {
    const shown = await thePage();
    const whole = (all) => all.every((text) => document.body.innerText.includes(text));
    try {
      await shown.waitForFunction(whole, texts, { timeout: SEEN_MS });
    } catch {
      const body = await shown.innerText("body");
      const missing = texts.filter((text) => !body.includes(text));
      throw new Error(`not to be seen: ${JSON.stringify(missing)} in ${body}`);
    }
  },
  click: async ({ selector }) => (await thePage()).locator(selector).first().click(),
  close: async ({ prefix }) => {
    const board = boards.get(prefix);
    boards.delete(prefix);
    board?.server.closeAllConnections();
    board?.server.close();
    await Promise.all((board?.open ?? []).map((one) => one.close()));
  },
};

function tell(answer) {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

function patience(ms, what) {
  return new Promise((_, stop) => {
    setTimeout(() => stop(new Error(`Timeout: ${what} took over ${ms} ms`)), ms).unref();
  });
}

async function serve(line) {
  const { id, op, timeout = PATIENCE_MS, ...request } = JSON.parse(line);
  try {
    const value = await Promise.race([OPS[op](request), patience(timeout, op)]);
    tell({ id, value: value ?? null });
  } catch (error) {
    tell({ id, error: { name: error.constructor.name, message: error.message, code: null } });
  }
}

async function end() {
  await browser?.close();
  if (profile) await rm(profile, { recursive: true, force: true });
  process.exit(0);
}

createInterface({ input: process.stdin }).on("line", serve).on("close", end);
tell({ id: 0, value: { pid: process.pid } });

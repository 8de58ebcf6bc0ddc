import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, bytes, duration, moment, number, rate } from "../src/lib/format";
import { bars, lanes } from "../src/lib/lanes";
import { life } from "../src/lib/life";
import { fallingBehind, need } from "../src/lib/need";
import { chips, join, mayBeId, quote, replaced, term, valueOf, without } from "../src/lib/query";
import { cronText, nextOf } from "../src/lib/rule";
import { block, line } from "../src/lib/text";
import { frames } from "../src/lib/traceback";
import { withCauses } from "../src/lib/attention";
import type { AttentionItem, ErrorGroupRow, JobDetail, QueueSummary, RunSpan, WorkerRow } from "../src/lib/types";

test("a query is read into chips and written again", () => {
  assert.deepEqual(chips('state:failed args.user.plan:"pro \\"x\\"" mx1').map(({ key, value }) => [key, value]), [["state", "failed"], ["args.user.plan", 'pro "x"'], ["", "mx1"]]);
  for (const value of ["a b", 'quo"te', "back\\slash", "plain", "x:y"]) assert.equal(valueOf(term("k", value), "k"), value);
  assert.equal(replaced("state:failed queue:a", "state", ""), "queue:a");
  assert.equal(without("a:1 b:2 c:3", 1), "a:1 c:3");
  assert.equal(join("a", "", "b"), "a b");
  assert.equal(quote("a b"), '"a b"');
});

test("an id is one word with a digit", () => {
  assert.ok(mayBeId("01JD3K8Q4W7ZB9") && mayBeId("481"));
  assert.ok(!mayBeId("email") && !mayBeId("user_id:481") && !mayBeId("a 1"));
});

test("durations are short, exact and never negative", () => {
  const shown = [0, 0.4, 184, 1200, 9999, 42_000, 134_000, 11_100_000, 1_051_200_000].map((ms) => duration(ms));
  assert.deepEqual(shown, ["0 s", "0.4 ms", "184 ms", "1.2 s", "10 s", "42 s", "2m 14s", "3h 05m", "12d 4h"]);
  assert.equal(duration(-5000), "0 s");
  assert.equal(duration(null), "–");
});

test("numbers, rates, sizes and moments are shown in any case", () => {
  assert.equal(number(18_204), "18,204");
  assert.deepEqual([0, 0.001, 0.25, 4.25, 640].map((value) => rate(value)), ["0", "<0.01", "0.25", "4.3", "640"]);
  assert.equal(bytes(312_000_000), "298 MB");
  assert.equal(moment(9e18), "9000000000000000000");
  assert.match(ago(1_000, 13_000), /12/);
});

test("hidden characters become visible and long texts are cut", () => {
  assert.equal(line("a\u202Eb\u0000c\u200b"), "a‹202E›b‹0000›c‹200B›");
  assert.equal(line("x".repeat(2_000_000)).length, 201);
  assert.equal(block("one\ntwo"), "one\ntwo");
  assert.equal(line("one\n\ttwo"), "one two");
});

test("a Python traceback gives the error and its frames", () => {
  const found = frames(`Traceback (most recent call last):
  File "/srv/app/mail.py", line 58, in send_welcome
    await smtp.sendmail(sender, user.email, body)
    ^^^^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.11/site-packages/aiosmtplib/smtp.py", line 412, in sendmail
    raise SMTPServerDisconnected("gone")
aiosmtplib.errors.SMTPServerDisconnected: Connection unexpectedly closed`);
  assert.equal(found.type, "SMTPServerDisconnected");
  assert.deepEqual(found.error, [": Connection unexpectedly closed"]);
  assert.deepEqual(found.frames.map(({ where, code, foreign }) => [where, code.slice(0, 10), foreign]), [
    ["srv/app/mail.py:58 in send_welcome", "await smtp", false], ["site-packages/aiosmtplib/smtp.py:412 in sendmail", "raise SMTP", true],
  ]);
});

test("a Node stack and a plain reason are shown too", () => {
  const found = frames("Error: no card\n    at work (/srv/app/cards.js:7:3)\n    at process.run (node:internal/process:95:5)");
  assert.equal(found.type, "Error");
  assert.deepEqual(found.frames.map((frame) => frame.foreign), [false, true]);
  assert.deepEqual(frames("just words").error, ["just words"]);
});

test("only what is certain of a cron text is put into words", () => {
  assert.equal(cronText("0 3 * * *"), "every day at 03:00");
  assert.equal(cronText("*/5 * * * *"), "every 5 minutes");
  assert.equal(cronText("30 9 * * 1-5"), "Monday to Friday at 09:30");
  assert.equal(cronText("0 6 1 * *"), "day 1 of every month at 06:00");
  assert.equal(cronText("0 8 * * mon"), "every Monday at 08:00");
  for (const odd of ["*/7 * * * *", "0 3 1 1 *", "99 3 * * *", "0 3 L * *", `${"1,".repeat(1_000_000)} * * * *`]) assert.equal(cronText(odd), null);
  assert.equal(nextOf([1, 5, 9], 4), 5);
});

function span(start: number, end: number | null, outcome = "completed", slot = 1): RunSpan {
  return { worker: "w", slot, queue: "q", id: String(start), name: "n", start_ms: start, end_ms: end, outcome };
}

test("bars below two pixels merge, and a failed one among them is kept", () => {
  const many = Array.from({ length: 10 }, (_, at) => span(at, at + 1, at === 4 ? "failed" : "completed"));
  const made = bars(many, 0, 10_000, 0.1, 1000);
  assert.equal(made.length, 1);
  assert.equal(made[0]!.count, 10);
  assert.ok(made[0]!.failed);
  assert.equal(bars([span(0, 5_000), span(5_100, null)], 0, 10_000, 0.1, 1000).length, 2);
});

test("every worker has a lane, of many slots only those in use", () => {
  const worker = (slots: number) => ({ id: "w", name: "web", slots }) as WorkerRow;
  assert.equal(lanes([worker(4)], [], 0, 1, 100).length, 4);
  assert.deepEqual(lanes([worker(50)], [span(0, 1, "completed", 7)], 0, 1, 100).map((lane) => lane.slot), [7]);
  assert.equal(lanes([worker(50)], [], 0, 1, 100).length, 1);
});

test("a life has its waits, attempts and pauses, and no negative wait", () => {
  const attempt = (started_ms: number, ended_ms: number, end: string) => ({ run: 1, worker: "w", slot: 1, started_ms, ended_ms, end, reason: null, fingerprint: null, version: null });
  const job = { created_ms: 100, finished_ms: 900, state: "failed", children: { pending: 0, completed: 0, failed: 0, ignored: 0 }, attempts_list: [attempt(300, 400, "failed"), attempt(800, 900, "failed")] } as unknown as JobDetail;
  assert.deepEqual(life(job, 1000).map(({ kind, from, to }) => [kind, from, to]), [["waiting", 100, 300], ["attempt", 300, 400], ["backoff", 400, 800], ["attempt", 800, 900]]);
  const early = { ...job, attempts_list: [attempt(50, 60, "failed")] };
  for (const phase of life(early, 1000)) assert.ok(phase.to >= phase.from);
});

test("queues that need a person come first", () => {
  const row = (more: Partial<QueueSummary>) => ({ counts: { waiting: 0, prioritized: 0, active: 0 }, workers: 1, failed_1h: 0, oldest_waiting_ms: null, in_per_s: null, out_per_s: null, ...more }) as QueueSummary;
  const waiting = { waiting: 500, prioritized: 0, delayed: 0, active: 0, waiting_children: 0, completed: 0, failed: 0 };
  assert.ok(need(row({ counts: waiting, workers: 0 })) > need(row({ counts: waiting })));
  assert.ok(need(row({ failed_1h: 100 })) > need(row({})));
  assert.ok(fallingBehind(row({ counts: waiting, in_per_s: 640, out_per_s: 428 })));
  assert.ok(!fallingBehind(row({ counts: waiting, in_per_s: 1, out_per_s: 1 })));
});

test("the causes of most failures come first, and their queues are not named twice", () => {
  const group = (fingerprint: string, lately: number) => ({ fingerprint, type: "E", message: "m", queues: ["mail"], tasks: ["send"], spark: [0, lately], first_ms: 1 }) as unknown as ErrorGroupRow;
  const item = (kind: string) => ({ kind, level: "error", queue: "mail", task: null, fingerprint: null, count: 1, since_ms: null, values: {} }) as AttentionItem;
  const shown = withCauses([item("failing"), item("paused")], [group("a", 2), group("b", 9), group("c", 0)]);
  assert.deepEqual(shown.map(({ kind, fingerprint }) => [kind, fingerprint]), [["error_group", "b"], ["error_group", "a"], ["paused", null]]);
});

// A Node process with BullMQ's telemetry: it does what the tests tell it, a line of JSON at a time.
//
// node trace.mjs 6 <port>. A request is {id, op, prefix, queue}, its answer {id, value}.

import { context, propagation, trace } from "@opentelemetry/api";
import {
  InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-node";
import { createInterface } from "node:readline";
import { Queue, Worker } from "bullmq";
import { BullMQOtel } from "bullmq-otel";

const [, , , port] = process.argv;
const exporter = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
provider.register();

const options = (prefix) => ({
  prefix,
  connection: { host: "127.0.0.1", port: Number(port) },
  telemetry: new BullMQOtel({ tracerName: "node" }),
});

const ops = {
  // Add a job within a span, and give the id of the span's trace.
  async add({ prefix, queue, omit }) {
    const made = new Queue(queue, options(prefix));
    const span = trace.getTracer("node").startSpan("request");
    const opts = omit ? { telemetry: { omitContext: true } } : {};
    const job = await context.with(trace.setSpan(context.active(), span), () => made.add("n", {}, opts));
    span.end();
    await made.close();
    return { id: job.id, trace: span.spanContext().traceId };
  },
  // Run one job, and give the trace that its handler saw.
  async work({ prefix, queue }) {
    let seen;
    const worker = new Worker(queue, async () => {
      const carrier = {};
      propagation.inject(context.active(), carrier);
      seen = carrier.traceparent;
    }, options(prefix));
    await new Promise((go) => worker.once("completed", go));
    await worker.close();
    return seen;
  },
  async spans() {
    return exporter.getFinishedSpans().map((span) => ({
      name: span.name,
      trace: span.spanContext().traceId,
      span: span.spanContext().spanId,
      parent: span.parentSpanContext?.spanId ?? null,
    }));
  },
};

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, op, ...request } = JSON.parse(line);
  try {
    say({ id, value: await ops[op](request) });
  } catch (error) {
    say({ id, error: { name: error.name, message: error.message, code: null } });
  }
}).on("close", () => process.exit());
say({ id: 0, value: {} });

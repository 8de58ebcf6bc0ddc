// The charts that several pages share, made from one series: throughput, run time, wait time.
import { t } from "../i18n";
import { duration, rate } from "../lib/format";
import type { SeriesAnswer } from "../lib/types";
import type { Points } from "../lib/model";
import { Card } from "./card";
import { type Curve, Legend, TimeChart } from "./timechart";

/** The last step is not over yet: what it has so far came in the time that has passed of it. */
function perSecond(values: Points, start: number, step: number): Points {
  const passed = Math.min(step, Math.max(5_000, Date.now() - (start + (values.length - 1) * step)));
  return values.map((value, at) => (value === null ? null : (value * 1000) / (at === values.length - 1 ? passed : step)));
}

export function Throughput({ of, tall = true }: { of: SeriesAnswer; tall?: boolean }) {
  const curves: Curve[] = [
    { label: t.completed, values: perSecond(of.completed, of.start_ms, of.step_ms), colour: "var(--completed)", fill: true },
    { label: t.retried, values: perSecond(of.retried, of.start_ms, of.step_ms), colour: "var(--warning)", fill: true },
    { label: t.failed, values: perSecond(of.failed, of.start_ms, of.step_ms), colour: "var(--failed)", fill: true },
    { label: t.added, values: perSecond(of.added, of.start_ms, of.step_ms), colour: "var(--ink3)", dash: [2, 3] },
  ];
  return (
    <Card title={t.throughput} note={t.jobsPerSecond} actions={<Legend of={curves} />}>
      <TimeChart title={t.throughput} start={of.start_ms} step={of.step_ms} curves={curves} marks={of.marks} unit={rate} height={tall ? 180 : 140} />
      {of.missing.length > 0 && <p class="small soft">{t.notRecorded(of.missing.join(", "))}</p>}
    </Card>
  );
}

export function Durations({ of, kind, title, actions }: { of: SeriesAnswer; kind: "run" | "wait"; title: string; actions?: preact.ComponentChildren }) {
  const curves: Curve[] = [
    { label: "p50", values: of[`${kind}_p50_ms`], colour: "var(--completed)" },
    { label: "p95", values: of[`${kind}_p95_ms`], colour: "var(--active)" },
    { label: "p99", values: of[`${kind}_p99_ms`], colour: "var(--delayed)", dash: [4, 3] },
  ];
  return (
    <Card title={title} note="p50 · p95 · p99" actions={<><Legend of={curves} />{actions}</>}>
      <TimeChart title={title} start={of.start_ms} step={of.step_ms} curves={curves} marks={of.marks} unit={duration} height={140} />
    </Card>
  );
}

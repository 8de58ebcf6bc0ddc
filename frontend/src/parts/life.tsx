// Bars of a job's life: hatched where it waited, filled where an attempt ran.
import { t } from "../i18n";
import { duration, moment } from "../lib/format";
import { life, worked } from "../lib/life";
import { second } from "../lib/live";
import { line } from "../lib/text";
import type { JobDetail } from "../lib/types";
import { Card } from "./card";
import { colour } from "./state";

export function Life({ job }: { job: JobDetail }) {
  const phases = life(job, job.finished_ms ?? second.value);
  const first = phases[0]?.from ?? job.created_ms;
  const last = Math.max(phases.at(-1)?.to ?? first, first + 1);
  const place = (ms: number) => `${(((ms - first) / (last - first)) * 100).toFixed(3)}%`;
  return (
    <Card title={t.life} note={t.lifeNote(duration(last - first), duration(worked(phases)))}>
      <ol class="life">
        {phases.map((phase, at) => {
          const attempt = phase.kind === "attempt";
          const name = attempt ? [t.attemptN(phase.attempt), phase.worker && line(phase.worker, 40) + (phase.slot ? `/${phase.slot}` : "")].filter(Boolean).join(" · ") : t.phases[phase.kind];
          const back = attempt && !["completed", "failed", "running"].includes(phase.end) ? phase.end : phase.end === "failed" && at < phases.length - 1 ? "retried" : phase.end;
          return (
            <li key={at} title={[moment(phase.from), phase.reason && line(phase.reason), phase.version && line(phase.version, 60)].filter(Boolean).join(" · ")}>
              <span class={attempt ? "cut" : "cut soft"}>{name}</span>
              <span class="life-track">
                <span class={attempt ? "life-bar" : "life-bar hatched"} style={{ left: place(phase.from), width: `max(3px, ${place(first + phase.to - phase.from)})`, ...(attempt ? { background: colour(back) } : {}) }} />
              </span>
              <span class="num small soft">{duration(phase.to - phase.from)}</span>
            </li>
          );
        })}
      </ol>
    </Card>
  );
}

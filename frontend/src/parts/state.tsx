// A job's state: colour, mark and word, so that colour never is the only sign.
import { t } from "../i18n";
import { countOf, type StateName } from "../lib/model";
import type { StateCounts } from "../lib/types";
import { number } from "../lib/format";

// Drawn, for fonts lack some of these signs.
const SIGNS = {
  ring: "M6 2.2a3.8 3.8 0 1 0 0 7.6 3.8 3.8 0 0 0 0-7.6z", clock: "M6 1.8a4.2 4.2 0 1 0 0 8.4 4.2 4.2 0 0 0 0-8.4zM6 3.8V6l1.6 1",
  play: "M3.6 2.4v7.2L9.6 6z", check: "M2.2 6.4 4.8 9l5-6", cross: "M3 3l6 6M9 3 3 9", fork: "M6 10V7M2.5 2v1.5L6 7l3.5-3.5V2",
  slash: "M6 2.2a3.8 3.8 0 1 0 0 7.6 3.8 3.8 0 0 0 0-7.6zM3.4 8.6l5.2-5.2", again: "M9.6 6A3.6 3.6 0 1 1 8.2 3.2M8.4 1v2.4H6", bang: "M6 2v4.8M6 9.4v.2",
} as const;

type Sign = keyof typeof SIGNS;
const MARKS: Record<string, Sign> = {
  waiting: "ring", prioritized: "ring", delayed: "clock", active: "play", completed: "check", failed: "cross", "waiting-children": "fork",
  cancelled: "slash", retried: "again", snoozed: "clock", stalled: "bang", released: "ring", running: "play", error: "cross", warning: "bang", info: "clock",
};
const COLOURS: Record<string, string> = {
  waiting: "waiting", prioritized: "waiting", delayed: "delayed", active: "active", completed: "completed", failed: "failed",
  "waiting-children": "blocked", cancelled: "cancelled", retried: "warning", snoozed: "delayed", stalled: "warning", running: "active",
  released: "waiting",
};

export const colour = (state: string): string => `var(--${COLOURS[state] ?? "failed"})`;
export const signOf = (state: string): string => SIGNS[MARKS[state] ?? "cross"];
export const stateText = (state: string): string => t.states[state.replace("-", "_")] ?? state;

export function Mark({ of }: { of: string }) {
  const sign = MARKS[of] ?? "cross";
  return (
    <svg class="mark" width="12" height="12" viewBox="0 0 12 12" fill={sign === "play" ? "currentColor" : "none"} stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={SIGNS[sign]} />
    </svg>
  );
}

export function State({ state, pill = false }: { state: string; pill?: boolean }) {
  return (
    <span class={pill ? "state pill" : "state"} style={{ color: colour(state) }}>
      <Mark of={state} /> {stateText(state)}
    </span>
  );
}

const MIX: StateName[] = ["waiting-children", "waiting", "prioritized", "delayed", "active", "failed"];

/** A bar with the shares of what a queue holds and has not completed. */
export function Mix({ counts }: { counts: StateCounts }) {
  const total = MIX.reduce((sum, state) => sum + countOf(counts, state), 0);
  const parts = MIX.filter((state) => countOf(counts, state) > 0);
  const words = parts.map((state) => `${stateText(state)} ${number(countOf(counts, state))}`).join(", ");
  return (
    <span class="mix" role="img" aria-label={words || t.nothingOpen} title={words || t.nothingOpen}>
      {parts.map((state) => (
        <span key={state} style={{ background: colour(state), flexGrow: Math.max(countOf(counts, state) / total, 0.02) }} />
      ))}
    </span>
  );
}

// Types of the browser's own: names of states, what is posted.
import type { JobPlace, StateCounts } from "./types";

export type StateName = "waiting" | "prioritized" | "delayed" | "active" | "waiting-children" | "completed" | "failed";

export interface Page<T> { items: T[]; next: string | null; total: number | null }

export const countOf = (counts: StateCounts, state: StateName): number => counts[state.replace("-", "_") as keyof StateCounts];

export interface ActTarget {
  jobs?: JobPlace[] | null; query?: string | null; fingerprint?: string | null; queue?: string | null; schedule?: JobPlace | null; worker?: string | null;
}
export interface ActRequest { action: string; target: ActTarget; params?: Record<string, unknown>; dry_run?: boolean; reason?: string }

export type Points = (number | null)[];

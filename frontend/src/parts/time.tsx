// A moment: how long ago, with the exact time on hover and in the copy.
import { ago, moment } from "../lib/format";
import { second } from "../lib/live";

export function Time({ ms }: { ms: number | null }) {
  if (ms === null) return <span class="dim">–</span>;
  const exact = moment(ms);
  const iso = Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : undefined;
  return <time dateTime={iso} title={exact}>{ago(ms, second.value)}</time>;
}

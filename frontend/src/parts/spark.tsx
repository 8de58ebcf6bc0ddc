// A line as small as a word.
export function Spark({ values, colour = "var(--completed)", label }: { values: number[]; colour?: string; label: string }) {
  const top = Math.max(1e-9, ...values);
  const step = 96 / Math.max(1, values.length - 1);
  const points = values.map((value, at) => `${(at * step + 1).toFixed(1)},${(19 - (value / top) * 17).toFixed(1)}`).join(" ");
  return (
    <svg class="spark" width="98" height="20" viewBox="0 0 98 20" role="img" aria-label={label}>
      <polyline points={points} fill="none" stroke={colour} stroke-width="1.3" stroke-linejoin="round" />
    </svg>
  );
}

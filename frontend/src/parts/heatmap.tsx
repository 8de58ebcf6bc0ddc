// A heat map: time across, duration (log scale) up; it shows two populations where percentiles hide them.
import { useRef } from "preact/hooks";
import { t } from "../i18n";
import { clock, duration, number } from "../lib/format";
import type { HeatAnswer } from "../lib/types";
import { useWidth } from "./width";

const HEIGHT = 160;
const LEFT = 54;

export function HeatMap(props: { of: HeatAnswer; title: string }) {
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box);
  return <div ref={box}>{width > 0 && <Cells {...props} width={width} />}</div>;
}

function Cells({ of, title, width }: { of: HeatAnswer; title: string; width: number }) {
  const used = of.columns.flatMap((column) => column.flatMap((count, cell) => (count ? [cell] : [])));
  if (!used.length) return <p class="soft small pad">{t.nothingInRange}</p>;
  const low = Math.min(...used);
  const high = Math.max(...used);
  const rows = high - low + 1;
  const most = Math.max(...of.columns.flat());
  const bound = (cell: number) => of.floor_ms * 2 ** (cell / of.per_doubling);
  const cell = { w: (width - LEFT) / of.columns.length, h: HEIGHT / rows };
  const lines = Array.from({ length: Math.min(rows, 5) }, (_, at) => low + Math.round((at * (rows - 1)) / Math.max(1, Math.min(rows, 5) - 1)));
  const end = of.start_ms + of.columns.length * of.step_ms;
  return (
    <svg class="heat" width={width} height={HEIGHT + 20} role="img" aria-label={`${title}: ${duration(bound(low))} – ${duration(bound(high + 1))}`}>
      {[...new Set(lines)].map((line) => (
        <text key={line} class="axis" x={LEFT - 6} y={HEIGHT - (line - low + 0.5) * cell.h + 4} text-anchor="end">{duration(bound(line))}</text>
      ))}
      {of.columns.flatMap((column, x) =>
        column.map((count, y) =>
          count && y >= low ? (
            <rect key={`${x}.${y}`} x={LEFT + x * cell.w} y={HEIGHT - (y - low + 1) * cell.h} width={Math.max(cell.w - 0.5, 0.5)} height={Math.max(cell.h - 0.5, 0.5)} fill="var(--accent)" fill-opacity={0.15 + 0.85 * Math.sqrt(count / most)}>
              <title>{`${clock(of.start_ms + x * of.step_ms)} · ${duration(bound(y))} – ${duration(bound(y + 1))} · ${number(count)}`}</title>
            </rect>
          ) : null,
        ),
      )}
      {(width > 500 ? [0, 0.25, 0.5, 0.75, 1] : [0, 0.5, 1]).map((part) => (
        <text key={part} class="axis" x={LEFT + part * (width - LEFT)} y={HEIGHT + 15} text-anchor={part === 1 ? "end" : part ? "middle" : "start"}>{clock(of.start_ms + part * (end - of.start_ms))}</text>
      ))}
    </svg>
  );
}

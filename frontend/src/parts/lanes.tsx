// Who ran what: a lane for each slot, drawn on a canvas; the same as a table with `d`.
import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { ago, duration, seconds } from "../lib/format";
import { type Bar, lanes } from "../lib/lanes";
import { go, toJob } from "../lib/route";
import { theme } from "../lib/settings";
import { line } from "../lib/text";
import type { RunSpan, WorkerRow } from "../lib/types";
import { colour, State } from "./state";
import { Table } from "./table";
import { asTable, resolve } from "./timechart";
import { useWidth } from "./width";

// Many lanes are drawn lower, so that they fit on a screen.
const rowHeight = (count: number): number => (count > 40 ? 11 : count > 20 ? 16 : 24);

export function Lanes({ workers, spans, from, now }: { workers: WorkerRow[]; spans: RunSpan[]; from: number; now: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box, asTable.value);
  const [hover, setHover] = useState<Bar | null>(null);
  const rows = lanes(workers, spans, from, now, Math.max(1, width));
  const height = rowHeight(rows.length);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (context) draw(context, rows.map((row) => row.bars), width);
  }, [spans, width, theme.value, now, asTable.value]);
  if (asTable.value) return <SpanTable spans={spans} workers={workers} />;

  const find = (event: MouseEvent) => {
    const { left, top } = canvas.current!.getBoundingClientRect();
    const x = event.clientX - left;
    return rows[Math.floor((event.clientY - top) / height)]?.bars.findLast((bar) => x >= bar.from - 1 && x <= bar.to + 1) ?? null;
  };
  return (
    <div class="lanes">
      <div class="lane-names">
        {rows.map((row) => (
          <div key={`${row.worker}|${row.slot}`} class="cut" style={{ height: `${height}px`, lineHeight: `${height}px` }}>
            {row.first ? <><a class="strong" href={`workers?worker=${encodeURIComponent(row.worker)}`}>{line(row.title, 40)}</a> <span class="dim small">{t.slots(workers.find((each) => each.id === row.worker)?.slots ?? 0)}</span></> : height > 11 && <span class="soft small indent">{t.slotN(row.slot)}</span>}
          </div>
        ))}
      </div>
      <div class="lane-box" ref={box}>
        <canvas ref={canvas} role="img" aria-label={t.lanesSummary(spans.length, workers.length)} style={{ height: `${rows.length * height}px`, cursor: hover ? "pointer" : "default" }}
          onMouseMove={(event) => setHover(find(event))} onMouseLeave={() => setHover(null)} onClick={(event) => { const bar = find(event); if (bar) go(toJob(bar.span)); }} />
        <div class="lane-axis small dim">
          {[1, 0.8, 0.6, 0.4, 0.2, 0].map((part) => <span key={part}>{part ? ago(now - (now - from) * part, now) : t.now}</span>)}
        </div>
        <p class="small soft lane-tip">{hover ? `${line(hover.span.name, 60)} · ${line(hover.span.id, 40)} · ${seconds(hover.span.start_ms)} · ${duration((hover.span.end_ms ?? now) - hover.span.start_ms)}${hover.count > 1 ? ` · ×${hover.count}` : ""}` : "\u00a0"}</p>
      </div>
    </div>
  );
}

function draw(context: CanvasRenderingContext2D, rows: Bar[][], width: number): void {
  const scale = devicePixelRatio;
  const row = rowHeight(rows.length);
  const tall = row - (row > 16 ? 8 : 3);
  context.canvas.width = width * scale;
  context.canvas.height = rows.length * row * scale;
  context.scale(scale, scale);
  context.font = '11px "Geist", sans-serif';
  context.textBaseline = "middle";
  const text = resolve("var(--surface)");
  const colours = new Map<string, string>();
  for (const [at, bars] of rows.entries()) {
    const top = at * row + (row - tall) / 2;
    for (const bar of bars) {
      const key = colour(bar.failed ? "failed" : bar.span.end_ms === null ? "running" : bar.span.outcome);
      if (!colours.has(key)) colours.set(key, resolve(key));
      context.fillStyle = colours.get(key)!;
      const wide = Math.max(1.5, bar.to - bar.from - 1);
      context.beginPath();
      context.roundRect(bar.from, top, wide, tall, Math.min(3, wide / 2));
      context.fill();
      if (wide > 44 && tall > 11) {
        context.fillStyle = text;
        context.save();
        context.clip();
        context.fillText(line(bar.span.name, 60), bar.from + 5, top + tall / 2 + 0.5);
        context.restore();
      }
    }
  }
}

function SpanTable({ spans, workers }: { spans: RunSpan[]; workers: WorkerRow[] }) {
  const names = new Map(workers.map((worker) => [worker.id, worker.name]));
  return (
    <Table caption={t.whoRanWhat} rows={spans.toSorted((a, b) => b.start_ms - a.start_ms).slice(0, 500)} id={(span) => `${span.queue}|${span.id}|${span.start_ms}`}
      columns={[
        { key: "job", title: t.job, wide: true, keep: true, cell: (span) => <a class="link" href={toJob(span)}>{line(span.name, 60)}</a> },
        { key: "worker", title: t.worker, keep: true, cell: (span) => `${line(names.get(span.worker) ?? span.worker, 40)}/${span.slot}` },
        { key: "outcome", title: t.state, keep: true, cell: (span) => <State state={span.end_ms === null ? "running" : span.outcome} /> },
        { key: "start", title: t.started, cell: (span) => seconds(span.start_ms) },
        { key: "run", title: t.runTime, num: true, cell: (span) => duration(span.end_ms === null ? null : span.end_ms - span.start_ms) },
      ]} />
  );
}

// Curves over time, drawn by uPlot: one cursor for all charts of a page, marks of deploys, a table with `d`.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { t } from "../i18n";
import { clock, dayClock } from "../lib/format";
import { theme } from "../lib/settings";
import { signal } from "@preact/signals";
import { safe } from "../lib/text";

export interface Curve { label: string; values: (number | null)[]; colour: string; fill?: boolean; dash?: number[] }
interface Props { title: string; start: number; step: number; curves: Curve[]; marks: { at_ms: number; text: string }[]; unit: (value: number) => string; height?: number }

export const asTable = signal(false);

/** The value of a colour token in the theme that is shown. */
export function resolve(token: string): string {
  const probe = document.createElement("span");
  probe.style.color = token;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const faint = (rgb: string): string => rgb.replace(/^rgb\(/, "rgba(").replace(/\)$/, ", 0.16)");

function options({ curves, marks, unit, step, height }: Props, width: number): uPlot.Options {
  const ink = resolve("var(--ink3)");
  const grid = { stroke: resolve("var(--line)"), width: 1 };
  const accent = resolve("var(--accent)");
  const font = '11px "Geist", sans-serif';
  return {
    width, height: height ?? 180, padding: [10, 24, 0, 0],
    cursor: { sync: { key: "toril" }, points: { size: 6 }, drag: { x: false, y: false } },
    legend: { show: false },
    scales: { x: { time: true }, y: { range: (_self, _min, max) => [0, max > 0 ? max * 1.1 : 1] } },
    axes: [
      { stroke: ink, font, grid, ticks: { show: false }, size: 24, values: (_self, ticks) => ticks.map((at) => (step > 1_000_000 ? dayClock(at * 1000) : clock(at * 1000))), space: step > 1_000_000 ? 110 : 60 },
      { stroke: ink, font, grid, ticks: { show: false }, size: 54, values: (_self, ticks) => ticks.map(unit), space: 36 },
    ],
    series: [
      {},
      ...curves.map((curve): uPlot.Series => {
        const stroke = resolve(curve.colour);
        return { label: curve.label, stroke, width: 1.5, points: { show: false }, spanGaps: true, ...(curve.fill ? { fill: faint(stroke) } : {}), ...(curve.dash ? { dash: curve.dash } : {}) };
      }),
    ],
    hooks: {
      draw: [
        (plot) => {
          const { ctx, bbox } = plot;
          ctx.save();
          ctx.strokeStyle = ctx.fillStyle = accent;
          ctx.font = `${11 * devicePixelRatio}px "Geist", sans-serif`;
          ctx.setLineDash([4, 3]);
          for (const { at_ms, text } of marks) {
            const x = plot.valToPos(at_ms / 1000, "x", true);
            if (x < bbox.left || x > bbox.left + bbox.width) continue;
            ctx.beginPath();
            ctx.moveTo(x, bbox.top);
            ctx.lineTo(x, bbox.top + bbox.height);
            ctx.stroke();
            ctx.textAlign = x > bbox.left + bbox.width / 2 ? "right" : "left";
            ctx.fillText(` ${safe(text).slice(0, 40)} `, x, bbox.top + 12 * devicePixelRatio);
          }
          ctx.restore();
        },
      ],
    },
  };
}

export function TimeChart(props: Props) {
  const box = useRef<HTMLDivElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const { start, step, curves } = props;
  const times = Array.from({ length: curves[0]?.values.length ?? 0 }, (_, at) => (start + at * step) / 1000);
  const data = [times, ...curves.map((curve) => curve.values)] as uPlot.AlignedData;
  const shape = `${curves.map((curve) => curve.label).join()}|${step}|${theme.value}|${props.marks.length}|${asTable.value}`;
  const latest = useRef({ props, data });
  latest.current = { props, data };

  useEffect(() => {
    const home = box.current;
    if (!home) return;
    const made = new uPlot(options(latest.current.props, home.clientWidth), latest.current.data, home);
    plot.current = made;
    made.hooks.setCursor = [
      (self) => {
        const at = self.cursor.idx;
        const shown = tip.current;
        if (!shown) return;
        const now = latest.current;
        const time = typeof at === "number" ? now.data[0][at] : undefined;
        shown.textContent =
          time === undefined ? "" : [clock(time * 1000), ...now.props.curves.map((curve) => {
            const value = curve.values[at as number];
            return `${curve.label} ${value === null || value === undefined ? "–" : now.props.unit(value)}`;
          })].join(" · ");
      },
    ];
    const watch = new ResizeObserver(() => made.setSize({ width: home.clientWidth, height: made.height }));
    watch.observe(home);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const again = () => made.redraw();
    scheme.addEventListener("change", again);
    return () => {
      watch.disconnect();
      scheme.removeEventListener("change", again);
      made.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(data), [data]);

  if (asTable.value) return <Values {...props} />;
  return (
    <figure class="chart" aria-label={summary(props)} role="img">
      <div ref={box} class="chart-box" style={{ minHeight: `${props.height ?? 180}px` }} />
      <div ref={tip} class="chart-tip small soft" aria-hidden="true" />
    </figure>
  );
}

function summary({ title, curves, unit }: Props): string {
  const parts = curves.map(({ label, values }) => {
    const known = values.filter((value) => value !== null);
    return known.length ? `${label}: ${t.latest} ${unit(known.at(-1)!)}, ${t.highest} ${unit(Math.max(...known))}` : `${label}: –`;
  });
  return `${title}. ${parts.join("; ")}`;
}

function Values({ title, start, step, curves, unit }: Props) {
  const rows = (curves[0]?.values ?? []).map((_, at) => at).reverse();
  return (
    <div class="table-box scroll" tabIndex={0} role="region" aria-label={title}>
      <table class="table">
        <caption class="sr">{title}</caption>
        <thead><tr><th scope="col">{t.time}</th>{curves.map(({ label }) => <th key={label} scope="col" class="num">{label}</th>)}</tr></thead>
        <tbody>
          {rows.map((at) => (
            <tr key={at}>
              <td>{dayClock(start + at * step)}</td>
              {curves.map(({ label, values }) => <td key={label} class="num">{values[at] === null || values[at] === undefined ? "–" : unit(values[at])}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Legend({ of }: { of: Curve[] }) {
  return (
    <span class="legend small soft">
      {of.map(({ label, colour }) => <span key={label}><i style={{ background: colour }} />{label}</span>)}
    </span>
  );
}

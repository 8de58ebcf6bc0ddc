// A titled box, the facts in it, and the row of big numbers at the top of a page.
import type { ComponentChildren } from "preact";

interface CardProps { title: string; note?: ComponentChildren; actions?: ComponentChildren; class?: string; children: ComponentChildren }

export function Card({ title, note, actions, children, ...rest }: CardProps) {
  return (
    <section class={`card ${rest.class ?? ""}`}>
      <header class="card-head">
        <h2>{title}</h2>
        {note !== undefined && <span class="small soft grow">{note}</span>}
        {actions && <span class="row wrap end">{actions}</span>}
      </header>
      {children}
    </section>
  );
}

export interface Figure { label: string; value: ComponentChildren; note?: ComponentChildren; tone?: "good" | "bad" | "warn" | undefined; href?: string }

export function Figures({ of }: { of: Figure[] }) {
  return (
    <dl class="figures card">
      {of.map(({ label, value, note, tone, href }) => (
        <div key={label} class="figure">
          <dt class="small soft">{label}</dt>
          <dd class="total">{href ? <a href={href}>{value}</a> : value}</dd>
          <dd class={`small ${tone ?? "soft"}`}>{note ?? "\u00a0"}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Facts({ of }: { of: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {of.map(([label, value]) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Choice({ label, value, options, pick }: { label: string; value: string; options: [string, string][]; pick: (value: string) => void }) {
  return (
    <span class="choice" role="group" aria-label={label}>
      {options.map(([key, text]) => (
        <button key={key} type="button" aria-pressed={key === value} onClick={() => pick(key)}>{text}</button>
      ))}
    </span>
  );
}

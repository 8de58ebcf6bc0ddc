// Settings: what this browser remembers, who you are here, and facts about the store and the server.
import type { Signal } from "@preact/signals";
import { LANGUAGES, lang, t } from "../i18n";
import { me, useResource } from "../lib/api";
import { overview } from "../lib/live";
import { density, language, singleKeys, theme, zone } from "../lib/settings";
import { duration, moment } from "../lib/format";
import { line } from "../lib/text";
import type { FactRow, StoreAnswer } from "../lib/types";
import { Card, Choice, Facts } from "../parts/card";
import { Load } from "../parts/empty";

const written = (value: unknown): string => line(Array.isArray(value) ? value.map(String).join(", ") : typeof value === "object" && value !== null ? JSON.stringify(value) : String(value ?? "–"), 400);
const rows = (of: object): [string, string][] =>
  Object.entries(of).filter(([key, value]) => key !== "interval_s" && !isEmpty(value))
    .map(([key, value]) => [t.factNames[key] ?? line(key.replaceAll("_", " "), 60), key === "started_ms" ? moment(Number(value)) : written(value)]);
const isEmpty = (value: unknown): boolean => value === false || (typeof value === "object" && value !== null && !Object.keys(value).length);
// What is fine is said of the store alone, and not of each of a hundred queues.
const worth = (fact: FactRow): boolean => fact.level !== "ok" || fact.queue === null;

function Pick({ label, of, options }: { label: string; of: Signal<string>; options: [string, string][] }) {
  return <Choice label={label} value={of.value} options={options} pick={(next) => (of.value = next)} />;
}

export function SettingsPage() {
  const store = useResource<StoreAnswer>("store");
  const about = me.value;
  return (
    <div class="stack">
      <h1 class="sr">{t.pageNames.settings}</h1>
      <div class="charts two">
        <Card title={t.thisBrowser}>
          <Facts of={[
            [t.theme, <Pick label={t.theme} of={theme} options={[["system", t.themes.system], ["light", t.themes.light], ["dark", t.themes.dark]]} />],
            [t.language, <Choice label={t.language} value={lang} options={Object.entries(LANGUAGES)} pick={(next) => { language.value = next; location.reload(); }} />],
            [t.zone, <Pick label={t.zone} of={zone} options={[["local", t.zones.local], ["utc", "UTC"], ...(about && about.zone !== "UTC" ? [["server", `${t.zones.server} (${line(about.zone, 30)})`] as [string, string]] : [])]} />],
            [t.rows, <Pick label={t.rows} of={density} options={[["normal", t.rowsNormal], ["compact", t.rowsCompact]]} />],
            [t.singleKeys, <Pick label={t.singleKeys} of={singleKeys} options={[["on", t.switchedOn], ["off", t.switchedOff]]} />],
          ]} />
        </Card>
        <Card title={t.access}>
          {about && <Facts of={[
            [t.user, line(about.user, 80)], [t.permissions, about.permissions.map((each) => t.permissionNames[each] ?? each).join(", ")],
            [t.pageNames.queues!, about.queues ? about.queues.map((name) => line(name, 60)).join(", ") : t.all],
            [t.mode, about.read_only ? t.readOnlyShort : t.mayChange], [t.version, `toril ${line(about.version, 40)}`],
          ]} />}
        </Card>
      </div>
      <Load of={store}>{(found) => (
        <div class="charts two">
          <Card title={t.store} note={line(found.address, 100)}>
            <Facts of={[[t.kind, line(found.kind, 40)], [t.version, found.version ? line(found.version, 40) : "–"], ...found.facts.filter(worth).map((fact): [string, preact.ComponentChildren] => [
              [line(fact.key, 60), fact.queue && line(fact.queue, 60)].filter(Boolean).join(" · "),
              <span><span class={fact.level === "error" ? "bad" : fact.level === "warn" ? "warn" : ""}>{line(fact.value, 200)}</span>{fact.hint && <span class="small soft block">{line(fact.hint, 300)}</span>}</span>,
            ])]} />
          </Card>
          <Card title={t.redaction} note={t.redactionNote}><Facts of={rows(found.redaction)} /></Card>
          <Card title={t.retention}><Facts of={rows(found.retention)} /></Card>
          <Card title={t.serverProcess}><Facts of={[...rows(found.process), ...(overview.value ? [[t.sample, duration(overview.value.took_ms)], [t.interval, duration(overview.value.interval_s * 1000)]] as [string, string][] : [])]} /></Card>
        </div>
      )}</Load>
    </div>
  );
}

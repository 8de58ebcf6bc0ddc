// The frame of every page: rail, search, range, live mark, notices; and which page an address shows.
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { signal } from "@preact/signals";
import { t } from "./i18n";
import { me } from "./lib/api";
import { commands, helpOpen, PAGES, pageTo } from "./lib/commands";
import { duration, number, RANGES } from "./lib/format";
import { age, fault, frozen, health, overview } from "./lib/live";
import { place, query, set } from "./lib/route";
import { nextTheme } from "./lib/settings";
import { line } from "./lib/text";
import { Choice } from "./parts/card";
import { Dialogs, ask } from "./parts/dialog";
import { Empty } from "./parts/empty";
import { Icon, type IconName, Logo } from "./parts/icons";
import { Search } from "./parts/search";
import { say, Toasts } from "./parts/toast";
import { pages } from "./pages";

const railOpen = signal(false);

export const range = () => ((RANGES as readonly string[]).includes(query.value.range ?? "") ? query.value.range! : "1h");

function Rail() {
  const now = overview.value;
  const counts: Record<string, number | null | undefined> = {
    queues: now?.queues.length, errors: now?.errors, flows: now?.flows, schedules: now?.schedules, workers: now?.workers.alive, tasks: now?.tasks,
  };
  const here = place.value.path;
  const owner: Record<string, string> = { queue: "queues", job: "jobs", add: "jobs", error: "errors", flow: "flows", task: "tasks", schedule: "schedules" };
  return (
    <nav class={railOpen.value ? "rail open" : "rail"} aria-label={t.navigation}>
      <a class="brand" href={pageTo("")}><Logo /><span>{line(me.value?.title || "toril", 24)}</span></a>
      <ul id="pages">
        {PAGES.filter(([path]) => path in pages).map(([path, name, key]) => (
          <li key={path} class={name === "operations" ? "ruled" : ""}>
            <a href={pageTo(path)} title={`g ${key}`} aria-current={(owner[here] ?? here) === path ? "page" : undefined} onClick={() => (railOpen.value = false)}>
              <Icon name={name as IconName} /><span class="grow">{t.pageNames[name]}</span>
              {counts[name] ? <span class={name === "errors" ? "count bad strong" : "count"}>{number(counts[name])}</span> : null}
            </a>
          </li>
        ))}
      </ul>
      <button type="button" class="rail-foot" onClick={() => (helpOpen.value = true)}><span class="grow">{t.shortcuts}</span><kbd>?</kbd></button>
    </nav>
  );
}

function Live() {
  const state = health.value;
  const text = state === "live" ? t.live : state === "frozen" ? t.frozen : state === "waiting" ? t.connecting : t.dataAge(duration(age.value ?? 0));
  return (
    <button type="button" class={`live ${state}`} aria-pressed={frozen.value} title={t.freeze} onClick={() => (frozen.value = !frozen.value)}>
      <i aria-hidden="true" /><span class="live-text">{text}</span>
    </button>
  );
}

function Top() {
  const badge = me.value?.environment;
  return (
    <header class="top">
      <button type="button" class="button plain burger" aria-label={t.navigation} aria-expanded={railOpen.value} aria-controls="pages" onClick={() => (railOpen.value = !railOpen.value)}><Icon name="menu" /></button>
      <Search />
      <span class="grow" />
      {badge && <span class="badge">{line(badge, 24)}</span>}
      <Choice label={t.range} value={range()} options={RANGES.map((each) => [each, each])} pick={(next) => set({ range: next === "1h" ? null : next })} />
      <button type="button" class="button plain" aria-label={t.themeToggle} title={`${t.themeToggle} (t)`} onClick={nextTheme}><Icon name="theme" /></button>
      <Live />
    </header>
  );
}

function Notices() {
  const about = me.value;
  return (
    <>
      {about?.read_only && <p class="notice small">{t.readOnly} {about.read_only_reason && line(about.read_only_reason, 300)}</p>}
      {fault.value && <p class="notice error small" role="alert">{t.storeAway} {line(fault.value, 300)} {age.value !== null && t.dataAge(duration(age.value))}</p>}
    </>
  );
}

function Help() {
  const rows: [string, string][] = [
    ["/", t.search], ["⌘K", t.commands], ["j k", t.keyRows], ["⏎", t.keyOpen], ["x", t.keySelect], ["r", t.actions.retry!], ["c", t.actions.cancel!],
    ["p", t.actions.pause!], ["e", t.editAndRun], ["n", t.addJob], ["1 … 5", t.range], ["Esc", t.close], ...commands().map(({ text, key }): [string, string] => [key, text]),
  ];
  return <dl class="keys">{rows.map(([key, text]) => <div key={key}><dt><kbd>{key}</kbd></dt><dd>{text}</dd></div>)}</dl>;
}

export function App() {
  const { path } = place.value;
  const [shown, setShown] = useState<{ path: string; Page: ComponentType } | null>(null);
  useEffect(() => {
    pages[path]?.().then((Page) => setShown({ path, Page }), (error: unknown) => say(String(error), { bad: true }));
  }, [path]);
  const Page = shown?.path === path ? shown.Page : null;
  useEffect(() => {
    if (!helpOpen.value) return;
    ask(t.shortcuts, () => <Help />, true);
    helpOpen.value = false;
  }, [helpOpen.value]);
  useEffect(() => {
    const name = t.pageNames[path === "" ? "overview" : path] ?? t.pageNames[`${path}s`] ?? "";
    const subject = query.value.name ?? query.value.id;
    document.title = [subject && line(subject, 60), name, me.value?.title ?? "toril"].filter(Boolean).join(" · ");
  }, [place.value, me.value]);
  return (
    <div class="shell">
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")?.focus(); }}>{t.skip}</a>
      <Rail />
      <div class="frame">
        <Top />
        <main id="main" tabIndex={-1}>
          <Notices />
          {Page && <Page key={`${path}|${query.value.name ?? ""}|${query.value.queue ?? ""}|${query.value.id ?? ""}`} />}
          {!(path in pages) && <Empty title={t.noSuchPage} heading><a class="link" href={pageTo("")}>{t.pageNames.overview}</a></Empty>}
        </main>
      </div>
      <Dialogs />
      <Toasts />
    </div>
  );
}

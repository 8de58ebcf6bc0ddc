// What the palette (⌘K, or ">" in the search box) and the keys can do.
import { effect, signal } from "@preact/signals";
import { t } from "../i18n";
import { asTable } from "../parts/timechart";
import { copy } from "../parts/copy";
import { RANGES } from "./format";
import { frozen } from "./live";
import { go, query, set, to } from "./route";
import { nextTheme, singleKeys } from "./settings";

export interface Command { text: string; key: string; run: () => void }

export const PAGES: [string, string, string][] = [
  ["", "overview", "o"], ["queues", "queues", "q"], ["jobs", "jobs", "j"], ["errors", "errors", "e"], ["flows", "flows", "f"],
  ["schedules", "schedules", "s"], ["workers", "workers", "w"], ["tasks", "tasks", "t"], ["operations", "operations", "p"],
  ["audit", "audit", "a"], ["settings", "settings", "c"],
];

export const helpOpen = signal(false);
export const pageTo = (path: string): string => to(path, { range: query.value.range });

export function commands(): Command[] {
  return [
    ...PAGES.map(([path, name, key]) => ({ text: t.pageNames[name]!, key: `g ${key}`, run: () => go(pageTo(path)) })),
    { text: t.themeToggle, key: "t", run: nextTheme },
    { text: t.freeze, key: "Space", run: () => void (frozen.value = !frozen.value) },
    { text: t.copyLink, key: "y", run: () => void copy(location.href) },
    { text: t.chartsAsTables, key: "d", run: () => void (asTable.value = !asTable.value) },
    { text: t.shortcuts, key: "?", run: () => void (helpOpen.value = true) },
  ];
}

const typing = (target: EventTarget | null): boolean => target instanceof Element && target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
const controls = (target: EventTarget | null): boolean => target instanceof Element && target.closest("button, a, summary, [role=button], input") !== null;

/** Move the focus to the next or previous row of the page's table. */
function step(by: number): void {
  const rows = [...document.querySelectorAll<HTMLElement>("main tbody tr")].filter((row) => row.querySelector("a"));
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
  next?.querySelector<HTMLElement>("a")?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

function row(select: string): HTMLElement | null {
  return document.activeElement?.closest("tr")?.querySelector<HTMLElement>(select) ?? null;
}

const press = (key: string): boolean => {
  const button = document.querySelector<HTMLElement>(`.panel [data-key="${key}"], .page-actions [data-key="${key}"], main [data-key="${key}"]`);
  button?.click();
  return button !== null;
};

/** Handle a single key; return whether it meant something. */
function single(event: KeyboardEvent): boolean {
  const { key } = event;
  if (key === "j" || key === "k") return step(key === "j" ? 1 : -1), true;
  if (key === "x" || key === "X") {
    const box = row("input[type=checkbox]");
    box?.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, shiftKey: key === "X" }));
    return box !== null;
  }
  if (key >= "1" && key <= "5") return set({ range: RANGES[Number(key) - 1]! }), true;
  if (["r", "c", "p", "e", "n"].includes(key)) return press(key);
  const found = commands().find((each) => each.key === (key === " " ? "Space" : key));
  found?.run();
  return found !== undefined;
}

export function listen(search: () => HTMLInputElement | null, escape: () => void): void {
  let afterG = 0;
  const focus = (text: string) => {
    const input = search();
    input?.focus();
    if (input && text) {
      input.value = text;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }
  };
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      return focus(">");
    }
    if (event.metaKey || event.ctrlKey || event.altKey || typing(event.target)) return;
    if (event.key === "Escape") return escape();
    if (singleKeys.value === "off") return;
    if ((event.key === " " || event.key === "Enter") && controls(event.target)) return;
    if (event.key === "/") {
      event.preventDefault();
      return focus("");
    }
    if (Date.now() - afterG < 1_500) {
      afterG = 0;
      const page = PAGES.find(([, , key]) => key === event.key);
      if (page) {
        event.preventDefault();
        return go(pageTo(page[0]));
      }
    }
    if (event.key === "g") afterG = Date.now();
    else if (single(event)) event.preventDefault();
  });
}

effect(() => void document.documentElement.classList.toggle("frozen", frozen.value));

// What the reader chose, kept in this browser.
import { signal, type Signal } from "@preact/signals";

function kept(name: string, initial: string): Signal<string> {
  let found: string | null = null;
  try {
    found = localStorage.getItem(`toril.${name}`);
  } catch {
    // Storage may be blocked: the choice then lasts as long as the page.
  }
  const value = signal(found ?? initial);
  value.subscribe((now) => {
    try {
      if (now === initial) localStorage.removeItem(`toril.${name}`);
      else localStorage.setItem(`toril.${name}`, now);
    } catch {
      // As above.
    }
  });
  return value;
}

export const theme = kept("theme", "system");
export const zone = kept("zone", "local");
export const singleKeys = kept("keys", "on");
export const density = kept("rows", "normal");
export const language = kept("language", "");
export const savedViews = kept("views", "[]");

theme.subscribe((now) => {
  if (now === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = now;
});
density.subscribe((now) => (document.documentElement.dataset.rows = now));

export function nextTheme(): void {
  const dark = theme.value === "dark" || (theme.value === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  theme.value = dark ? "light" : "dark";
}

// The address is the state of a page: path and query, relative to where the dashboard is mounted.
import { computed, signal } from "@preact/signals";

const base = new URL(document.baseURI).pathname.replace(/[^/]*$/, "");

export interface Place { path: string; query: Record<string, string> }

function read(): Place {
  const path = location.pathname.startsWith(base) ? location.pathname.slice(base.length) : "";
  return { path: path.replace(/\/+$/, ""), query: Object.fromEntries(new URLSearchParams(location.search)) };
}

export const place = signal<Place>(read());
export const query = computed(() => place.value.query);

/** Return the address of a page; empty values are left out. */
export function to(path: string, values: Record<string, string | number | null | undefined> = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) if (value !== null && value !== undefined && value !== "") search.set(key, String(value));
  const text = search.toString();
  return `${base}${path}${text ? `?${text}` : ""}`;
}

export const toJob = (job: { queue: string; id: string }) => to("job", { queue: job.queue, id: job.id });
export const toQueue = (name: string) => to("queue", { name });
export const toJobs = (q: string) => to("jobs", { q });

export function go(href: string, replace = false): void {
  if (replace) history.replaceState(null, "", href);
  else history.pushState(null, "", href);
  const before = place.peek().path;
  place.value = read();
  if (place.peek().path !== before) {
    scrollTo(0, 0);
    document.getElementById("main")?.focus({ preventScroll: true });
  }
}

/** Change some values of the query; null removes one. */
export function set(values: Record<string, string | null>, replace = true): void {
  const { path, query } = place.peek();
  go(to(path, { ...query, ...values }), replace);
}

export function follow(): void {
  addEventListener("popstate", () => (place.value = read()));
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (!link.pathname.startsWith(base) || link.pathname.startsWith(`${base}api/`)) return;
    event.preventDefault();
    go(link.href);
  });
}

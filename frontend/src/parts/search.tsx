// The search box of the top bar: ids, the search language with completion, pages and commands.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { get } from "../lib/api";
import { commands } from "../lib/commands";
import { mayBeId, quote } from "../lib/query";
import { go, place, query, to, toJob, toJobs, toQueue } from "../lib/route";
import { line } from "../lib/text";
import type { JobsAnswer, SuggestAnswer } from "../lib/types";

interface Offer { text: string; kind: string; pick: () => void }

export const box = signal<HTMLInputElement | null>(null);
const KEYS = ["state", "queue", "task", "worker", "error", "tag", "since", "run", "wait", "text"];

export function Search() {
  const input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState("");
  const [known, setKnown] = useState<SuggestAnswer | null>(null);
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(-1);
  const here = place.value.path === "jobs" ? query.value.q ?? "" : "";
  useEffect(() => setText(here), [here, place.value.path]);
  useEffect(() => void (box.value = input.current), []);
  useEffect(() => {
    if (!open) return;
    const abort = new AbortController();
    const wait = setTimeout(() => get<SuggestAnswer>("suggest", { q: text }, abort.signal).then(setKnown, () => undefined), 120);
    return () => {
      clearTimeout(wait);
      abort.abort();
    };
  }, [open, text]);

  const leave = () => {
    setOpen(false);
    setAt(-1);
    input.current?.blur();
  };
  const search = async () => {
    const wanted = text.trim();
    leave();
    if (!wanted) return go(to("jobs"));
    if (mayBeId(wanted)) {
      const found = await get<JobsAnswer>("jobs", { q: wanted, limit: 2 }).catch(() => null);
      const only = found?.items[0];
      if (only && found.items.length === 1 && found.plan.by === "id") return go(toJob(only));
    }
    go(toJobs(wanted));
  };
  const offers = open ? offered(text, known, setText, leave) : [];
  const press = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (offers.length) setAt((at + (event.key === "ArrowDown" ? 1 : offers.length) + (at < 0 && event.key === "ArrowUp" ? 0 : 0)) % offers.length);
    } else if (event.key === "Escape") {
      leave();
    } else if (event.key === "Enter") {
      event.preventDefault();
      const offer = offers[at];
      setAt(-1);
      if (offer) offer.pick();
      else if (text.startsWith(">") && offers[0]) offers[0].pick();
      else void search();
    }
  };
  return (
    <form class="search" role="search" onSubmit={(event) => event.preventDefault()}>
      <input ref={input} class="search-input" type="text" role="combobox" aria-label={t.search} aria-expanded={offers.length > 0} aria-controls="offers" aria-autocomplete="list" aria-activedescendant={at >= 0 ? `offer-${at}` : undefined}
        placeholder={t.searchHint} value={text} spellcheck={false} autoComplete="off" autoCapitalize="off"
        onFocus={() => setOpen(true)} onBlur={() => setOpen(false)} onInput={(event) => { setText(event.currentTarget.value); setOpen(true); setAt(-1); }} onKeyDown={press} />
      <kbd aria-hidden="true">/</kbd>
      <ul id="offers" class="offers" role="listbox" aria-label={t.suggestions} hidden={!offers.length}>
        {offers.map((offer, index) => (
          <li key={offer.kind + offer.text} id={`offer-${index}`} role="option" aria-selected={index === at} onMouseDown={(event) => { event.preventDefault(); offer.pick(); }}>
            <span class="grow cut">{line(offer.text, 80)}</span><span class="small dim">{offer.kind}</span>
          </li>
        ))}
      </ul>
    </form>
  );
}

function offered(text: string, known: SuggestAnswer | null, write: (text: string) => void, leave: () => void): Offer[] {
  const word = /\S*$/.exec(text)?.[0] ?? "";
  const low = word.toLowerCase();
  if (text.startsWith(">")) {
    const wanted = text.slice(1).trim().toLowerCase();
    return commands().filter((each) => each.text.toLowerCase().includes(wanted)).slice(0, 14)
      .map((each) => ({ text: each.text, kind: each.key, pick: () => { leave(); write(""); each.run(); } }));
  }
  const put = (value: string) => write(`${text.slice(0, text.length - word.length)}${value}`);
  const [, key = "", part = ""] = /^(\w+):"?(.*)$/.exec(low) ?? [];
  if (key) {
    const values = { state: known?.states, queue: known?.queues, task: known?.tasks, worker: known?.workers }[key] ?? [];
    return values.filter((value) => value.toLowerCase().startsWith(part) && value.toLowerCase() !== part).slice(0, 8)
      .map((value) => ({ text: `${key}:${quote(value)}`, kind: "", pick: () => put(`${key}:${quote(value)} `) }));
  }
  const terms = [...KEYS, ...(known?.fields ?? [])].filter((each) => each.startsWith(low)).slice(0, low ? 5 : 12);
  const match = (value: string) => low !== "" && value.toLowerCase().includes(low);
  return [
    ...(known?.queues ?? []).filter(match).slice(0, 4).map((name) => ({ text: name, kind: t.queue, pick: () => { leave(); write(""); go(toQueue(name)); } })),
    ...(known?.tasks ?? []).filter(match).slice(0, 4).map((name) => ({ text: name, kind: t.task, pick: () => { leave(); write(""); go(to("task", { name })); } })),
    ...terms.map((each) => ({ text: `${each}:`, kind: t.filter, pick: () => put(`${each}:`) })),
  ];
}

// Short messages at the bottom, with Undo where an action can be undone.
import { signal } from "@preact/signals";
import { t } from "../i18n";
import { Icon } from "./icons";

interface Message { id: number; text: string; bad: boolean; undo: (() => void) | null }

const messages = signal<Message[]>([]);
let last = 0;
const SHOWN_MS = 6_000;

export function say(text: string, { bad = false, undo = null }: { bad?: boolean; undo?: (() => void) | null } = {}): void {
  const id = (last += 1);
  messages.value = [...messages.value.slice(-2), { id, text, bad, undo }];
  setTimeout(() => drop(id), bad ? SHOWN_MS * 2 : SHOWN_MS);
}

const drop = (id: number) => void (messages.value = messages.value.filter((message) => message.id !== id));

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {messages.value.map(({ id, text, bad, undo }) => (
        <div key={id} class={bad ? "toast bad-toast" : "toast"}>
          <span class="grow">{text}</span>
          {undo && <button type="button" class="button" data-key="undo" onClick={() => { drop(id); undo(); }}>{t.undo}</button>}
          <button type="button" class="button plain" aria-label={t.close} onClick={() => drop(id)}><Icon name="close" /></button>
        </div>
      ))}
    </div>
  );
}

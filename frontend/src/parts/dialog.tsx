// One dialog at a time, opened by `ask`; the browser's <dialog> keeps the focus inside.
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import { Icon } from "./icons";

interface Open { title: string; body: () => ComponentChildren; wide: boolean }

const open = signal<Open | null>(null);

export function ask(title: string, body: () => ComponentChildren, wide = false): void {
  open.value = { title, body, wide };
}

export const dismiss = (): void => void (open.value = null);

function Body({ of }: { of: Open }) {
  return <>{of.body()}</>;
}

export function Dialogs() {
  const box = useRef<HTMLDialogElement>(null);
  const shown = open.value;
  useEffect(() => {
    if (shown) box.current?.showModal();
  }, [shown]);
  if (!shown) return null;
  return (
    <dialog ref={box} class={shown.wide ? "dialog wide-dialog" : "dialog"} aria-labelledby="dialog-title" onClose={dismiss}
      onKeyDown={(event) => {
        if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) box.current?.querySelector<HTMLButtonElement>(".primary:not([disabled])")?.click();
      }}
      onClick={(event) => event.target === box.current && dismiss()}>
      <div class="dialog-body">
        <header class="row">
          <h2 id="dialog-title" class="grow">{shown.title}</h2>
          <button type="button" class="button plain" aria-label={t.close} onClick={dismiss}><Icon name="close" /></button>
        </header>
        <Body of={shown} />
      </div>
    </dialog>
  );
}

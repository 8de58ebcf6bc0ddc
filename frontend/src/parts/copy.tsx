// Copying works without the clipboard API too, which plain HTTP does not have.
import { t } from "../i18n";
import { say } from "./toast";

export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "sr";
    const home = document.querySelector("dialog[open]") ?? document.body;
    const focused = document.activeElement;
    home.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (focused instanceof HTMLElement) focused.focus();
    if (!done) return say(t.copyFailed);
  }
  say(t.copied);
}

export function Copy({ text, label = t.copy }: { text: string; label?: string }) {
  return <button type="button" class="button" onClick={() => void copy(text)}>{label}</button>;
}

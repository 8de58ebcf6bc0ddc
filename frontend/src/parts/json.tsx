// JSON text as it is (so numbers keep all digits), with a grey box for each hidden value.
import { useState } from "preact/hooks";
import { t } from "../i18n";
import { bytes } from "../lib/format";
import { block } from "../lib/text";

// What the server left out: {"$hidden": kind, "length": …} and {"$cut": kind, "size": …, "head": …}.
const MARKED = /\{\s*"\$(hidden|cut)":\s*"(\w+)"((?:,\s*"\w+":\s*(?:"(?:[^"\\]|\\.)*"|\d+|null))*)\s*\}/g;
const part = (of: string, name: string): string => new RegExp(`"${name}":\\s*("(?:[^"\\\\]|\\\\.)*"|\\d+)`).exec(of)?.[1] ?? "";

export function Json({ text, label }: { text: string; label: string }) {
  const [whole, setWhole] = useState(false);
  const cut = !whole && text.length > 6_000;
  const shown = block(cut ? text.slice(0, 6_000) : text, 400_000);
  const parts = [];
  let from = 0;
  for (const found of shown.matchAll(MARKED)) {
    const [, mark, kind = "", rest = ""] = found;
    parts.push(shown.slice(from, found.index));
    if (mark === "hidden") parts.push(<span class="hidden-value" title={[kind, part(rest, "length").replaceAll('"', "")].filter(Boolean).join(", ")}>{t.hiddenValue}</span>);
    else parts.push(part(rest, "head").replace(/"$/, ""), <span class="hidden-value">{kind === "text" ? t.cutText(bytes(Number(part(rest, "size")))) : t.cutMore(Number(part(rest, "size")))}</span>);
    from = found.index + found[0].length;
  }
  parts.push(shown.slice(from));
  return (
    <>
      <pre class="code" tabIndex={0} role="region" aria-label={label}>{parts}{cut && "…"}</pre>
      {cut && <button type="button" class="button" onClick={() => setWhole(true)}>{t.showAll}</button>}
    </>
  );
}

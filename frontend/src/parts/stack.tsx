// A traceback: the error first, then the frames; frames of libraries are folded.
import { useState } from "preact/hooks";
import { t } from "../i18n";
import { block } from "../lib/text";
import { frames } from "../lib/traceback";

export function Stack({ text }: { text: string }) {
  const [all, setAll] = useState(false);
  const found = frames(block(text));
  const inner = found.frames.findLastIndex((frame) => !frame.foreign);
  let hidden = 0;
  const rows = [];
  for (const [at, frame] of found.frames.entries()) {
    if (frame.foreign && !all) {
      hidden += 1;
      continue;
    }
    rows.push(
      <div key={at}>
        <div class={frame.foreign ? "dim" : ""}>{"  "}{frame.where}</div>
        {frame.code && <div class={at === inner ? "hit" : "soft"}>{"    "}{frame.line} │ {frame.code}</div>}
      </div>,
    );
  }
  return (
    <div class="code" tabIndex={0} role="region" aria-label={t.traceback}>
      {found.error.map((text, at) => (
        <div key={at}>{at === 0 ? <><span class="bad strong">{found.type}</span>{text}</> : text}</div>
      ))}
      {rows}
      {hidden > 0 && <button type="button" class="fold dim" onClick={() => setAll(true)}>{"  "}{t.framesHidden(hidden)}</button>}
      {found.rest.length > 0 && <div class="soft">{found.rest.join("\n")}</div>}
    </div>
  );
}

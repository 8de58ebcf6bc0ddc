// The dialog with a queue's limits: concurrency and starts per time.
import { useState } from "preact/hooks";
import { t } from "../i18n";
import { line } from "../lib/text";
import type { QueueDetail } from "../lib/types";
import { run } from "../parts/actions";
import { ask, dismiss } from "../parts/dialog";

export function setLimits(of: QueueDetail): void {
  ask(t.limitsOf(line(of.name, 60)), () => <Limits of={of} />);
}

function Limits({ of }: { of: QueueDetail }) {
  const [concurrency, setConcurrency] = useState(of.concurrency ? String(of.concurrency) : "");
  const [starts, setStarts] = useState(of.rate_max ? String(of.rate_max) : "");
  const [window, setWindow] = useState(of.rate_ms ? String(of.rate_ms / 1000) : "1");
  const save = async (event: Event) => {
    event.preventDefault();
    const rate = starts ? `${starts}/${Math.round(Number(window) * 1000)}ms` : null;
    const params = { concurrency: concurrency ? Number(concurrency) : null, rate };
    if (await run({ action: "limits", target: { queue: of.name }, params })) dismiss();
  };
  return (
    <form class="stack" onSubmit={(event) => void save(event)}>
      <label class="field"><span>{t.concurrency}</span><input class="input" type="number" min="1" value={concurrency} placeholder={t.noLimit} onInput={(event) => setConcurrency(event.currentTarget.value)} /></label>
      <label class="field"><span>{t.starts}</span><input class="input" type="number" min="1" value={starts} placeholder={t.noLimit} onInput={(event) => setStarts(event.currentTarget.value)} /></label>
      <label class="field"><span>{t.perSeconds}</span><input class="input" type="number" min="0.001" step="any" value={window} onInput={(event) => setWindow(event.currentTarget.value)} /></label>
      <div class="row end"><button type="button" class="button" onClick={dismiss}>{t.close}</button><button class="button primary">{t.save}</button></div>
    </form>
  );
}

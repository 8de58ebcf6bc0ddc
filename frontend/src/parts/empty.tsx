// What a page shows in place of data: nothing there, still loading, an error, a store that is away.
import type { ComponentChildren } from "preact";
import { t } from "../i18n";
import type { ApiError, Resource } from "../lib/api";
import { duration } from "../lib/format";
import { second } from "../lib/live";
import { safe } from "../lib/text";

export function Empty({ title, heading = false, children }: { title: string; heading?: boolean; children?: ComponentChildren }) {
  return (
    <div class="empty">
      {heading ? <h1>{title}</h1> : <p class="strong">{title}</p>}
      {children}
    </div>
  );
}

export function Loading({ lines = 6 }: { lines?: number }) {
  return (
    <div class="loading" role="status">
      <span class="sr">{t.loading}</span>
      {Array.from({ length: lines }, (_, at) => <span key={at} class="bone" style={{ width: `${92 - ((at * 37) % 50)}%` }} />)}
    </div>
  );
}

export function Fault({ error, at, retry }: { error: ApiError; at: number; retry: () => void }) {
  const title = error.status === 0 ? t.serverAway : error.status === 503 ? t.storeAway : error.status === 404 ? t.notFound : error.status === 403 ? t.notAllowed : t.requestFailed;
  return (
    <div class="notice error" role="alert">
      <div class="grow">
        <p class="strong">{title}</p>
        <p class="small">{safe(error.message)}</p>
        {error.hint && <p class="small soft">{safe(error.hint)}</p>}
        {at > 0 && <p class="small soft">{t.dataAge(duration(second.value - at))}</p>}
      </div>
      <button type="button" class="button" onClick={retry}>{t.tryAgain}</button>
    </div>
  );
}

/** Show a resource: the data with a notice above if the last request failed, else bones or the error. */
export function Load<T>({ of, lines, children }: { of: Resource<T>; lines?: number; children: (data: T) => ComponentChildren }) {
  return (
    <>
      {of.error && <Fault error={of.error} at={of.data === null ? 0 : of.at} retry={of.reload} />}
      {of.data !== null ? children(of.data) : !of.error && <Loading lines={lines ?? 6} />}
    </>
  );
}

// Requests to the server, and `useResource`: data that is fetched, kept and refreshed for a page.
import { useSignal, useSignalEffect, type ReadonlySignal, signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { ActRequest } from "./model";
import type { ActAnswer, MeAnswer } from "./types";

export class ApiError extends Error {
  constructor(readonly status: number, readonly kind: string, message: string, readonly hint: string | null = null, readonly field: string | null = null) {
    super(message);
  }
}

export type Params = Record<string, string | number | boolean | null | undefined>;

export function address(path: string, params: Params = {}): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) if (value !== null && value !== undefined && value !== "") query.set(key, String(value));
  const text = query.toString();
  return `api/v1/${path}${text ? `?${text}` : ""}`;
}

async function answer(response: Response): Promise<unknown> {
  const body: unknown = await response.json().catch(() => null);
  if (response.ok) return body;
  const { error = "http", message = response.statusText, hint = null, field = null } = (body ?? {}) as Record<string, string>;
  throw new ApiError(response.status, error, message, hint, field);
}

export async function get<T>(path: string, params: Params = {}, abort?: AbortSignal): Promise<T> {
  const request = fetch(address(path, params), { headers: { Accept: "application/json" }, ...(abort ? { signal: abort } : {}) });
  return (await answer(await request.catch(unreachable))) as T;
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  const headers = { "Content-Type": "application/json", "X-Toril": "1" };
  return (await answer(await fetch(address(path), { method: "POST", headers, body: JSON.stringify(body) }).catch(unreachable))) as T;
}

function unreachable(error: unknown): never {
  if (error instanceof DOMException && error.name === "AbortError") throw error;
  throw new ApiError(0, "server", String(error));
}

export const preview = (request: ActRequest) => post<ActAnswer>("act", { ...request, dry_run: true });
export const act = (request: ActRequest) => post<ActAnswer>("act", request);

export const me = signal<MeAnswer | null>(null);
export const can = (permission: string): boolean => me.value?.permissions.includes(permission) ?? false;

/** Pages that show live data look at this: it goes up whenever they should fetch again. */
export const tick = signal(0);

/** `current`: the data is of the address that is asked for now, and not of the one before. */
export interface Resource<T> {
  data: T | null; error: ApiError | null; loading: boolean; at: number; current: boolean; reload: () => void;
}

/** Fetch `path` and keep its last good answer; `live` fetches again with every tick. */
export function useResource<T>(path: string | null, params: Params = {}, live = false): Resource<T> {
  const key = path === null ? null : address(path, params);
  const data = useSignal<T | null>(null);
  const error = useSignal<ApiError | null>(null);
  const loading = useSignal(true);
  const at = useSignal(0);
  const shown = useSignal<string | null>(null);
  const load = useMemo(() => {
    let busy: AbortController | null = null;
    return (again: boolean) => {
      if (key === null) return;
      if (again && busy) return;
      busy?.abort();
      const mine = (busy = new AbortController());
      loading.value = true;
      get<T>(key.replace("api/v1/", ""), {}, mine.signal)
        .then((found) => {
          data.value = found;
          error.value = null;
          at.value = Date.now();
          shown.value = key;
        })
        .catch((fault: unknown) => {
          if (mine.signal.aborted) return;
          error.value = fault instanceof ApiError ? fault : new ApiError(0, "server", String(fault));
        })
        .finally(() => {
          if (busy === mine) {
            busy = null;
            loading.value = false;
          }
        });
    };
  }, [key]);
  useEffect(() => {
    if (shown.peek() !== null && shown.peek()?.split("?")[0] !== key?.split("?")[0]) data.value = null;
    load(false);
  }, [key]);
  useSignalEffect(() => {
    if (tick.value > 0 && live) load(true);
  });
  return { data: data.value, error: error.value, loading: loading.value, at: at.value, current: shown.value === key, reload: () => load(false) };
}

export type { ReadonlySignal };

// The search language in the browser: read a query into chips, and write chips as a query.

export interface Chip { key: string; value: string; raw: string }

const TOKEN = /(?:([A-Za-z_][\w.]*):)?("(?:[^"\\]|\\.)*"?|\S+)/g;

export function chips(text: string): Chip[] {
  return [...text.matchAll(TOKEN)].map(([raw, key = "", value = ""]) => ({ key, value: unquote(value), raw }));
}

function unquote(value: string): string {
  if (!value.startsWith('"')) return value;
  const inner = value.endsWith('"') && value.length > 1 ? value.slice(1, -1) : value.slice(1);
  return inner.replace(/\\(.)/g, "$1");
}

/** Write a value so that it is read back whole: quoted if it has blanks or quotes. */
export const quote = (value: string): string => (/^[^\s"\\]+$/.test(value) ? value : `"${value.replace(/(["\\])/g, "\\$1")}"`);

export const term = (key: string, value: string): string => `${key}:${quote(value)}`;

export const join = (...terms: string[]): string => terms.filter(Boolean).join(" ");

/** Return the query with its terms of this key replaced; an empty value removes them. */
export function replaced(text: string, key: string, value: string): string {
  const others = chips(text).filter((chip) => chip.key !== key).map((chip) => chip.raw);
  return join(...others, value && term(key, value));
}

export const without = (text: string, index: number): string =>
  chips(text).filter((_, at) => at !== index).map((chip) => chip.raw).join(" ");

export const valueOf = (text: string, key: string): string => chips(text).find((chip) => chip.key === key)?.value ?? "";

/** Whether this can only be an id: one word without a key, with a digit in it. */
export const mayBeId = (text: string): boolean => /^[^\s:"]*\d[^\s:"]*$/.test(text.trim());

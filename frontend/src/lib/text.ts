// Texts of others (names, ids, errors, logs): cut, and with what is invisible or reorders made visible.

// Control characters but tab and line feed; marks that change the direction; zero-width and line separators.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

function visible(found: string): string {
  return `\u2039${found.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u203a`;
}

export const safe = (text: string): string => text.replace(HIDDEN, visible);

/** Return the text on one line and at most `most` characters long, for a cell of a table. */
export function line(text: string, most = 200): string {
  const cut = text.length > most ? `${text.slice(0, most)}…` : text;
  return safe(cut.replace(/[\n\t]+/g, " "));
}

/** Return the text with its line breaks, cut at `most` characters. */
export function block(text: string, most = 20_000): string {
  return safe(text.length > most ? `${text.slice(0, most)}…` : text);
}

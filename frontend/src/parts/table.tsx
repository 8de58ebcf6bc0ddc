// A table of rows of 32 px: real table elements, a link in each row, selection, pages by cursor.
import type { ComponentChildren } from "preact";
import { t } from "../i18n";

export interface Column<T> {
  key: string; title: string; cell: (row: T) => ComponentChildren;
  /** num: right-aligned. wide: takes what is left. narrow screens show columns with `keep` only. */
  num?: boolean; wide?: boolean; keep?: boolean; sort?: string;
}

interface Props<T> {
  caption: string; columns: Column<T>[]; rows: T[]; id: (row: T) => string;
  selected?: ReadonlySet<string>; select?: (id: string, on: boolean, range: boolean) => void;
  current?: string | null; gone?: ReadonlySet<string>;
  sorted?: string; sortBy?: (key: string) => void;
}

export function Table<T>({ caption, columns, rows, id, selected, select, current, gone, sorted, sortBy }: Props<T>) {
  return (
    <div class="table-box" tabIndex={-1}>
      <table class="table">
        <caption class="sr">{caption}</caption>
        <thead>
          <tr>
            {select && <th class="check"><span class="sr">{t.select}</span></th>}
            {columns.map((column) => (
              <th key={column.key} scope="col" class={cls(column)} aria-sort={column.sort && column.sort === sorted ? "descending" : undefined}>
                {column.sort && sortBy ? (
                  <button type="button" class="sort" onClick={() => sortBy(column.sort!)}>{column.title}{column.sort === sorted ? " ↓" : ""}</button>
                ) : column.title || <span class="sr">{column.key}</span>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const key = id(row);
            return (
              <tr key={key} data-row={key} class={gone?.has(key) ? "gone" : ""} aria-selected={selected?.has(key) || undefined} data-current={current === key || undefined}>
                {select && (
                  <td class="check">
                    <input type="checkbox" aria-label={t.selectRow} checked={selected?.has(key) ?? false} onClick={(event) => select(key, event.currentTarget.checked, event.shiftKey)} />
                  </td>
                )}
                {columns.map((column) => <td key={column.key} class={cls(column)}>{column.cell(row)}</td>)}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

const cls = <T,>({ num, wide, keep }: Column<T>): string => [num && "num", wide && "wide", keep && "keep"].filter(Boolean).join(" ");

/** Pages by cursor: the cursors seen so far are the way back. */
export function Pager({ next, first, go, shown, total }: { next: string | null; first: boolean; go: (cursor: string | null) => void; shown: number; total: number | null }) {
  if (first && !next) return null;
  return (
    <nav class="pager" aria-label={t.pages}>
      <span class="small soft grow">{total === null ? t.shown(shown) : t.shownOf(shown, total)}</span>
      {!first && <button type="button" class="button" onClick={() => go(null)}>{t.firstPage}</button>}
      {next && <button type="button" class="button" data-key="next" onClick={() => go(next)}>{t.nextPage}</button>}
    </nav>
  );
}

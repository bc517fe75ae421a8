// Tables: columns of `{ name, title, num, cell }`, rows that open below themselves, pages.

import { t } from "./text.js";
import { Fragment, html } from "./view.js";

// `open` is the key of the row whose `detail` is shown; `onOpen` is told the key of the row that is pressed.
export function Table({ label, columns, rows, rowKey, open, onOpen, detail, loading, sort, onSort }) {
  const body = rows.map((row) => {
    const key = rowKey(row);
    const isOpen = open === key;
    const cells = columns.map(({ name, num, text, cell }, at) => {
      const shown = cell(row);
      const inside = at === 0 && onOpen
        ? html`<button type="button" class="link nowrap" aria-expanded=${detail ? isOpen : undefined} onClick=${(event) => { event.stopPropagation(); onOpen(key, row); }}>${shown}</button>`
        : shown;
      return html`<td key=${name} class=${num ? "num" : text ? "text" : ""}>${inside}</td>`;
    });
    // A selection of text is no click.
    const press = () => getSelection().isCollapsed && onOpen(key, row);
    return html`<${Fragment} key=${key}>
      <tr class=${onOpen ? "opens" : ""} onClick=${onOpen && press}>${cells}</tr>
      ${isOpen && detail && html`<tr><td class="detail" colspan=${columns.length}>${detail(row)}</td></tr>`}
    </${Fragment}>`;
  });
  return html`<div class="card flush"><div class=${`table ${loading ? "loading" : ""}`} role="region" aria-label=${label} tabindex="0" aria-busy=${loading}>
    <table><thead><tr>${columns.map((column) => html`<${Head} ...${column} key=${column.name} sort=${sort} onSort=${onSort} />`)}</tr></thead><tbody>${body}</tbody></table>
  </div></div>`;
}

// `sort` is a column's `order`, after a `-` for the other way round.
function Head({ title, num, order, sort, onSort }) {
  if (!order || !onSort) return html`<th scope="col" class=${num ? "num" : ""}>${title}</th>`;
  const down = sort === `-${order}`;
  const state = down ? "descending" : sort === order ? "ascending" : "none";
  const mark = { descending: " ↓", ascending: " ↑", none: "" }[state];
  return html`<th scope="col" class=${num ? "num" : ""} aria-sort=${state}>
    <button type="button" class="link" onClick=${() => onSort(down ? order : `-${order}`)}>${title}${mark}</button>
  </th>`;
}

export const Pager = ({ page, pages, total, onPage }) => html`
  <nav class="row between" aria-label=${t("pager")}>
    <span class="dim small">${t("pager.total", { total, page, pages: Math.max(pages, 1) })}</span>
    <span class="row">
      <button type="button" disabled=${page <= 1} onClick=${() => onPage(page - 1)}>${t("pager.before")}</button>
      <button type="button" disabled=${page >= pages} onClick=${() => onPage(page + 1)}>${t("pager.after")}</button>
    </span>
  </nav>`;

export const Pairs = ({ pairs }) => html`<dl class="pairs">
  ${pairs.filter(Boolean).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}
</dl>`;

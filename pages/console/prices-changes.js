// What one price table changes in another: each field, old, new, percent.

import { count } from "../lib/format.js";
import { Field } from "../lib/parts.js";
import { Pager, Table } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html, useState } from "../lib/view.js";
import { amount } from "./prices-data.js";

const ROWS = 50;

function percentOf({ Percent: percent }) {
  if (percent === null || percent === undefined) return "–";
  const text = `${percent > 0 ? "+" : ""}${Math.round(percent * 10) / 10} %`;
  return html`<span class=${Math.abs(percent) >= 100 ? "error-text" : ""}>${text}</span>`;
}

const COLUMNS = [
  { name: "model", title: t("prices.model"), text: true, cell: (row) => html`<bdi class="clip">${row.Model}</bdi>` },
  { name: "field", title: t("prices.field"), text: true, cell: (row) => html`<span class="clip">${row.Field}</span>` },
  { name: "old", title: t("prices.old"), num: true, cell: (row) => (row.Old === null && row.Fallback !== null ? html`<span class="dim">(${amount(row.Unit, row.Fallback)})</span>` : amount(row.Unit, row.Old)) },
  { name: "new", title: t("prices.new"), num: true, cell: (row) => amount(row.Unit, row.New) },
  { name: "percent", title: t("prices.percent"), num: true, cell: percentOf },
];

export function ChangeList({ changes }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(1);
  if (changes.length === 0) return html`<p class="note">${t("prices.no-changes")}</p>`;
  const found = changes.filter((row) => row.Model.toLowerCase().includes(text.trim().toLowerCase()));
  const pages = Math.max(Math.ceil(found.length / ROWS), 1);
  const page = Math.min(at, pages);
  return html`<div class="stack">
    <div class="row between">
      <b>${t("prices.n-changes", { n: count(changes.length), models: count(new Set(changes.map((row) => row.Model)).size) })}</b>
      ${changes.length > ROWS && html`<${Field} type="search" label=${t("prices.model")} value=${text} onInput=${(event) => setText(event.target.value)} />`}
    </div>
    <${Table} label=${t("prices.changes")} columns=${COLUMNS} rows=${found.slice((page - 1) * ROWS, page * ROWS)} rowKey=${(row) => `${row.Model} ${row.Field}`} />
    ${pages > 1 && html`<${Pager} page=${page} pages=${pages} total=${count(found.length)} onPage=${setAt} />`}
  </div>`;
}

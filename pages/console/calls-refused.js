// Calls that were refused before any key was asked: they cost nothing, and say why.

import { count, seconds, time } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Chip, Empty, Problem } from "../lib/parts.js";
import { mine } from "../lib/session.js";
import { Table } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html, useEffect, useState } from "../lib/view.js";
import { Filters, Older, statusKind } from "./calls.js";

const FILTERS = ["user", "model", "status", "request_id", "start", "end"];

const COLUMNS = [
  { name: "time", title: t("calls.time"), cell: (call) => html`<span class="nowrap">${time(call.Time)}</span>` },
  { name: "account", title: t("calls.account"), text: true, cell: (call) => html`<bdi class="clip">${call.UserName || t("calls.unknown-key")}</bdi>` },
  { name: "model", title: t("calls.model"), text: true, cell: (call) => html`<bdi class="clip">${call.Model || "–"}</bdi>` },
  { name: "status", title: t("calls.status"), cell: (call) => html`<${Chip} kind=${statusKind(call.Status)}>${call.Status}</${Chip}>` },
  { name: "why", title: t("calls.why"), text: true, cell: (call) => html`<code class="small">${call.Code}</code><div><bdi>${call.Message}</bdi></div>` },
  { name: "number", title: t("calls.number"), num: true, cell: (call) => count(call.Represents) },
  { name: "duration", title: t("calls.duration"), num: true, cell: (call) => seconds(call.DurationMs) },
  { name: "id", title: t("calls.request_id"), cell: (call) => html`<code class="small">${call.RequestID}</code>` },
];

export function Refused({ params }) {
  const query = Object.fromEntries(FILTERS.map((name) => [name, params[name]]));
  const inputs = FILTERS.map((name) => params[name] ?? "");
  const ask = (more, signal) => mine("/x-refusals", { query: { ...query, ...more }, signal }).then(({ data }) => data);
  const first = useLoad((signal) => ask({}, signal), inputs);
  const [more, setMore] = useState(null);
  useEffect(() => setMore(null), [first.data]);
  const next = more ? more.next : first.data?.next;
  const older = async () => {
    const data = await ask({ before: next });
    setMore({ refusals: [...(more?.refusals ?? []), ...data.refusals], next: data.next });
  };
  const rows = [...(first.data?.refusals ?? []), ...(more?.refusals ?? [])];
  return html`
    <${Filters} params=${params} isRefused=${true} />
    <${Problem} error=${first.error} />
    ${first.data && rows.length === 0 && html`<${Empty} title=${t("calls.none-refused")} text=${t("calls.none-refused.text")} />`}
    ${rows.length > 0 && html`<${Table} label=${t("calls.refused")} columns=${COLUMNS} rows=${rows} rowKey=${(call) => `${call.Time} ${call.RequestID}`} loading=${first.loading} />`}
    ${next && html`<div class="row end"><${Older} run=${older} found=${rows.length} /></div>`}`;
}

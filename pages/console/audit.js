// Audit: each change with who made it, and before and after of each field.

import { count } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Chip, Empty, Field, Problem, Search } from "../lib/parts.js";
import { change, link } from "../lib/route.js";
import { mine } from "../lib/session.js";
import { Pager, Table } from "../lib/table.js";
import { t, word } from "../lib/text.js";
import { html } from "../lib/view.js";

const SIZE = 50;
const ACTIONS = ["add_user", "update_user", "delete_user", "rotate_self", "rotate_root", "rotate_key", "add_client_key", "update_client_key", "delete_client_key", "add_key", "update_key", "delete_key", "load_keys",
  "update_config", "delete_config", "add_news", "delete_news", "load_prices", "rerate"];
const FILTERS = ["action", "target_id"];

const kind = (action) => (action.startsWith("delete") ? "bad" : action.startsWith("add") ? "good" : "");

const COLUMNS = [
  { name: "time", title: t("audit.time"), cell: (log) => html`<span class="nowrap">${log.created_at}</span>` },
  { name: "action", title: t("audit.action"), cell: (log) => html`<${Chip} kind=${kind(log.action)}>${word("audit.a", log.action)}</${Chip}>` },
  { name: "target", title: t("audit.target"), text: true, cell: (log) => html`<bdi class="clip">${log.target_name || "–"}</bdi><span class="dim small">${word("audit.t", log.target_type)} ${log.target_id ?? ""}</span>` },
  { name: "fields", title: t("audit.fields"), text: true, cell: (log) => html`<span class="clip small">${Object.keys(details(log)).map(named).join(", ") || "–"}</span>` },
  { name: "operator", title: t("audit.operator"), text: true, cell: (log) => html`<bdi class="clip">${log.operator_name}</bdi><span class="dim small">ID ${log.operator_id}</span>` },
  { name: "ip", title: t("audit.ip"), cell: (log) => log.ip || "–" },
];

// Accounts, client keys and upstream keys share names of fields.
const named = (field) => ["accounts.f", "client-keys.f", "audit.f"].map((prefix) => word(prefix, field)).find((text) => text !== field) ?? field;

function details(log) {
  try {
    return JSON.parse(log.details) ?? {};
  } catch {
    return {};
  }
}

export function Page({ params }) {
  const page = Math.max(1, Number(params.page) || 1);
  const query = { ...Object.fromEntries(FILTERS.map((name) => [name, params[name]])), page, size: SIZE };
  const list = useLoad((signal) => mine("/dashboard/logs", { query, signal }).then(({ data }) => data), [JSON.stringify(query)]);
  const isFiltered = FILTERS.some((name) => params[name]);
  const found = list.data;
  return html`
    <form class="card filters" aria-label=${t("filters")} onSubmit=${(event) => event.preventDefault()}>
      <${Field} label=${t("audit.action")} value=${params.action ?? ""} options=${[["", t("any")], ...ACTIONS.map((name) => [name, t(`audit.a.${name}`)])]}
        onChange=${(event) => change({ action: event.target.value, page: "", open: "" })} />
      <${Search} label=${t("audit.target_id")} inputmode="numeric" value=${params.target_id ?? ""} onSearch=${(value) => change({ target_id: value, page: "", open: "" })} />
      <div class="row end"><button type="button" onClick=${() => change({ action: "", target_id: "", page: "", open: "" })}>${t("clear")}</button></div>
    </form>
    <${Problem} error=${list.error} />
    ${list.loading && !found && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${found?.total === 0 && html`<${Empty} title=${t(isFiltered ? "audit.none-match" : "audit.none")} text=${t(isFiltered ? "audit.none-match.text" : "audit.none.text")} />`}
    ${found?.total > 0 && html`<${Table} label=${t("audit.title")} columns=${COLUMNS} rows=${found.logs} rowKey=${(log) => String(log.id)} loading=${list.loading}
        open=${params.open} onOpen=${(id) => change({ open: params.open === id ? "" : id }, true)} detail=${(log) => html`<${Detail} log=${log} />`} />
      <${Pager} page=${page} pages=${Math.ceil(found.total / SIZE)} total=${count(found.total)} onPage=${(next) => change({ page: next, open: "" })} />`}`;
}

const shown = (value) => (value === undefined || value === null || value === "" ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value));

function Detail({ log }) {
  const fields = Object.entries(details(log));
  return html`<div class="stack">
    ${fields.length === 0 && html`<p class="dim">${t("audit.no-fields")}</p>`}
    ${fields.length > 0 && html`<div class="card flush"><div class="table" role="region" tabindex="0" aria-label=${t("audit.fields")}><table>
      <thead><tr><th scope="col">${t("audit.field")}</th><th scope="col">${t("audit.before")}</th><th scope="col">${t("audit.after")}</th></tr></thead>
      <tbody>${fields.map(([name, value]) => html`<tr>
        <td title=${name}>${named(name)}</td>
        <td class="text"><bdi class="was">${shown(value?.before)}</bdi></td><td class="text"><bdi class="is">${shown(value?.after)}</bdi></td>
      </tr>`)}</tbody>
    </table></div></div>`}
    ${log.target_type === "user" && log.target_id && html`<div class="row">
      <a class="button" href=${link("accounts", { dna: "", open: log.target_id })}>${t("audit.account")}</a>
      <a class="button" href=${link("audit", { target_id: log.target_id })}>${t("audit.all-of-it")}</a>
    </div>`}
  </div>`;
}

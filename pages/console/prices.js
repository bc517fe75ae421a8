// Prices: the table and its versions, loading another one, pricing usage anew, and models without a price.

import { count, time } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Check, Chip, Empty, Field, Problem, Search } from "../lib/parts.js";
import { change, link } from "../lib/route.js";
import { mine } from "../lib/session.js";
import { Pager, Pairs, Table } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html, useMemo } from "../lib/view.js";
import { fieldsOf, GROUPS, priceOf, rowsOf } from "./prices-data.js";
import { Load } from "./prices-load.js";
import { Rerate } from "./prices-rerate.js";
import { Unpriced } from "./prices-unpriced.js";

const TABS = ["table", "versions", "load", "rerate", "unpriced"];
const ROWS = 50;

export function Page({ params }) {
  const tab = TABS.includes(params.tab) ? params.tab : "table";
  const prices = useLoad((signal) => mine("/x-prices", { query: { version: params.version }, signal }).then(({ data }) => data), [params.version ?? ""]);
  return html`
    <nav class="tabs" aria-label=${t("prices.title")}>${TABS.map((name) => html`
      <a href=${link("prices", { tab: name === "table" ? "" : name })} aria-current=${name === tab ? "page" : undefined}>${t(`prices.tab.${name}`)}</a>`)}
    </nav>
    <${Problem} error=${prices.error} />
    ${prices.loading && !prices.data && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${prices.data && tab === "table" && html`<${Models} data=${prices.data} params=${params} loading=${prices.loading} />`}
    ${prices.data && tab === "versions" && html`<${Versions} data=${prices.data} />`}
    ${prices.data && tab === "load" && html`<${Load} present=${prices.data} loaded=${prices.reload} />`}
    ${prices.data && tab === "rerate" && html`<${Rerate} versions=${prices.data.Versions} params=${params} />`}
    ${tab === "unpriced" && html`<${Unpriced} params=${params} />`}`;
}

const COLUMNS = [
  { name: "model", title: t("prices.model"), text: true, cell: (row) => html`<bdi class="clip">${row.model}</bdi>` },
  { name: "provider", title: t("prices.provider"), cell: (row) => html`<bdi>${row.fields.Provider ?? "–"}</bdi>` },
  { name: "input", title: t("prices.input"), num: true, cell: (row) => priceOf(row, "InputText", "Input") },
  { name: "cached", title: t("prices.cached"), num: true, cell: (row) => priceOf(row, "CachedText") },
  { name: "output", title: t("prices.output"), num: true, cell: (row) => priceOf(row, "OutputText", "Output") },
  { name: "else", title: t("prices.other"), text: true, cell: Others },
];

const USUAL = new Set(["InputText", "OutputText", "CachedText", "Input", "Output", "Provider", "Source", "MaxInput", "MaxOutput", "Reasons"]);

function Others(row) {
  const names = Object.keys(row.fields).filter((name) => !USUAL.has(name));
  return html`${row.own && html`<${Chip} kind="warn">PRICING</${Chip}> `}<span class="clip small dim">${names.join(", ")}</span>`;
}

function Models({ data, params, loading }) {
  const rows = useMemo(() => rowsOf(data.Table, data.Overrides), [data]);
  const wanted = (params.search ?? "").toLowerCase();
  const fits = (row) => (!wanted || row.model.toLowerCase().includes(wanted)) && (!params.provider || row.fields.Provider === params.provider) && (!params.group || row.group === params.group) && (!params.own || row.own);
  const found = rows.filter(fits);
  const pages = Math.max(Math.ceil(found.length / ROWS), 1);
  const page = Math.min(Math.max(Number(params.page) || 1, 1), pages);
  return html`
    <${Filters} params=${params} data=${data} rows=${rows} />
    <p class="small dim">${t("prices.in-force", { version: data.Version.Version, from: time(data.Version.ValidFrom), n: count(rows.length) })}</p>
    ${found.length === 0 && html`<${Empty} title=${t("prices.none-match")} text=${t("prices.none-match.text")}>
      <div class="row"><a class="button" href=${link("settings", { search: "PRICING" })}>${t("prices.give-one")}</a></div></${Empty}>`}
    ${found.length > 0 && html`<${Table} label=${t("prices.tab.table")} columns=${COLUMNS} rows=${found.slice((page - 1) * ROWS, page * ROWS)} loading=${loading}
      rowKey=${(row) => `${row.group} ${row.model}`} open=${params.open} onOpen=${(id) => change({ open: params.open === id ? "" : id }, true)} detail=${(row) => html`<${Entry} row=${row} table=${data.Table} />`} />`}
    ${pages > 1 && html`<${Pager} page=${page} pages=${pages} total=${count(found.length)} onPage=${(number) => change({ page: number })} />`}`;
}

function Filters({ params, data, rows }) {
  const providers = useMemo(() => [...new Set(rows.map((row) => row.fields.Provider).filter(Boolean))].sort(), [rows]);
  const choice = (name, options) => html`<${Field} label=${t(`prices.${name}`)} options=${[["", t("any")], ...options]} value=${params[name] ?? ""}
    onChange=${(event) => change({ [name]: event.target.value, page: "" })} />`;
  const versions = data.Versions.map(({ Version }) => [Version, Version]);
  const own = data.Overrides && html`<${Check} label=${t("prices.own")} checked=${params.own === "1"} onChange=${() => change({ own: params.own === "1" ? "" : "1", page: "" })} />`;
  return html`<form class="card filters" aria-label=${t("filters")} onSubmit=${(event) => event.preventDefault()}>
    <${Search} label=${t("prices.model")} value=${params.search ?? ""} placeholder="gpt-4o" onSearch=${(search) => change({ search, page: "" })} />
    ${choice("provider", providers.map((name) => [name, name]))}
    ${choice("group", GROUPS.map((name) => [name, t(`prices.group.${name}`)]))}
    <${Field} label=${t("prices.version")} options=${[["", t("prices.now")], ...versions]} value=${params.version ?? ""} onChange=${(event) => change({ version: event.target.value })} />
    ${own}
  </form>`;
}

const Entry = ({ row, table }) => {
  const source = table.Sources?.[row.fields.Source];
  return html`<div class="stack">
    <p class="small dim">${t(`prices.group.${row.group}`)} · ${t("prices.units")}</p>
    <${Pairs} pairs=${fieldsOf(row.fields)} />
    ${row.own && html`<p class="note">${t("prices.is-own", { fields: Object.keys(row.own).join(", ") })} <a href=${link("settings", { search: "PRICING" })}>${t("prices.to-setting")}</a></p>`}
    ${source && html`<p class="small dim wrap">${t("prices.source", { url: source.Url, date: source.Date })}</p>`}
    <p class="small"><a href=${link("calls", { model: row.model })}>${t("prices.calls")}</a></p>
  </div>`;
};

const VERSIONS = [
  { name: "version", title: t("prices.version"), text: true, cell: (row) => html`<a href=${link("prices", { version: row.Version })}><bdi class="clip">${row.Version}</bdi></a>` },
  { name: "from", title: t("prices.from"), cell: (row) => time(row.ValidFrom) },
  { name: "source", title: t("prices.made-by"), cell: (row) => (row.CreatedBy === null ? t("prices.program") : t("prices.account", { id: row.CreatedBy })) },
  { name: "kind", title: t("prices.kind"), cell: (row) => html`<${Chip}>${row.Source === "loaded" ? t("prices.loaded") : t("prices.built-in")}</${Chip}>` },
  { name: "note", title: t("prices.note"), text: true, cell: (row) => html`<bdi class="clip">${row.Note || "–"}</bdi>` },
  { name: "made", title: t("prices.made"), cell: (row) => time(row.CreatedAt) },
];

const Versions = ({ data }) => html`<p class="small dim">${t("prices.versions.text")}</p>
  <${Table} label=${t("prices.tab.versions")} columns=${VERSIONS} rows=${data.Versions} rowKey=${(row) => row.Version} />`;

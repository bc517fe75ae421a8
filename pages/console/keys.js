// Upstream keys: the pool by level and provider, how each key is, what it cost and what it earned.

import { count, money, time } from "../lib/format.js";
import { useLoad, useTicks } from "../lib/load.js";
import { Action, Chip, Empty, Field, Problem, Search, tell } from "../lib/parts.js";
import { change } from "../lib/route.js";
import { mine } from "../lib/session.js";
import { Pager, Table } from "../lib/table.js";
import { t, word } from "../lib/text.js";
import { html } from "../lib/view.js";
import { KINDS, loadKeys, ordered, STATES } from "./keys-data.js";
import { Detail } from "./keys-detail.js";
import { KeyForm } from "./keys-form.js";
import { Paste } from "./keys-paste.js";

const FILTERS = ["level", "provider", "start", "end", "state", "search"];
const REFRESH_MS = 10_000;
const ROWS = 50;

const COLUMNS = [
  { name: "name", title: t("keys.name"), order: "name", text: true, cell: (key) => html`<bdi class="clip">${key.Name || t("keys.nameless", { id: key.ID })}</bdi>` },
  { name: "level", title: t("keys.level"), num: true, cell: (key) => key.Level },
  { name: "provider", title: t("keys.provider"), text: true, cell: (key) => html`<bdi class="clip">${key.Host}</bdi>` },
  { name: "state", title: t("keys.state"), order: "state", text: true, cell: State },
  { name: "models", title: t("keys.serves"), text: true, cell: Serves },
  { name: "requests", title: t("keys.requests"), order: "requests", num: true, cell: (key) => count(key.earned?.Requests ?? 0) },
  { name: "cost", title: t("keys.cost"), order: "cost", num: true, cell: (key) => money(key.earned?.Cost ?? 0) },
  { name: "expense", title: t("keys.expense"), num: true, cell: (key) => money((key.earned?.Expense ?? 0) + (key.earned?.Flat ?? 0)) },
  { name: "margin", title: t("keys.margin"), order: "margin", num: true, cell: (key) => money(key.earned?.Margin ?? 0) },
];

function State(key) {
  return html`<${Chip} kind=${KINDS[key.state]}>${t(`keys.state.${key.state}`)}</${Chip}>
    ${Date.parse(key.until) > Date.now() && html` <span class="small dim nowrap">${t("keys.until", { time: time(key.until) })}</span>`}
    ${key.reason && html`<span class="small dim clip">${key.reason}</span>`}
    ${key.resting.length > 0 && html`<span class="small dim clip">${t("keys.rests-for", { models: key.resting.map((row) => row.model).join(", ") })}</span>`}`;
}

function Serves(key) {
  const { models } = key.Config;
  if (models.length === 0) return html`<span class="dim">${t("keys.all-models")}</span>`;
  return html`<span class="clip small">${models.slice(0, 20).join(", ")}</span>`;
}

export function Page({ params }) {
  const inputs = FILTERS.map((name) => params[name] ?? "");
  const pool = useLoad((signal) => loadKeys(params, signal), inputs);
  useTicks(pool.reload, REFRESH_MS, !params.do && !params.open);
  const isFiltered = FILTERS.some((name) => params[name]);
  const data = pool.data;
  const edited = params.do === "edit" && data?.rows.find((key) => String(key.ID) === params.open);
  const done = () => change({ do: "" }, true);
  const changed = () => pool.reload();
  if (pool.error && !data) return html`<${Problem} error=${pool.error} />`;
  if (!data) return html`<p class="dim" role="status">${t("loading")}</p>`;
  return html`
    ${data.total === 0 && !isFiltered ? html`<${Welcome} />` : html`<${Pool} params=${params} data=${data} loading=${pool.loading} isFiltered=${isFiltered} changed=${changed} />`}
    ${(params.do === "add" || edited) && html`<${KeyForm} key=${edited ? edited.ID : "new"} existing=${edited || null} preset=${params.preset} onClose=${done} changed=${changed} />`}
    ${params.do === "paste" && html`<${Paste} onClose=${done} changed=${changed} />`}`;
}

function Pool({ params, data, loading, isFiltered, changed }) {
  const rows = ordered(data.rows, params.sort ?? "");
  const pages = Math.max(Math.ceil(rows.length / ROWS), 1);
  const page = Math.min(Math.max(Number(params.page) || 1, 1), pages);
  const shown = rows.slice((page - 1) * ROWS, page * ROWS);
  return html`
    <${Tools} changed=${changed} />
    <${Tiles} data=${data} />
    <${Filters} params=${params} />
    ${data.total > data.rows.length && html`<p class="note warn">${t("keys.too-many", { shown: count(data.rows.length), total: count(data.total) })}</p>`}
    ${rows.length === 0 && html`<${Empty} title=${t("keys.none-match")} text=${isFiltered ? t("keys.none-match.text") : ""}>
      <button type="button" onClick=${() => change(cleared)}>${t("clear")}</button></${Empty}>`}
    ${rows.length > 0 && html`<${Table} label=${t("keys.title")} columns=${COLUMNS} rows=${shown} rowKey=${(key) => String(key.ID)} loading=${loading}
      sort=${params.sort} onSort=${(sort) => change({ sort, page: "" })}
      open=${params.open} onOpen=${(id) => change({ open: params.open === id ? "" : id }, true)}
      detail=${(key) => html`<${Detail} key=${key.ID} row=${key} period=${data} changed=${changed} />`} />`}
    ${pages > 1 && html`<${Pager} page=${page} pages=${pages} total=${count(rows.length)} onPage=${(number) => change({ page: number })} />`}`;
}

const cleared = Object.fromEntries([...FILTERS, "page", "open"].map((name) => [name, ""]));

function Tools({ changed }) {
  const wake = async () => {
    await mine("/x-conf", { method: "POST", body: { LoadKeys: true } });
    tell(t("keys.woken-all"));
    changed();
  };
  return html`<div class="row">
    <button type="button" class="main" onClick=${() => change({ do: "add" })}>${t("keys.add")}</button>
    <button type="button" onClick=${() => change({ do: "paste" })}>${t("keys.paste")}</button>
    <span class="grow"></span>
    <${Action} label=${t("keys.wake-all")} run=${wake} />
  </div>`;
}

function Tiles({ data }) {
  const number = (...states) => states.reduce((sum, state) => sum + data.counts[state], 0);
  const tile = (name, value, state) => html`<div class="tile"><span class="dim">${t(`keys.tile.${name}`)}</span><b>${value}</b>
    ${state && html`<button type="button" class="link small" onClick=${() => change({ state, page: "" })}>${t("keys.show")}</button>`}</div>`;
  const refused = number("quarantined", "disabled");
  return html`<div class="tiles">
    ${tile("ready", `${count(number("ready"))} / ${count(data.counts.all)}`)}
    ${tile("asleep", count(number("asleep")), number("asleep") > 0 && "asleep")}
    ${tile("refused", count(refused), refused > 0 && (number("quarantined") > 0 ? "quarantined" : "disabled"))}
    ${tile("expense", money(data.earned.Expense + data.earned.Flat))}
    ${tile("margin", money(data.earned.Margin))}
  </div>`;
}

function Filters({ params }) {
  const set = (name) => (value) => change({ [name]: value, page: "", open: "" });
  const levels = [["", t("any")], ...Array.from({ length: 11 }, (_, level) => [String(level), String(level)])];
  const states = [["", t("any")], ...STATES.map((state) => [state, t(`keys.state.${state}`)])];
  const choice = (name, options) => html`<${Field} label=${t(`keys.${name}`)} options=${options} value=${params[name] ?? ""} onChange=${(event) => set(name)(event.target.value)} />`;
  const date = (name) => html`<${Field} type="date" label=${word("keys", name)} value=${params[name] ?? ""} onChange=${(event) => set(name)(event.target.value)} />`;
  return html`<form class="card filters" aria-label=${t("filters")} onSubmit=${(event) => event.preventDefault()}>
    <${Search} label=${t("keys.search")} value=${params.search ?? ""} onSearch=${set("search")} />
    ${choice("level", levels)} ${choice("state", states)}
    <${Search} label=${t("keys.provider")} value=${params.provider ?? ""} placeholder="api.openai.com" onSearch=${set("provider")} />
    ${date("start")} ${date("end")}
    ${FILTERS.some((name) => params[name]) && html`<div class="row"><button type="button" onClick=${() => change(cleared)}>${t("clear")}</button></div>`}
  </form>`;
}

// A gateway without a key: the shortest way to one that works.
const Welcome = () => html`<${Empty} title=${t("keys.none")} text=${t("keys.none.text")}>
  <div class="row">
    <button type="button" class="main" onClick=${() => change({ do: "add" })}>${t("keys.add")}</button>
    <button type="button" onClick=${() => change({ do: "paste" })}>${t("keys.paste")}</button>
  </div>
  <p class="small">${t("keys.none.try")}</p>
  <div class="row">
    ${["OpenAI", "Anthropic", "Google Gemini", "OpenRouter", "Ollama"].map((name) => html`<button type="button" onClick=${() => change({ do: "add", preset: name })}>${name}</button>`)}
  </div>
</${Empty}>`;

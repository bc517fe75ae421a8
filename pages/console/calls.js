// Calls: single ones, newest first, each with its bill; the live tail looks for newer ones.

import { firstCall } from "../lib/first-call.js";
import { count, money, seconds, time } from "../lib/format.js";
import { useLoad, useTicks } from "../lib/load.js";
import { Check, Chip, Empty, Field, Problem, Search } from "../lib/parts.js";
import { change, link } from "../lib/route.js";
import { mine, session } from "../lib/session.js";
import { Pairs, Table } from "../lib/table.js";
import { t, word } from "../lib/text.js";
import { html, useEffect, useState } from "../lib/view.js";
import { Refused } from "./calls-refused.js";

const FILTERS = ["user", "model", "key", "client_key", "status", "request_id", "start", "end"];
const TAIL_MS = 2000;
// What a tab holds; older ones are a press of the button away.
const ROWS_MAX = 2000;

const idOf = (call) => `${call.Node} ${call.Epoch} ${call.Sequence}`;

export function statusKind(status) {
  if (status >= 500) return "bad";
  return status >= 400 ? "warn" : "good";
}

const COLUMNS = [
  { name: "time", title: t("calls.time"), cell: (call) => time(call.Time) },
  { name: "account", title: t("calls.account"), text: true, cell: (call) => html`<span class="clip">${call.UserName}</span>` },
  { name: "model", title: t("calls.model"), text: true, cell: Models },
  { name: "status", title: t("calls.status"), cell: (call) => html`<${Chip} kind=${statusKind(call.Status)}>${call.Status}</${Chip}>` },
  { name: "in", title: t("calls.input"), num: true, cell: (call) => count(call.Tokens?.Input ?? 0) },
  { name: "cached", title: t("calls.cached"), num: true, cell: (call) => count(call.Tokens?.Cached ?? 0) },
  { name: "out", title: t("calls.output"), num: true, cell: (call) => count(call.Tokens?.Output ?? 0) },
  { name: "cost", title: t("calls.cost"), num: true, cell: (call) => money(call.CorrectedCost ?? call.Cost) },
  { name: "first", title: t("calls.first"), num: true, cell: (call) => seconds(call.FirstByteMs) },
  { name: "duration", title: t("calls.duration"), num: true, cell: (call) => seconds(call.DurationMs) },
];

// The model that was used, and the one asked for where that is another.
function Models(call) {
  const other = call.ModelUsed && call.ModelAsked !== call.ModelUsed;
  return html`<span class="clip">${call.ModelUsed || call.ModelAsked || "–"}</span>${other && html`<span class="dim small clip">← ${call.ModelAsked}</span>`}`;
}

// What was answered, and what was refused before any key was asked.
export function Page({ params }) {
  const isRefused = params.list === "refused";
  const tab = (list, selected) => html`<button type="button" role="tab" aria-selected=${selected} onClick=${() => change({ list, open: "", key: "", client_key: "", live: "" })}>${t(list ? "calls.refused" : "calls.answered")}</button>`;
  return html`<div class="tabs" role="tablist" aria-label=${t("calls.title")}>${tab("", !isRefused)}${tab("refused", isRefused)}</div>
    ${isRefused ? html`<${Refused} params=${params} />` : html`<${Answered} params=${params} />`}`;
}

function Answered({ params }) {
  const query = Object.fromEntries(FILTERS.map((name) => [name, params[name]]));
  const inputs = FILTERS.map((name) => params[name] ?? "");
  const first = useLoad((signal) => mine("/x-calls", { query, signal }).then(({ data }) => data), inputs);
  const [more, setMore] = useState({ calls: [], next: null });
  const [problem, setProblem] = useState(null);
  useEffect(() => setMore({ calls: [], next: first.data?.next ?? null }), [first.data === null, ...inputs]);
  const isLive = params.live === "1";

  const newer = async () => {
    if (!first.data) return;
    try {
      const { data } = await mine("/x-calls", { query: { ...query, after: first.data.latest } });
      if (data.calls.length > 0) first.set({ ...first.data, ...data, next: first.data.next, calls: [...data.calls, ...first.data.calls].slice(0, ROWS_MAX) });
      setProblem(null);
    } catch (error) {
      setProblem(error);
    }
  };
  useTicks(newer, TAIL_MS, isLive);

  const older = async () => {
    const { data } = await mine("/x-calls", { query: { ...query, before: next } });
    setMore({ calls: [...more.calls, ...data.calls], next: data.next });
  };
  const next = more.calls.length > 0 || more.next !== null ? more.next : first.data?.next;
  const rows = [...(first.data?.calls ?? []), ...more.calls];
  const isFiltered = inputs.some(Boolean);
  return html`
    <${Filters} params=${params} isLive=${isLive} />
    <${Problem} error=${first.error ?? problem} />
    ${first.data && rows.length === 0 && !next && html`<${Nothing} isFiltered=${isFiltered} />`}
    ${rows.length > 0 && html`<${Table} label=${t("calls.title")} columns=${COLUMNS} rows=${rows} rowKey=${idOf} loading=${first.loading}
      open=${params.open} onOpen=${(id) => change({ open: params.open === id ? "" : id }, true)} detail=${(call) => html`<${Detail} call=${call} />`} />`}
    ${first.loading && !first.data && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${next && html`<div class="row end"><${Older} run=${older} found=${rows.length} /></div>`}`;
}

export function Older({ run, found }) {
  const [busy, setBusy] = useState(false);
  const press = () => {
    setBusy(true);
    run().finally(() => setBusy(false));
  };
  return html`<span class="dim small">${t("calls.shown", { n: count(found) })}</span>
    <button type="button" disabled=${busy} onClick=${press}>${t("calls.older")}</button>`;
}

export function Filters({ params, isLive, isRefused }) {
  const field = (name, rest = {}) => html`<${Search} label=${t(`calls.${name}`)} value=${params[name] ?? ""}
    onSearch=${(value) => change({ [name]: value, open: "" })} ...${rest} />`;
  const period = (name) => html`<${Field} type="date" label=${t(`calls.${name}`)} value=${params[name] ?? ""}
    onChange=${(event) => change({ [name]: event.target.value, open: "" })} />`;
  const statuses = [["", t("any")], ...(isRefused ? [] : [["2xx", t("calls.2xx")]]), ["4xx", t("calls.4xx")], ["429", "429"], ["5xx", t("calls.5xx")]];
  if (params.status && !statuses.some(([value]) => value === params.status)) statuses.push([params.status, params.status]);
  const none = Object.fromEntries([...FILTERS, "open"].map((name) => [name, ""]));
  return html`<form class="card filters" aria-label=${t("filters")} onSubmit=${(event) => event.preventDefault()}>
    ${field("user")} ${field("model", { placeholder: "gpt-4o*" })}
    ${session.value.admin && !isRefused && field("key", { inputmode: "numeric" })}
    ${params.client_key && !isRefused && field("client_key", { inputmode: "numeric" })}
    <${Field} label=${t("calls.status")} options=${statuses} value=${params.status ?? ""} onChange=${(event) => change({ status: event.target.value, open: "" })} />
    ${field("request_id")} ${period("start")} ${period("end")}
    <div class="row between">
      ${!isRefused && html`<${Check} label=${t("calls.live")} checked=${isLive} onChange=${(event) => change({ live: event.target.checked ? "1" : "" })} />`}
      <button type="button" onClick=${() => change(none)}>${t("clear")}</button>
    </div>
  </form>`;
}

function Nothing({ isFiltered }) {
  if (isFiltered) return html`<${Empty} title=${t("calls.none-match")} text=${t("calls.none-match.text")} />`;
  // What a first call takes, in its order.
  return html`<${Empty} title=${t("calls.none")} text=${t("calls.none.text")} command=${firstCall}><div class="row">
    ${session.value.admin && html`<a class="button main" href=${link("keys", { do: "add" })}>${t("hand-out.no-models-go")}</a>`}
    ${session.value.manage && html`<a class="button" href=${link("hand-out")}>${t("hand-out.title")}</a>`}
    <a class="button" href=${link("playground")}>${t("playground.title")}</a>
  </div></${Empty}>`;
}

function Detail({ call }) {
  const tokens = Object.entries(call.Tokens ?? {}).filter(([, number]) => number > 0);
  return html`<div class="stack">
    <${Bill} call=${call} />
    ${call.Attempts?.length > 0 && html`<${Attempts} attempts=${call.Attempts} />`}
    <${Pairs} pairs=${[
      [t("calls.request_id"), html`<code>${call.RequestID}</code>`],
      [t("calls.path"), html`<code>${call.Path}</code>`],
      tokens.length > 0 && [t("calls.tokens"), tokens.map(([kind, number]) => `${word("tokens", kind)} ${count(number)}`).join(" · ")],
      call.Measure && [t("calls.measure"), word("measure", call.Measure)],
      call.PriceVersion && [t("calls.price-version"), call.PriceVersion],
      call.Abandoned && [t("calls.abandoned"), word("abandoned", call.Abandoned)],
      call.Tag && [t("calls.tag"), call.Tag],
      call.ClientKeyName && [t("calls.client-key-name"), html`<bdi>${call.ClientKeyName}</bdi>`],
      call.Key > 0 && [t("calls.served-by"), t("calls.served-by.text", { key: call.KeyName ? `${call.KeyName} (${call.Key})` : call.Key, level: call.Level, tries: call.Tries })],
      call.Expense !== undefined && [t("calls.expense"), `${money(call.Expense)} · ${t("calls.margin")} ${money(call.Margin)}`],
      [t("calls.node"), `${call.Node} · ${call.Epoch} · ${call.Sequence}`],
    ]} />
  </div>`;
}

const quantity = (line) => (line.Unit.includes("hour") || line.Unit.includes("second") ? seconds(line.Quantity) : count(line.Quantity));

// The bill as a customer checks it by hand.
function Bill({ call }) {
  if (!call.Bill?.length) return call.Sum ? html`<p class="wrap">${call.Sum}</p>` : null;
  const line = (row) => html`<tr>
    <td>${word("part", row.Part)}</td><td class="num">${quantity(row)}</td>
    <td class="num">${row.Price === null ? t("calls.no-price") : `${money(row.Price)} / ${word("unit", row.Unit)}`}</td>
    <td class="num">${money(row.Amount)}</td></tr>`;
  return html`<div class="stack">
    <div class="card flush"><div class="table" role="region" tabindex="0" aria-label=${t("calls.bill")}><table>
      <thead><tr><th scope="col">${t("calls.part")}</th><th scope="col" class="num">${t("calls.quantity")}</th><th scope="col" class="num">${t("calls.price")}</th><th scope="col" class="num">${t("calls.amount")}</th></tr></thead>
      <tbody>${call.Bill.map(line)}</tbody>
    </table></div></div>
    <p class="wrap small dim">${call.Sum}</p>
    ${call.CorrectedCost !== null && call.CorrectedCost !== undefined && html`<p class="small">${t("calls.corrected", { cost: money(call.CorrectedCost) })}</p>`}
  </div>`;
}

// Which keys were asked, in order: an operator's alone.
const Attempts = ({ attempts }) => html`<div class="card flush"><div class="table" role="region" tabindex="0" aria-label=${t("calls.attempts")}><table>
  <thead><tr><th scope="col">${t("calls.attempts")}</th><th scope="col" class="num">${t("calls.level")}</th><th scope="col">${t("calls.outcome")}</th><th scope="col" class="num">${t("calls.duration")}</th></tr></thead>
  <tbody>${attempts.map((attempt) => html`<tr><td>${attempt.KeyName || attempt.Key}</td><td class="num">${attempt.Level}</td><td>${word("outcome", attempt.Outcome)}${attempt.Status > 0 && ` (${attempt.Status})`}</td><td class="num">${seconds(attempt.DurationMs)}</td></tr>`)}</tbody>
</table></div></div>`;

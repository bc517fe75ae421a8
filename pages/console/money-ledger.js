// Lines of the ledger of one account, newest first, with their reasons in words.

import { count, money, time } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Field, Problem } from "../lib/parts.js";
import { change } from "../lib/route.js";
import { mine } from "../lib/session.js";
import { Pager, Table } from "../lib/table.js";
import { t, word } from "../lib/text.js";
import { html } from "../lib/view.js";

const SIZE = 50;
const REASONS = ["grant", "deduct", "call", "lease", "expiry", "delete", "debt", "listing", "rates", "units", "correction"];
const FILTERS = ["reason", "start", "end"];
const ROOT = 1;

const COLUMNS = [
  { name: "time", title: t("money.time"), cell: (line) => html`<span class="nowrap">${time(line.Time)}</span>` },
  { name: "reason", title: t("money.reason"), text: true, cell: (line) => word("money.r", line.Reason) },
  { name: "book", title: t("money.book"), cell: (line) => word("money.b", line.Book) },
  { name: "amount", title: t("money.amount"), num: true, cell: (line) => html`<span class=${line.Amount < 0 ? "" : "plus"}>${line.Amount > 0 ? "+" : ""}${money(line.Amount)}</span>` },
  { name: "reference", title: t("money.reference"), text: true, cell: (line) => html`<bdi class="clip small">${line.Reference || "–"}</bdi>` },
  { name: "entry", title: t("money.entry"), num: true, cell: (line) => line.EntryID },
];

// Root has no books of its own to speak of: it sees those of all.
const whose = { name: "account", title: t("money.account"), text: true, cell: (line) => html`<bdi class="clip">${line.Name || "–"}</bdi>` };
const columnsFor = (isAll) => (isAll ? [COLUMNS[0], whose, ...COLUMNS.slice(1)] : COLUMNS);

export function Ledger({ params, user, round }) {
  const page = Math.max(1, Number(params.page) || 1);
  const isAll = user === ROOT;
  const query = { user: isAll ? "" : user, ...Object.fromEntries(FILTERS.map((name) => [name, params[name]])), page, size: SIZE };
  const list = useLoad(async (signal) => {
    const { data, total } = await mine("/x-ledger", { query, signal });
    return { rows: data, total };
  }, [JSON.stringify(query), round]);
  const found = list.data;
  const day = (name) => html`<${Field} type="date" label=${t(`money.${name}`)} value=${params[name] ?? ""} onChange=${(event) => change({ [name]: event.target.value, page: "" })} />`;
  return html`<section class="stack">
    <h3>${t("money.ledger")}</h3>
    <form class="filters" aria-label=${t("money.ledger")} onSubmit=${(event) => event.preventDefault()}>
      <${Field} label=${t("money.reason")} value=${params.reason ?? ""} options=${[["", t("any")], ...REASONS.map((name) => [name, t(`money.r.${name}`)])]}
        onChange=${(event) => change({ reason: event.target.value, page: "" })} />
      ${day("start")} ${day("end")}
    </form>
    <${Problem} error=${list.error} />
    ${list.loading && !found && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${found?.total === 0 && html`<p class="dim">${t(FILTERS.some((name) => params[name]) ? "money.no-lines" : "money.no-lines-yet")}</p>`}
    ${found?.total > 0 && html`<${Table} label=${t("money.ledger")} columns=${columnsFor(isAll)} rows=${found.rows} rowKey=${(line) => line.ID} loading=${list.loading} />
      <${Pager} page=${page} pages=${Math.ceil(found.total / SIZE)} total=${count(found.total)} onPage=${(next) => change({ page: next })} />`}
  </section>`;
}

// Accounts below the caller: made for a hundred thousand, so all searching, sorting and paging is the server's.

import { count, day, money } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Chip, Empty, Field, Problem, Search } from "../lib/parts.js";
import { change, link } from "../lib/route.js";
import { mine, session } from "../lib/session.js";
import { Pager, Table } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html } from "../lib/view.js";
import { Drawer } from "./account.js";

const SIZE = 50;
const LABELS = ["level", "gear", "role", "tier"];
const FILTERS = ["search", ...LABELS, "dna"];

// A debt is on no card, and shows in the balance alone.
export const Balance = ({ account }) => (account.Balance < 0 ? html`<${Chip} kind="bad">${money(account.Balance)}</${Chip}>` : money(account.Balance));

export function State({ account }) {
  if (account.Suspended) return html`<${Chip} kind="bad">${t("accounts.suspended")}</${Chip}>`;
  return account.Status === false ? html`<${Chip} kind="bad">${t("accounts.off")}</${Chip}>` : html`<${Chip} kind="good">${t("accounts.active")}</${Chip}>`;
}

const COLUMNS = [
  { name: "name", order: "name", title: t("accounts.name"), text: true, cell: (row) => html`<bdi class="clip broad">${row.Name}</bdi>` },
  { name: "id", order: "id", title: "ID", num: true, cell: (row) => row.ID },
  { name: "email", order: "email", title: t("accounts.email"), text: true, cell: (row) => html`<bdi class="clip broad">${row.Email}</bdi>` },
  { name: "state", title: t("accounts.state"), cell: (row) => html`<${State} account=${row} />` },
  { name: "balance", order: "balance", title: t("accounts.balance"), num: true, cell: (row) => html`<${Balance} account=${row} />` },
  { name: "used", order: "used", title: t("accounts.used"), num: true, cell: (row) => money(row.CreditUsed) },
  { name: "requests", title: t("accounts.requests"), num: true, cell: (row) => count(row.Requests) },
  { name: "child", title: t("accounts.children"), num: true, cell: (row) => count(row.Child) },
  { name: "level", title: t("accounts.level"), num: true, cell: (row) => row.Level },
  { name: "created", title: t("accounts.created"), cell: (row) => html`<span class="nowrap">${day(row.CreatedAt)}</span>` },
];

export function Page({ params }) {
  const page = Math.max(1, Number(params.page) || 1);
  const isFiltered = FILTERS.some((name) => params[name]);
  // Without a filter a listing costs its caller something, root aside: it is asked for first.
  const isWanted = session.value.admin || isFiltered || params.all === "1";
  const query = { ...Object.fromEntries(FILTERS.map((name) => [name, params[name]])), order: params.order, page, size: SIZE };
  const list = useLoad(async (signal) => {
    if (!isWanted) return null;
    const { data, total } = await mine("/x-dna", { query, signal });
    return { rows: data, total };
  }, [isWanted, JSON.stringify(query)]);
  const found = list.data;
  return html`
    <${Filters} params=${params} />
    <${Problem} error=${list.error} />
    ${!isWanted && html`<${Ask} />`}
    ${found && found.total === 0 && html`<${Nothing} isFiltered=${isFiltered} />`}
    ${found && found.total > 0 && html`<${Table} label=${t("accounts.title")} columns=${COLUMNS} rows=${found.rows} rowKey=${(row) => String(row.ID)}
        loading=${list.loading} sort=${params.order} onSort=${(order) => change({ order, page: "" })} onOpen=${(id) => change({ open: id })} />
      <${Pager} page=${page} pages=${Math.ceil(found.total / SIZE)} total=${count(found.total)} onPage=${(next) => change({ page: next })} />`}
    ${list.loading && !found && isWanted && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${params.open && html`<${Drawer} key=${params.open} id=${params.open} editing=${params.edit === "1"} onChanged=${list.reload} />`}`;
}

function Filters({ params }) {
  const label = (name) => html`<${Search} label=${t(`accounts.${name}`)} value=${params[name] ?? ""} inputmode="numeric"
    onSearch=${(value) => change({ [name]: value, page: "" })} />`;
  const none = Object.fromEntries([...FILTERS, "page", "all", "order"].map((name) => [name, ""]));
  return html`<form class="card filters" aria-label=${t("filters")} onSubmit=${(event) => event.preventDefault()}>
    <${Search} label=${t("accounts.search")} placeholder=${t("accounts.search.hint")} value=${params.search ?? ""} onSearch=${(search) => change({ search, page: "" })} />
    ${LABELS.map(label)}
    ${params.dna && html`<${Field} label=${t("accounts.below")} value=${params.dna} readonly />`}
    <div class="row end last">
      <button type="button" onClick=${() => change(none)}>${t("clear")}</button>
      <a class="button main" href=${link("hand-out")}>${t("accounts.new")}</a>
    </div>
  </form>`;
}

const Ask = () => html`<${Empty} title=${t("accounts.ask")} text=${session.value.manage ? t("accounts.ask.text") : t("accounts.unmanaged")}>
  ${session.value.manage && html`<button type="button" class="main" onClick=${() => change({ all: "1" })}>${t("accounts.ask.go")}</button>`}
</${Empty}>`;

function Nothing({ isFiltered }) {
  if (isFiltered) return html`<${Empty} title=${t("accounts.none-match")} text=${t("accounts.none-match.text")} />`;
  return html`<${Empty} title=${t("accounts.none")} text=${t("accounts.none.text")}>
    <a class="button main" href=${link("hand-out")}>${t("accounts.new")}</a>
  </${Empty}>`;
}

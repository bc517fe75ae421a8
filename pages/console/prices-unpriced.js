// Models that were called and have no price.

import { count, isoDay, time } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Chip, Empty, Field, Problem } from "../lib/parts.js";
import { change, link } from "../lib/route.js";
import { mine } from "../lib/session.js";
import { Pager, Table } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html } from "../lib/view.js";

const DAYS = ["1", "7", "31"];
const SIZE = 50;

export function Unpriced({ params }) {
  const days = DAYS.includes(params.days) ? params.days : "7";
  const page = Number(params.page) || 1;
  const found = useLoad((signal) => mine("/x-prices/unpriced", { query: { days, page, size: SIZE }, signal }), [days, page]);
  const start = isoDay(1 - Number(days));
  const columns = [
    { name: "model", title: t("prices.model"), text: true, cell: (row) => html`<bdi class="clip">${row.Model}</bdi>` },
    { name: "requests", title: t("prices.requests"), num: true, cell: (row) => count(row.Requests) },
    { name: "users", title: t("prices.users"), num: true, cell: (row) => count(row.Users) },
    { name: "last", title: t("prices.last"), cell: (row) => time(row.LastAt) },
    { name: "price", title: t("prices.by-now"), cell: (row) => (row.HasPrice ? html`<${Chip} kind="good">${t("prices.has-price")}</${Chip}>` : html`<${Chip} kind="warn">${t("prices.no-price")}</${Chip}>`) },
    { name: "next", title: t("prices.next"), cell: (row) => html`<span class="row small"><a href=${link("calls", { model: row.Model, start })}>${t("prices.calls")}</a>
      ${row.HasPrice ? html`<a href=${link("prices", { tab: "rerate", start })}>${t("prices.tab.rerate")}</a>` : html`<a href=${link("settings", { search: "PRICING" })}>${t("prices.give-one")}</a>`}</span>` },
  ];
  const rows = found.data?.data ?? [];
  const pages = Math.ceil((found.data?.total ?? 0) / SIZE);
  return html`
    <form class="card filters" aria-label=${t("filters")} onSubmit=${(event) => event.preventDefault()}>
      <${Field} label=${t("prices.days")} options=${DAYS.map((number) => [number, t("prices.n-days", { n: number })])} value=${days} onChange=${(event) => change({ days: event.target.value, page: "" })} />
    </form>
    <${Problem} error=${found.error} />
    ${found.loading && !found.data && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${found.data && rows.length === 0 && html`<${Empty} title=${t("prices.all-priced")} text=${t("prices.all-priced.text")} />`}
    ${rows.length > 0 && html`<${Table} label=${t("prices.tab.unpriced")} columns=${columns} rows=${rows} rowKey=${(row) => row.Model} loading=${found.loading} />`}
    ${pages > 1 && html`<${Pager} page=${page} pages=${pages} total=${count(found.data.total)} onPage=${(number) => change({ page: number })} />`}`;
}

// The fleet: data planes, how far behind each is, what they have on lease; and the books of the node that answers.

import { count, money, time } from "../lib/format.js";
import { open } from "../lib/api.js";
import { useLoad, useTicks } from "../lib/load.js";
import { Chip, Empty, Field, Problem } from "../lib/parts.js";
import { change } from "../lib/route.js";
import { mine, session } from "../lib/session.js";
import { Pager, Pairs, Table } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html } from "../lib/view.js";
import { metricsOf } from "./metrics.js";

const REFRESH_MS = 3000;
const SIZE = 100;
// A node that was not heard of for so long is worth a look.
const SILENCE_MS_MAX = 60_000;

const loadMetrics = async (signal) => metricsOf(await (await open("/metrics", { key: session.value.key, signal })).text());

export function Page({ params }) {
  const query = { connected: params.connected, page: params.page, size: SIZE };
  const nodes = useLoad((signal) => mine("/x-nodes", { query, signal }).then(({ data }) => data), [params.connected ?? "", params.page ?? ""]);
  const metrics = useLoad(loadMetrics, []);
  useTicks(() => {
    nodes.reload();
    metrics.reload();
  }, REFRESH_MS, true);
  return html`
    <${Problem} error=${nodes.error} />
    ${!nodes.data && nodes.loading && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${nodes.data && html`<${Nodes} data=${nodes.data} params=${params} />`}
    <${Here} metrics=${metrics} />`;
}

function stateOf(node) {
  if (!node.Connected) return ["bad", "fleet.away"];
  if (node.Rejections.length > 0) return ["warn", "fleet.rejects"];
  return node.Lag > 0 ? ["warn", "fleet.behind"] : ["good", "fleet.current"];
}

function State(node) {
  const [kind, text] = stateOf(node);
  return html`<${Chip} kind=${kind}>${t(text)}</${Chip}>`;
}

const seen = (node) => html`<span class=${`nowrap ${Date.now() - Date.parse(node.SeenAt) > SILENCE_MS_MAX ? "error-text" : ""}`}>${time(node.SeenAt)}</span>`;

const COLUMNS = [
  { name: "name", title: t("fleet.node"), text: true, cell: (node) => html`<bdi class="clip">${node.Name}</bdi>` },
  { name: "state", title: t("fleet.state"), cell: State },
  { name: "version", title: t("fleet.version"), cell: (node) => html`<bdi>${node.Version}</bdi>` },
  { name: "applied", title: t("fleet.applied"), num: true, cell: (node) => count(node.AppliedRevision) },
  { name: "lag", title: t("fleet.lag"), num: true, cell: (node) => count(node.Lag) },
  { name: "leases", title: t("fleet.leases"), num: true, cell: (node) => count(node.Leases) },
  { name: "leased", title: t("fleet.leased"), num: true, cell: (node) => money(node.Leased) },
  { name: "seen", title: t("fleet.seen"), cell: seen },
];

function Nodes({ data, params }) {
  const { Nodes: rows } = data;
  const sum = (value) => rows.reduce((total, node) => total + value(node), 0);
  const tile = (name, value) => html`<div class="tile"><span class="dim">${t(`fleet.${name}`)}</span><b>${value}</b></div>`;
  const shown = [["", t("any")], ["true", t("fleet.connected")], ["false", t("fleet.away")]];
  const pages = Math.ceil(data.Total / SIZE);
  const isFirst = data.Total === 0 && !params.connected;
  return html`
    <div class="tiles">
      ${tile("nodes", `${count(rows.filter((node) => node.Connected).length)} / ${count(data.Total)}`)}
      ${tile("revision", count(data.Revision))}
      ${tile("lag-most", count(Math.max(0, ...rows.filter((node) => node.Connected).map((node) => node.Lag))))}
      ${tile("leased-all", money(sum((node) => node.Leased)))}
    </div>
    <form class="card filters" aria-label=${t("filters")} onSubmit=${(event) => event.preventDefault()}>
      <${Field} label=${t("fleet.state")} options=${shown} value=${params.connected ?? ""} onChange=${(event) => change({ connected: event.target.value, page: "", open: "" })} />
    </form>
    ${rows.length === 0 && html`<${Empty} title=${t(isFirst ? "fleet.none" : "fleet.none-match")} text=${isFirst ? t("fleet.none.text") : ""} command=${isFirst ? START : undefined} />`}
    ${rows.length > 0 && html`<${Table} label=${t("fleet.title")} columns=${COLUMNS} rows=${rows} rowKey=${(node) => node.Name}
      open=${params.open} onOpen=${(name) => change({ open: params.open === name ? "" : name }, true)} detail=${(node) => html`<${Detail} node=${node} />`} />`}
    ${pages > 1 && html`<${Pager} page=${Number(params.page) || 1} pages=${pages} total=${count(data.Total)} onPage=${(page) => change({ page })} />`}`;
}

const START = "NODE_TOKEN=… CONTROL_GRPC=http://control:3444 CONTROL_HTTP=http://control:3443 proxyxai dataplane";

const Detail = ({ node }) => html`<div class="stack">
  <${Pairs} pairs=${[[t("fleet.epoch"), node.Epoch], [t("fleet.lag"), t("fleet.lag.text", { n: count(node.Lag), applied: count(node.AppliedRevision) })], [t("fleet.seen"), time(node.SeenAt)]]} />
  <b>${t("fleet.rejections")}</b>
  ${node.Rejections.length === 0
    ? html`<p class="small dim">${t("fleet.rejections.none")}</p>`
    : html`<ul class="plain">${node.Rejections.map((row) => html`<li class="wrap"><b>${row.Kind} <bdi>${row.Item}</bdi></b>: <bdi>${row.Problem}</bdi></li>`)}</ul>`}
</div>`;

const age = (value) => (value === undefined ? "–" : t("fleet.seconds", { n: count(value) }));

// What only the process that answers this page knows of itself.
function Here({ metrics }) {
  if (metrics.error) return html`<p class="note">${t("fleet.no-metrics", { problem: metrics.error.message })}</p>`;
  if (!metrics.data) return null;
  const { one, at } = metrics.data;
  const bound = one("proxyxai_overspend_bound_usd");
  const unbounded = one("proxyxai_unbounded_calls") ?? 0;
  return html`<section class="card stack" aria-label=${t("fleet.here")}>
    <h2>${t("fleet.here")}</h2>
    <p class="small dim">${t("fleet.here.text")}</p>
    <${Pairs} pairs=${[
      [t("fleet.open-calls"), count(one("proxyxai_open_calls") ?? 0)],
      [t("fleet.spool"), t("fleet.spool.text", { memory: count(at("proxyxai_spool_records", "place", "memory") ?? 0), disk: count(at("proxyxai_spool_records", "place", "disk") ?? 0) })],
      [t("fleet.spool-age"), age(one("proxyxai_spool_oldest_age_seconds") || undefined)],
      [t("fleet.bound"), bound === undefined ? t("fleet.no-bound", { n: count(unbounded) }) : money(bound)],
      [t("fleet.overspend"), money(one("proxyxai_overspend_usd") ?? 0)],
      [t("fleet.leased"), `${money(one("proxyxai_credit_leased_usd") ?? 0)} · ${t("fleet.held", { held: money(one("proxyxai_credit_held_usd") ?? 0), unposted: money(one("proxyxai_credit_unposted_usd") ?? 0) })}`],
      [t("fleet.revision"), `${count(one("proxyxai_config_revision") ?? 0)} · ${age(one("proxyxai_config_age_seconds"))}`],
      [t("fleet.silence"), age(one("proxyxai_control_silence_seconds"))],
    ]} />
  </section>`;
}

// Limits and alerts: how near the caller and those below it are to what stops them.

import { count, money, percent, time } from "../lib/format.js";
import { useLoad, useTicks } from "../lib/load.js";
import { Chip, Field, Problem } from "../lib/parts.js";
import { change, link } from "../lib/route.js";
import { mine, session } from "../lib/session.js";
import { Pager, Table } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html } from "../lib/view.js";
import { isNone } from "./account-fields.js";
import { Balance } from "./accounts.js";

const LOW = 3;
const ROWS = 50;
// Of whom the use of the month is asked one by one.
const DEAREST = 20;
const NEAR = [0.8, 1];
const REFRESH_MS = 10_000;
const WINDOWS = ["RPM", "RPH", "RPD", "TPM", "TPH", "TPD"];

const infoOf = async (user, signal) => (await mine("/x-info", { query: { user }, signal })).data;

async function dearest(signal) {
  const { data } = await mine("/x-bill", { query: { size: DEAREST }, signal });
  const found = await Promise.allSettled(data.usage_users.map(({ id }) => infoOf(id, signal)));
  const accounts = found.filter(({ status }) => status === "fulfilled").map(({ value }) => value);
  return accounts.filter((account) => account.HardLimit > 0).sort((one, other) => shareOf(other) - shareOf(one));
}

async function settings(signal) {
  if (!session.value.admin) return null;
  return (await mine("/x-config", { signal })).data.configs;
}

export function Page({ params }) {
  const own = useLoad((signal) => infoOf("", signal), []);
  const config = useLoad(settings, []);
  const month = useLoad(dearest, []);
  const alert = config.data?.EMAIL_BALANCE;
  const threshold = Number(params.low || alert || LOW);
  return html`
    <${Problem} error=${own.error} />
    ${own.loading && !own.data && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${own.data && !session.value.admin && html`<${Own} account=${own.data} threshold=${threshold} />`}
    ${config.data && html`<${Alerts} configs=${config.data} />`}
    <${Windows} params=${params} />
    <${Low} params=${params} threshold=${threshold} />
    <section class="stack"><h2>${t("limits.month")}</h2><p class="small dim">${t("limits.month.text", { n: DEAREST })}</p>
      <${Problem} error=${month.error} />
      ${month.data?.length === 0 && html`<p class="card dim">${t("limits.month.none")}</p>`}
      ${month.data?.length > 0 && html`<${Table} label=${t("limits.month")} columns=${MONTH} rows=${month.data} rowKey=${(row) => row.ID} />`}
    </section>`;
}

export const shareOf = (account) => (account.HardLimit > 0 ? account.MonthlyUsage.CreditUsed / account.HardLimit : 0);

export function Near({ share }) {
  const kind = share >= NEAR[1] ? "bad" : share >= NEAR[0] ? "warn" : "good";
  return html`<${Chip} kind=${kind}>${percent(share, 1)}</${Chip}>`;
}

const account = { name: "name", title: t("accounts.name"), text: true, cell: (row) => html`<a href=${link("accounts", { open: row.ID })}><bdi class="clip">${row.Name}</bdi></a>` };

const MONTH = [
  account,
  { name: "share", title: t("limits.reached"), num: true, cell: (row) => html`<${Near} share=${shareOf(row)} />` },
  { name: "month", title: t("limits.used"), num: true, cell: (row) => money(row.MonthlyUsage.CreditUsed) },
  { name: "hard", title: t("accounts.f.HardLimit"), num: true, cell: (row) => money(row.HardLimit) },
  { name: "soft", title: t("accounts.f.SoftLimit"), num: true, cell: (row) => (row.SoftLimit > 0 && row.MonthlyUsage.CreditUsed > row.SoftLimit ? html`<${Chip} kind="warn">${money(row.SoftLimit)}</${Chip}>` : money(row.SoftLimit)) },
  { name: "quota", title: t("accounts.f.AutoQuota"), num: true, cell: (row) => (row.AutoQuota > 0 ? `+${money(row.AutoQuota)}` : "–") },
];

function Own({ account: own, threshold }) {
  const windows = WINDOWS.filter((name) => !isNone({ name }, own[name]));
  const tile = (title, value, note) => html`<div class="tile"><span class="dim">${title}</span><b>${value}</b>${note && html`<span class="small">${note}</span>`}</div>`;
  return html`<section class="stack"><h2>${t("limits.own")}</h2>
    <div class="tiles">
      ${tile(t("accounts.balance"), money(own.Balance), own.Balance < threshold && html`<${Chip} kind="warn">${t("limits.low-chip")}</${Chip}>`)}
      ${tile(t("limits.used"), money(own.MonthlyUsage.CreditUsed), own.HardLimit > 0 && html`<${Near} share=${shareOf(own)} /> ${t("limits.of", { limit: money(own.HardLimit) })}`)}
      ${windows.map((name) => tile(t(`accounts.f.${name}`), count(own[name])))}
    </div>
    <p class="small dim">${t("limits.windows")}</p>
  </section>`;
}

const OPEN = [
  { name: "name", title: t("accounts.name"), text: true, cell: (row) => html`<a href=${link("accounts", { open: row.UserID })}><bdi class="clip">${row.Name}</bdi></a>${row.ClientKey && html` <bdi class="small dim clip">${row.ClientKey}</bdi>`}` },
  { name: "window", title: t("limits.window"), text: true, cell: (row) => html`<span class="nowrap">${t(`accounts.f.${row.Window}`)}</span>${row.Model && html` <bdi class="small dim clip">${row.Model}</bdi>`}` },
  { name: "share", title: t("limits.reached"), num: true, cell: (row) => html`<${Near} share=${row.Taken / row.Limit} />` },
  { name: "taken", title: t("limits.taken"), num: true, cell: (row) => count(row.Taken) },
  { name: "limit", title: t("limits.limit"), num: true, cell: (row) => count(row.Limit) },
  { name: "reset", title: t("limits.reset"), cell: (row) => html`<span class="nowrap">${time(row.ResetsAt)}</span>` },
];

// Windows of requests and tokens that something was taken of, nearest to their limit first.
function Windows({ params }) {
  const page = Math.max(1, Number(params.windows) || 1);
  const list = useLoad((signal) => mine("/x-windows", { query: { page, size: ROWS }, signal }), [page]);
  useTicks(list.reload, REFRESH_MS, true);
  const found = list.data;
  return html`<section class="stack"><h2>${t("limits.open")}</h2><p class="small dim">${t("limits.open.text")}</p>
    <${Problem} error=${list.error} />
    ${found?.total === 0 && html`<p class="card dim">${t("limits.open.none")}</p>`}
    ${found?.data.length > 0 && html`<${Table} label=${t("limits.open")} columns=${OPEN} rows=${found.data} rowKey=${(row) => `${row.UserID} ${row.ClientKey} ${row.Window} ${row.Model}`} />`}
    ${found?.total > ROWS && html`<${Pager} page=${page} pages=${Math.ceil(found.total / ROWS)} total=${count(found.total)} onPage=${(next) => change({ windows: next })} />`}
  </section>`;
}

const LOWS = [
  account,
  { name: "balance", title: t("accounts.balance"), num: true, cell: (row) => (row.Balance > 0 ? html`<${Chip} kind="warn">${money(row.Balance)}</${Chip}>` : html`<${Balance} account=${row} />`) },
  { name: "granted", title: t("accounts.used"), num: true, cell: (row) => money(row.CreditUsed) },
  { name: "expiry", title: t("limits.last-card"), cell: (row) => lastOf(row) },
  { name: "go", title: t("limits.next"), cell: (row) => html`<a href=${link("money", { user: row.ID })}>${t("money.grant")}</a>` },
];

function lastOf(row) {
  const last = row.CreditBalance.map((card) => card.expires_at).sort().at(-1);
  return last ? last.slice(0, 10) : "–";
}

// The lowest balances first; sorting alone is no filter, so a listing costs its caller something, root aside.
function Low({ params, threshold }) {
  const isWanted = session.value.admin || params.all === "1";
  const list = useLoad(async (signal) => (isWanted ? (await mine("/x-dna", { query: { order: "balance", size: ROWS }, signal })).data : null), [isWanted]);
  const rows = (list.data ?? []).filter((row) => row.Balance < threshold);
  return html`<section class="stack"><h2>${t("limits.low")}</h2>
    <div class="filters"><${Field} label=${t("limits.threshold")} type="number" min="0" step="any" value=${threshold} onChange=${(event) => change({ low: event.target.value })} /></div>
    <${Problem} error=${list.error} />
    ${!isWanted && html`<div class="card row between"><span>${t(session.value.manage ? "accounts.ask.text" : "accounts.unmanaged")}</span>
      ${session.value.manage && html`<button type="button" onClick=${() => change({ all: "1" })}>${t("accounts.ask.go")}</button>`}</div>`}
    ${list.loading && isWanted && !list.data && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${list.data && rows.length === 0 && html`<p class="card dim">${t("limits.low.none", { low: money(threshold) })}</p>`}
    ${rows.length > 0 && html`<${Table} label=${t("limits.low")} columns=${LOWS} rows=${rows} rowKey=${(row) => row.ID} loading=${list.loading} />`}
    ${rows.length === ROWS && html`<p class="small dim">${t("limits.low.more", { n: ROWS })}</p>`}
  </section>`;
}

function Alerts({ configs }) {
  const isOn = Boolean(configs.EMAIL_SMTP);
  return html`<section class=${`note ${isOn ? "good" : "warn"} stack`}>
    <p>${isOn ? t("limits.mail.on", { low: money(Number(configs.EMAIL_BALANCE ?? LOW)) }) : t("limits.mail.off")}</p>
    <p><a href=${link("settings", { search: "EMAIL" })}>${t("limits.mail.settings")}</a></p>
  </section>`;
}

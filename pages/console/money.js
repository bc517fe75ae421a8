// The money of one account: its cards, what can be done with them, and the ledger beside it.

import { money, time } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Chip, Empty, Problem, Search } from "../lib/parts.js";
import { change, link } from "../lib/route.js";
import { mine, session } from "../lib/session.js";
import { Table } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html } from "../lib/view.js";
import { Ledger } from "./money-ledger.js";
import { Moves } from "./money-moves.js";

const SOON_MS = 14 * 86_400_000;

function Expiry({ card }) {
  const left = new Date(card.expires_at) - Date.now();
  const days = Math.max(0, Math.ceil(left / 86_400_000));
  return html`<span class="nowrap">${time(card.expires_at)}</span> <${Chip} kind=${left < SOON_MS ? "warn" : ""}>${t("money.days-left", { n: days })}</${Chip}>`;
}

const CARDS = [
  { name: "balance", title: t("money.left"), num: true, cell: (card) => money(card.balance) },
  { name: "amount", title: t("money.granted"), num: true, cell: (card) => money(card.amount) },
  { name: "expires", title: t("money.expires"), cell: (card) => html`<${Expiry} card=${card} />` },
  { name: "granted", title: t("money.granted-at"), cell: (card) => html`<span class="nowrap">${time(card.granted_at)}</span>` },
  { name: "reference", title: t("money.reference"), text: true, cell: (card) => html`<bdi class="clip">${card.reference || "–"}</bdi>` },
];

export function Page({ params }) {
  const user = params.user || String(session.value.id);
  const found = useLoad((signal) => mine("/x-info", { query: { user }, signal }).then(({ data }) => data), [user]);
  const account = found.data;
  const round = `${account?.UpdatedAt} ${account?.Balance}`;
  return html`
    <form class="card filters" aria-label=${t("filters")} onSubmit=${(event) => event.preventDefault()}>
      <${Search} label=${t("money.account")} placeholder=${t("money.account.hint")} value=${params.user ?? ""} onSearch=${(value) => change({ user: value, page: "" })} />
      ${params.user && html`<div class="row"><button type="button" onClick=${() => change({ user: "", page: "" })}>${t("money.own")}</button></div>`}
    </form>
    <${Problem} error=${found.error} />
    ${found.loading && !account && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${account && html`
      <div class="row between"><h2 class="wrap"><a href=${link("accounts", { open: account.ID, all: "" })}><bdi>${account.Name}</bdi></a></h2><span class="dim small">ID ${account.ID}</span></div>
      <${Sums} account=${account} />
      <${Cards} account=${account} />
      <${Moves} key=${account.ID} account=${account} onMoved=${found.reload} />
      <${Ledger} params=${params} user=${account.ID} round=${round} />`}`;
}

// A debt is on no card.
export const debtOf = (account) => Math.max(0, account.CreditBalance.reduce((sum, card) => sum + card.balance, 0) - account.Balance);

function Sums({ account }) {
  const debt = debtOf(account);
  const tile = (title, value) => html`<div class="tile"><span class="dim">${title}</span><b>${value}</b></div>`;
  return html`<div class="tiles">
      ${tile(t("money.balance"), account.ID === 1 ? "–" : money(account.Balance))}
      ${debt > 1e-9 && tile(t("money.debt"), money(-debt))}
      ${tile(t("money.today"), money(account.DailyUsage.CreditUsed))}
      ${tile(t("money.month"), money(account.MonthlyUsage.CreditUsed))}
      ${tile(t("money.used"), money(account.CreditUsed))}
    </div>
    ${account.Rates !== 1 && html`<p class="small dim">${t("money.units", { rates: account.Rates, worth: money(account.Balance / account.Rates) })}</p>`}`;
}

function Cards({ account }) {
  if (account.ID === 1) return html`<p class="note">${t("money.root")}</p>`;
  if (account.CreditBalance.length === 0) return html`<${Empty} title=${t("money.no-cards")} text=${t("money.no-cards.text")} />`;
  const soonest = [...account.CreditBalance].sort((one, other) => new Date(one.expires_at) - new Date(other.expires_at));
  return html`<section class="stack"><h3>${t("money.cards")}</h3>
    <${Table} label=${t("money.cards")} columns=${CARDS} rows=${soonest} rowKey=${(card) => `${card.granted_at} ${card.expires_at} ${card.reference} ${card.amount}`} />
  </section>`;
}

// Balances: keys out of any pasted text, one row each. Nobody signs in; each row is asked for with its own key.

import { ask } from "../lib/api.js";
import { compact, day, money } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Check, Empty, Field, Problem } from "../lib/parts.js";
import { Foot, TopBar } from "../lib/shell.js";
import { secret } from "../lib/store.js";
import { Pairs, Table } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html, render, useEffect, useState } from "../lib/view.js";
import { Days } from "./days.js";
import { keysIn, masked } from "./keys.js";

const KEPT = "billing-keys";
const KEYS_MAX = 200;
const AT_ONCE = 4;
const BILL_DAYS = 30;
// A limit of so many requests a minute, or more, is none.
const WIDE = 6_666_666;

// Asks for all, a few at a time; each answer, or what was wrong, is told as it comes.
async function look(keys, tell) {
  const queue = [...keys];
  const worker = async () => {
    for (let key; (key = queue.shift()); ) {
      try {
        tell(key, { info: (await ask("/dashboard/info", { key })).data, error: null, loading: false });
      } catch (error) {
        tell(key, { error, loading: false });
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

function kept() {
  const keys = secret.get(KEPT);
  return keys ? keys.split("\n") : [];
}

function Billing() {
  const [keys, setKeys] = useState(kept);
  const [rows, setRows] = useState({});
  const [open, setOpen] = useState(null);
  const tell = (key, patch) => setRows((before) => ({ ...before, [key]: { ...before[key], ...patch } }));
  const ask = (list) => {
    setKeys(list);
    setRows((before) => Object.fromEntries(list.map((key) => [key, { ...before[key], loading: true }])));
    look(list, tell);
  };
  useEffect(() => {
    if (keys.length > 0) ask(keys);
  }, []);
  const forget = () => {
    secret.clear(KEPT);
    setKeys([]);
    setRows({});
  };
  return html`<div class="stack"><h1>${t("billing.title")}</h1><p class="dim">${t("billing.text")}</p></div>
    <${Ask} keys=${keys} onAsk=${ask} onForget=${forget} />
    ${keys.length === 0 && html`<${Empty} title=${t("billing.none")} text=${t("billing.none-text")} />`}
    ${keys.length > 1 && html`<${Sum} infos=${keys.map((key) => rows[key]?.info).filter(Boolean)} />`}
    ${keys.length > 0 && html`<${Table} label=${t("billing.title")} columns=${COLUMNS} rows=${keys.map((key) => ({ key, ...rows[key] }))} rowKey=${(row) => row.key}
      open=${open ?? (keys.length === 1 ? keys[0] : null)} onOpen=${(key) => setOpen(open === key || (open === null && keys.length === 1) ? "" : key)} detail=${(row) => html`<${Detail} ...${row} apiKey=${row.key} />`} />`}`;
}

function Ask({ keys, onAsk, onForget }) {
  const [text, setText] = useState("");
  const [remember, setRemember] = useState(secret.remembered(KEPT));
  const [error, setError] = useState("");
  const keep = (list, wanted) => secret.set(KEPT, list.join("\n"), wanted);
  const add = (event) => {
    event.preventDefault();
    const found = keysIn(text);
    if (text.trim() && found.length === 0) return setError(t("billing.no-key"));
    const list = [...new Set([...found, ...keys])];
    if (list.length > KEYS_MAX) return setError(t("billing.too-many", { most: KEYS_MAX }));
    setError("");
    setText("");
    keep(list, remember);
    return onAsk(list);
  };
  const turn = (event) => {
    setRemember(event.target.checked);
    if (keys.length > 0) keep(keys, event.target.checked);
  };
  return html`<form class="card stack" onSubmit=${add}>
    <${Field} label=${t("billing.keys")} hint=${t("billing.hint")} error=${error} rows="3" class="mono" spellcheck=${false} autocomplete="off" value=${text} placeholder="sk-Xvs…" onInput=${(event) => setText(event.target.value)} />
    <${Check} label=${t("sign-in.remember")} checked=${remember} onChange=${turn} />
    <div class="row"><button class="main" disabled=${!text.trim() && keys.length === 0}>${t(text.trim() || keys.length === 0 ? "billing.ask" : "billing.again")}</button>
      ${keys.length > 0 && html`<button type="button" onClick=${onForget}>${t("billing.forget")}</button>`}</div>
  </form>`;
}

// Keys of one account share its balance: it counts once.
function Sum({ infos: all }) {
  const infos = [...new Map(all.map((info) => [info.id, info])).values()];
  const sum = (number) => money(infos.reduce((total, info) => total + number(info), 0));
  const tile = (name, text) => html`<div class="tile"><span class="dim">${t(name)}</span><b>${text}</b></div>`;
  return html`<div class="tiles">${tile("billing.balance-all", sum((info) => info.balance))}${tile("billing.today", sum((info) => info.daily_usage.CreditUsed))}${tile("billing.month", sum((info) => info.monthly_usage.CreditUsed))}</div>`;
}

// What is left for the calls of a key: of its account's balance, and of its own limit where it has one.
function leftOf({ balance, client_key: own }) {
  return own?.CreditLimit > 0 ? Math.max(0, Math.min(balance, own.CreditLimit - own.CreditUsed)) : balance;
}

function usedBy({ CreditUsed, CreditLimit }) {
  const used = money(CreditUsed);
  return CreditLimit > 0 ? t("billing.limit-of", { used, limit: money(CreditLimit) }) : used;
}

// Until when a key is good: its own end, or that of the credit which ends first.
function untilOf({ credit_balance: cards, client_key: own }) {
  const ends = [...cards.map((card) => card.expires_at), own?.ExpiresAt].filter(Boolean);
  return ends.length > 0 ? day(ends.sort((one, other) => Date.parse(one) - Date.parse(other))[0]) : "–";
}

const Name = ({ info }) => (info.client_key
  ? html`<bdi class="clip">${info.client_key.Name}</bdi><div class="small dim"><bdi>${info.name}</bdi> · ${t("billing.key-used", { used: usedBy(info.client_key) })}</div>`
  : html`<bdi class="clip">${info.name}</bdi>`);

// What an account used by day is not known of one of its further keys.
const ofAccount = (show) => filled((info) => (info.client_key ? "–" : show(info)));
const filled = (show) => ({ info }) => (info ? show(info) : "");
const COLUMNS = [
  { name: "key", title: t("billing.key"), cell: ({ key }) => html`<code class="nowrap">${masked(key)}</code>` },
  { name: "name", title: t("billing.name"), text: true, cell: ({ info, error, loading }) => (error ? html`<span class="error-text">${error.message}</span>`
    : info ? html`<${Name} info=${info} />` : loading && html`<span class="dim">${t("loading")}</span>`) },
  { name: "balance", title: t("billing.balance"), num: true, cell: filled((info) => html`<b>${money(leftOf(info))}</b>`) },
  { name: "today", title: t("billing.today"), num: true, cell: ofAccount((info) => money(info.daily_usage.CreditUsed)) },
  { name: "month", title: t("billing.month"), num: true, cell: ofAccount((info) => money(info.monthly_usage.CreditUsed)) },
  { name: "requests", title: t("billing.requests"), num: true, cell: ofAccount((info) => compact(info.monthly_usage.Requests)) },
  { name: "until", title: t("billing.until"), num: true, cell: filled(untilOf) },
];

function Detail({ apiKey, info, error }) {
  if (error) return html`<${Problem} error=${error} />`;
  if (!info) return html`<p class="dim">${t("loading")}</p>`;
  // The console takes the key that this tab holds.
  const enter = () => secret.set("key", apiKey, false);
  const rate = (number, wide) => (number >= wide ? t("billing.unlimited") : compact(number));
  const own = info.client_key;
  return html`<div class="stack wide">
    ${own && html`<p>${t("billing.of-account", { name: info.name })}</p>`}
    <${Pairs} pairs=${[
      own && [t("billing.own-used"), usedBy(own)],
      own?.RPM > 0 && [t("billing.own-rpm"), compact(own.RPM)],
      [t("billing.mail"), html`<bdi>${info.email}</bdi>`],
      [t("billing.limit"), info.hard_limit > 0 ? t("billing.limit-of", { used: money(info.monthly_usage.CreditUsed), limit: money(info.hard_limit) }) : t("billing.unlimited")],
      [t("billing.rpm"), rate(info.rpm, WIDE)],
      [t("billing.tpm"), rate(info.tpm, 1000 * WIDE)],
      [t("billing.used"), money(info.credit_used)],
    ]} />
    <${Cards} cards=${info.credit_balance} />
    <${Spend} apiKey=${apiKey} />
    <div class="row">${own ? html`<a class="button" href="../console/#playground" onClick=${enter}>${t("playground.title")}</a>`
      : html`<a class="button" href="../console/#calls" onClick=${enter}>${t("billing.calls")}</a>`}</div>
  </div>`;
}

function Cards({ cards }) {
  if (cards.length === 0) return html`<p class="dim">${t("billing.no-cards")}</p>`;
  const row = (card) => html`<tr><td class="num">${money(card.balance)}</td><td class="num">${money(card.amount)}</td><td>${day(card.expires_at)}</td><td class="text">${card.reference}</td></tr>`;
  return html`<div class="card flush"><div class="table" role="region" tabindex="0" aria-label=${t("billing.cards")}><table>
    <thead><tr><th scope="col" class="num">${t("billing.card-left")}</th><th scope="col" class="num">${t("billing.card-of")}</th><th scope="col">${t("billing.until")}</th><th scope="col">${t("billing.reference")}</th></tr></thead>
    <tbody>${cards.map(row)}</tbody></table></div></div>`;
}

function Spend({ apiKey }) {
  const bill = useLoad((signal) => ask("/dashboard/bill", { key: apiKey, query: { days: BILL_DAYS }, signal }).then(({ data }) => data), [apiKey]);
  if (bill.error) return html`<${Problem} error=${bill.error} />`;
  if (!bill.data) return html`<p class="dim" role="status">${t("loading")}</p>`;
  return html`<${Days} bill=${bill.data} days=${BILL_DAYS} />`;
}

const Page = () => html`<${TopBar}><a class="button quiet" href="../docs/">${t("docs")}</a></${TopBar}>
  <div class="frame"><main id="main" tabindex="-1"><div class="narrow broad stack wide"><${Billing} /></div></main></div>
  <${Foot} />`;

document.title = `${t("billing.title")} · ProxyXAI`;
render(html`<${Page} />`, document.body);

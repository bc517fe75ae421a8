// Top up, deduct, transfer: each says what will move before it does.

import { money } from "../lib/format.js";
import { Field, Problem, tell } from "../lib/parts.js";
import { mine, refresh, session } from "../lib/session.js";
import { t } from "../lib/text.js";
import { html, useState } from "../lib/view.js";

const DEEDS = ["grant", "deduct", "transfer"];
// What deducting costs whoever does it; root pays nothing.
const FEE = 0.2;

const put = (id, body) => mine(`/x-users/${id}`, { method: "PUT", body });

// Amounts are nano-dollars at the finest; what a rate makes beyond them is nobody's.
const nanos = (amount) => Math.floor(amount * 1e9 + 1e-6) / 1e9;

export function Moves({ account, onMoved }) {
  const [deed, setDeed] = useState("grant");
  if (account.ID === session.value.id) return !session.value.admin && html`<p class="small dim">${t("money.not-own")}</p>`;
  if (!session.value.manage && !session.value.admin) return html`<p class="small dim">${t("accounts.unmanaged")}</p>`;
  return html`<section class="card stack"><h3>${t("money.move")}</h3>
    <div class="row" role="group" aria-label=${t("money.move")}>
      ${DEEDS.map((name) => html`<button type="button" key=${name} aria-pressed=${deed === name} onClick=${() => setDeed(name)}>${t(`money.${name}`)}</button>`)}
    </div>
    <${Form} deed=${deed} account=${account} onMoved=${onMoved} />
  </section>`;
}

const number = (text) => (text.trim() === "" ? NaN : Number(text.trim().replace(/^\$/, "")));

async function receiver(text) {
  const { data } = await mine("/x-info", { query: { user: text } });
  return data;
}

// Takes from one and gives to the other. Where the second step fails the credit is with the caller, and the words say so.
async function transfer(account, amount, days, to) {
  await put(account.ID, { CreditGranted: -amount });
  const given = nanos((amount / account.Rates) * to.Rates);
  try {
    await put(to.ID, { CreditGranted: given, ...(days !== undefined && { Days: days }) });
  } catch (error) {
    throw new Error(t("money.half", { amount: money(amount), name: to.Name, why: error.message }));
  }
}

function question(deed, account, amount, to) {
  const worth = account.Rates === 1 ? "" : ` ${t("money.worth", { worth: money(amount / account.Rates) })}`;
  const fee = session.value.admin || deed === "grant" ? "" : ` ${t("money.fee", { fee: money(FEE) })}`;
  return t(`money.${deed}.ask`, { amount: money(amount), name: account.Name, to: to?.Name ?? "" }) + worth + fee;
}

function Form({ deed, account, onMoved }) {
  const [form, setForm] = useState({ amount: "", days: "", to: "" });
  const [wrong, setWrong] = useState({});
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const days = form.days.trim() === "" ? undefined : Number(form.days);
  const run = async () => {
    const amount = nanos(number(form.amount));
    if (!(amount > 0)) return setWrong({ amount: t("money.bad-amount") });
    if (days !== undefined && !(days >= 0 && days <= 365)) return setWrong({ days: t("money.bad-days") });
    let to;
    if (deed === "transfer") {
      try {
        to = await receiver(form.to.trim());
      } catch (error) {
        return setWrong({ to: error.message });
      }
      if (to.ID === account.ID) return setWrong({ to: t("money.same") });
    }
    if (!confirm(question(deed, account, amount, to))) return undefined;
    if (deed === "transfer") await transfer(account, amount, days, to);
    else await put(account.ID, deed === "grant" ? { CreditGranted: amount, ...(days !== undefined && { Days: days }) } : { CreditGranted: -amount });
    setForm({ amount: "", days: "", to: "" });
    tell(t("money.moved"));
    return refresh();
  };
  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    setWrong({});
    setProblem(null);
    try {
      await run();
    } catch (error) {
      const name = { CreditGranted: "amount", Days: "days" }[error.param];
      if (name) setWrong({ [name]: error.message });
      else setProblem(error);
    }
    setBusy(false);
    onMoved();
  };
  return html`<form class="stack" onSubmit=${send} novalidate>
    <div class="fields">
      <${Field} label=${t(account.Rates === 1 ? "money.amount" : "money.amount-units")} inputmode="decimal" autocomplete="off" required value=${form.amount} error=${wrong.amount} onInput=${set("amount")} />
      ${deed === "transfer" && html`<${Field} label=${t("money.to")} required value=${form.to} error=${wrong.to} placeholder=${t("money.account.hint")} onInput=${set("to")} />`}
      ${deed !== "deduct" && html`<${Field} label=${t("money.days")} inputmode="numeric" placeholder="365" value=${form.days} error=${wrong.days} onInput=${set("days")} />`}
    </div>
    <p class="small dim">${t(`money.${deed}.text`)} ${deed !== "grant" && (session.value.admin ? "" : t("money.fee", { fee: money(FEE) }))}</p>
    <${Problem} error=${problem} />
    <div class="row"><button class=${deed === "deduct" ? "bad" : "main"} disabled=${busy || !form.amount.trim() || (deed === "transfer" && !form.to.trim())}>${t(`money.${deed}`)}</button></div>
  </form>`;
}

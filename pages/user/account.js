// One sub-account in a drawer: what it has, credit in and out, its fields, and its end.

import { asText, changes, FIELDS as ALL } from "../console/account-fields.js";
import { AccountFields, bodyOf, isAbout } from "../lib/account-form.js";
import { Dialog } from "../lib/dialog.js";
import { count, day, money } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Action, Chip, Field, Problem, Secret, tell } from "../lib/parts.js";
import { mayRotate, rotate } from "../lib/rotate.js";
import { mine, refresh, session } from "../lib/session.js";
import { Pairs } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html, useState } from "../lib/view.js";

const FIELDS = ["Name", "Email", "Alias", "BillingEmail", "Rates", "HardLimit", "SoftLimit", "RPM", "TPM", "RPD", "TPD", "Level", "ChildLimit", "AllowModels", "AllowIPs"];
// What takes credit back costs this much.
const FEE = 0.2;

const put = (id, body) => mine(`/x-users/${id}`, { method: "PUT", body }).then(({ data }) => data);
const renew = () => refresh().catch(() => {});

export function Account({ id, onPut, onDrop, onClose }) {
  const account = useLoad((signal) => mine("/x-info", { query: { user: id }, signal }).then(({ data }) => data), [id]);
  const shown = account.data;
  const [secret, setSecret] = useState("");
  // After a change the drawer and the row in the list are what the gateway has now.
  const changed = async () => {
    renew();
    const { data } = await mine("/x-info", { query: { user: id } });
    account.set(data);
    onPut(data.ID, data);
  };
  return html`<${Dialog} drawer title=${shown?.Name ?? t("loading")} onClose=${onClose}>
    <${Problem} error=${account.error} />
    ${secret && html`<div class="stack"><p>${t("accounts.new-key")}</p><${Secret} text=${secret} /></div>`}
    ${shown && html`<${Facts} account=${shown} onSecret=${setSecret} onChanged=${changed} />
      <${Credit} account=${shown} onChanged=${changed} />
      <${Edit} account=${shown} onChanged=${changed} />
      <${End} account=${shown} onChanged=${changed} onDrop=${() => { onDrop(shown.ID); onClose(); }} />`}
  </${Dialog}>`;
}

export const State = ({ account }) => html`<${Chip} kind=${account.Status && !account.Suspended ? "good" : "bad"}>${t(account.Suspended ? "user.suspended" : account.Status ? "user.on" : "user.off")}</${Chip}>`;

function Facts({ account, onSecret, onChanged }) {
  const renewKey = async () => {
    onSecret(await rotate({ id: account.ID, name: account.Name }));
    await onChanged();
  };
  const sure = t("accounts.rotate.ask", { name: account.Name.slice(0, 80) });
  const cards = account.CreditBalance.filter((card) => card.balance > 0).map((card) => t("user.card", { left: money(card.balance), until: day(card.expires_at) })).join(" · ");
  return html`<${Pairs} pairs=${[
    [t("user.state"), html`<${State} account=${account} />`],
    [t("user.mail"), html`<bdi>${account.Email}</bdi>`],
    [t("user.key"), html`<span class="row"><code>…${account.PartialKey.slice(-6)}</code>${mayRotate(account.ID) && html`<${Action} label=${t("accounts.rotate")} confirm=${sure} run=${renewKey} />`}</span>`],
    [t("user.credit"), money(account.Balance)],
    cards && [t("user.cards"), cards],
    [t("user.used"), `${money(account.CreditUsed)} · ${t("user.month", { used: money(account.MonthlyUsage.CreditUsed), n: count(account.MonthlyUsage.Requests) })}`],
    [t("user.children"), count(account.Child)],
  ]} />`;
}

// === credit ===

function Credit({ account, onChanged }) {
  const [amount, setAmount] = useState("");
  const [days, setDays] = useState("");
  const [error, setError] = useState(null);
  const number = Number(amount);
  const isGood = number > 0;
  const move = async (sign) => {
    const fee = sign < 0 && !session.value.admin ? ` ${t("user.fee", { fee: money(FEE) })}` : "";
    if (!confirm(t(sign > 0 ? "user.recharge-sure" : "user.deduct-sure", { amount: money(number), name: account.Name.slice(0, 80) }) + fee)) return;
    setError(null);
    try {
      await put(account.ID, { CreditGranted: sign * number, ...(sign > 0 && days.trim() ? bodyOf({ Days: days }, ["Days"]) : {}) });
    } catch (problem) {
      setError(problem);
      return;
    }
    setAmount("");
    tell(t(sign > 0 ? "user.recharged" : "user.deducted", { amount: money(number) }));
    await onChanged();
  };
  return html`<section class="stack"><h3>${t("user.money")}</h3>
    <div class="fields"><${Field} label=${t("user.amount")} inputmode="decimal" autocomplete="off" value=${amount} onInput=${(event) => setAmount(event.target.value.trim())}
        error=${amount && !isGood ? t("user.amount-wrong") : ""} />
      <${Field} label=${t("hand-out.field.Days")} inputmode="numeric" autocomplete="off" placeholder="365" value=${days} onInput=${(event) => setDays(event.target.value)} /></div>
    <${Problem} error=${error} />
    <div class="row"><${Action} label=${t("user.recharge")} kind="main" disabled=${!isGood} run=${() => move(1)} />
      <${Action} label=${t("user.deduct")} disabled=${!isGood} run=${() => move(-1)} /></div>
  </section>`;
}

// === fields ===

const BY_NAME = Object.fromEntries(ALL.filter(({ name }) => FIELDS.includes(name)).map((field) => [field.name, field]));

function Edit({ account, onChanged }) {
  // What was typed alone is kept, so that it outlives a change of the rest, as a top-up.
  const [typed, setTyped] = useState({});
  const form = { ...Object.fromEntries(FIELDS.map((name) => [name, asText(BY_NAME[name], account[name])])), ...typed };
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const { bodies, wrong } = changes(account, typed);
  const [first] = Object.keys(wrong);
  const save = async (event) => {
    event.preventDefault();
    if (first) return setError({ param: first, message: t(`accounts.bad.${wrong[first]}`) });
    setBusy(true);
    setError(null);
    try {
      for (const body of bodies) await put(account.ID, body);
      tell(t("user.saved"));
      await onChanged();
      setTyped({});
    } catch (problem) {
      setError(problem);
    }
    return setBusy(false);
  };
  return html`<form class="stack" onSubmit=${save}><h3>${t("user.fields")}</h3>
    <div class="fields"><${AccountFields} names=${FIELDS} form=${form} error=${error} hints=${HINTS} onChange=${(name, text) => setTyped((before) => ({ ...before, [name]: text }))} /></div>
    ${error && !isAbout(error, FIELDS) && html`<${Problem} error=${error} />`}
    <div class="row"><button class="main" disabled=${(bodies.length === 0 && !first) || busy} aria-busy=${busy}>${t("user.save")}</button></div>
  </form>`;
}

// Hints that are about creating say nothing here.
const WINDOW = t("accounts.hint.window");
const HINTS = { Name: "", RPM: WINDOW, TPM: WINDOW, RPD: WINDOW, TPD: WINDOW, HardLimit: t("user.hint.HardLimit"), Rates: t("user.hint.Rates"), Level: "0–10", AllowModels: t("user.hint.list"), AllowIPs: t("user.hint.list") };

// === its end ===

function End({ account, onChanged, onDrop }) {
  const { admin } = session.value;
  const turn = async () => {
    await put(account.ID, { Status: !account.Status });
    await onChanged();
  };
  const remove = async () => {
    const { data } = await mine(`/x-users/${account.ID}`, { method: "DELETE" });
    tell(t(data.Pending > 0 ? "user.deleted-pending" : "user.deleted", { refund: money(data.Refund), pending: money(data.Pending) }));
    renew();
    onDrop();
  };
  const sure = `${t("user.delete-sure", { name: account.Name.slice(0, 80), balance: money(account.Balance) })}${admin ? "" : ` ${t("user.fee", { fee: money(FEE) })}`}`;
  return html`<section class="stack"><h3>${t("user.end")}</h3><p class="small dim">${t("user.end-text")}</p>
    <div class="row"><${Action} label=${t(account.Status ? "user.turn-off" : "user.turn-on")} run=${turn} confirm=${account.Status ? t("user.turn-off-sure", { name: account.Name.slice(0, 80) }) : ""} />
      <${Action} label=${t("user.delete")} kind="bad" confirm=${sure} run=${remove} /></div>
  </section>`;
}

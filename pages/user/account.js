// One sub-account in a drawer: what it has, credit in and out, its fields, and its end.

import { AccountFields, bodyOf, isAbout } from "../lib/account-form.js";
import { Dialog } from "../lib/dialog.js";
import { count, day, money } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Action, Chip, Field, Problem, tell } from "../lib/parts.js";
import { mine, refresh, session } from "../lib/session.js";
import { Pairs } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html, useState } from "../lib/view.js";

const FIELDS = ["Name", "Email", "Alias", "BillingEmail", "Rates", "HardLimit", "SoftLimit", "RPM", "TPM", "RPD", "TPD", "Level", "ChildLimit", "AllowModels", "AllowIPs"];
// What takes credit back costs this much.
const FEE = 0.2;
const LISTS = ["AllowModels", "AllowIPs"];

const put = (id, body) => mine(`/x-users/${id}`, { method: "PUT", body }).then(({ data }) => data);
const renew = () => refresh().catch(() => {});

export function Account({ id, onPut, onDrop, onClose }) {
  const account = useLoad((signal) => mine("/x-info", { query: { user: id }, signal }).then(({ data }) => data), [id]);
  const shown = account.data;
  // After a change the drawer and the row in the list are what the gateway has now.
  const changed = async () => {
    renew();
    const { data } = await mine("/x-info", { query: { user: id } });
    account.set(data);
    onPut(data.ID, data);
  };
  return html`<${Dialog} drawer title=${shown?.Name ?? t("loading")} onClose=${onClose}>
    <${Problem} error=${account.error} />
    ${shown && html`<${Facts} account=${shown} />
      <${Credit} account=${shown} onChanged=${changed} />
      <${Edit} key=${shown.UpdatedAt} account=${shown} onChanged=${changed} />
      <${End} account=${shown} onChanged=${changed} onDrop=${() => { onDrop(shown.ID); onClose(); }} />`}
  </${Dialog}>`;
}

function Facts({ account }) {
  const cards = account.CreditBalance.map((card) => t("user.card", { left: money(card.balance), until: day(card.expires_at) })).join(" · ");
  return html`<${Pairs} pairs=${[
    [t("user.state"), html`<${Chip} kind=${account.Status && !account.Suspended ? "good" : "bad"}>${t(account.Suspended ? "user.suspended" : account.Status ? "user.on" : "user.off")}</${Chip}>`],
    [t("user.mail"), html`<bdi>${account.Email}</bdi>`],
    [t("user.key"), html`<code>…${account.PartialKey.slice(-6)}</code>`],
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

const textOf = (account, name) => String(account[name] ?? "");

const entries = (text) => text.split(/[,\s]+/).filter((entry) => entry !== "");

// The edits that turn one list into another: the gateway takes values to add, or values to remove, `*` for all and `-*` for
// none. What is new is added before the rest goes, so that the list is never empty on the way.
export function edits(before, after) {
  const wanted = entries(after);
  if (wanted.includes("*")) return ["*"];
  if (wanted.length === 0) return ["-*"];
  const had = entries(before).filter((entry) => entry !== "*");
  const added = wanted.filter((entry) => !had.includes(entry));
  const gone = had.filter((entry) => !wanted.includes(entry));
  return [added.join(","), gone.length > 0 ? `-${gone.join(",")}` : ""].filter(Boolean);
}

// The bodies to send one after another: what was changed, and what of lists takes a second edit.
export function changesOf(account, form) {
  const names = FIELDS.filter((name) => (form[name] ?? "") !== textOf(account, name));
  const bodies = [{}, {}];
  for (const name of names) {
    if (LISTS.includes(name)) edits(textOf(account, name), form[name]).forEach((edit, at) => (bodies[at][name] = edit));
    else if (form[name].trim() === "") bodies[0][name] = "";
    else Object.assign(bodies[0], bodyOf(form, [name]));
  }
  return bodies.filter((body) => Object.keys(body).length > 0);
}

function Edit({ account, onChanged }) {
  const [form, setForm] = useState(Object.fromEntries(FIELDS.map((name) => [name, textOf(account, name)])));
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const bodies = changesOf(account, form);
  const save = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      for (const body of bodies) await put(account.ID, body);
      tell(t("user.saved"));
      await onChanged();
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  return html`<form class="stack" onSubmit=${save}><h3>${t("user.fields")}</h3>
    <div class="fields"><${AccountFields} names=${FIELDS} form=${form} error=${error} hints=${HINTS} onChange=${(name, text) => setForm((before) => ({ ...before, [name]: text }))} /></div>
    ${error && !isAbout(error, FIELDS) && html`<${Problem} error=${error} />`}
    <div class="row"><button class="main" disabled=${bodies.length === 0 || busy} aria-busy=${busy}>${t("user.save")}</button></div>
  </form>`;
}

// Hints that are about creating say nothing here.
const HINTS = { Name: "", HardLimit: t("user.hint.HardLimit"), Rates: t("user.hint.Rates"), Level: "0–10", AllowModels: t("user.hint.list"), AllowIPs: t("user.hint.list") };

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

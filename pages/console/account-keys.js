// The further client keys of an account: made with their secret shown once, switched off and on, deleted.

import { count, money, time } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Action, Chip, Field, Problem, Secret } from "../lib/parts.js";
import { mine } from "../lib/session.js";
import { t } from "../lib/text.js";
import { html, useState } from "../lib/view.js";
import { fieldOf } from "./account-fields.js";

const BLANK = { Name: "", Days: "", CreditLimit: "", RPM: "", AllowModels: "" };
const NUMBERS = ["Days", "CreditLimit", "RPM"];

const pathOf = (account, key) => `/x-users/${account.ID}/keys${key ? `/${key.ID}` : ""}`;

export function Keys({ account }) {
  const keys = useLoad((signal) => mine(pathOf(account), { signal }).then(({ data }) => data), [account.ID, account.UpdatedAt]);
  const [made, setMade] = useState(null);
  const [open, setOpen] = useState(false);
  const onMade = (key) => {
    setMade(key);
    setOpen(false);
    keys.reload();
  };
  return html`<section class="stack"><h3>${t("client-keys.title")}</h3>
    <p class="small dim">${t("client-keys.text")}</p>
    <${Problem} error=${keys.error} />
    ${made && html`<div class="stack" role="status"><p>${t("client-keys.made", { name: made.Name })}</p><${Secret} text=${made.SecretKey} /></div>`}
    ${keys.data?.length > 0 && html`<${List} account=${account} keys=${keys.data} onChanged=${keys.reload} />`}
    ${open
      ? html`<${Form} account=${account} onMade=${onMade} onClose=${() => setOpen(false)} />`
      : html`<div class="row"><button type="button" onClick=${() => setOpen(true)}>${t("client-keys.new")}</button></div>`}
  </section>`;
}

const isOver = (key) => key.ExpiresAt !== null && Date.parse(key.ExpiresAt) <= Date.now();

function state(key) {
  if (!key.Status) return ["bad", "client-keys.off"];
  return isOver(key) ? ["bad", "client-keys.expired"] : ["good", "client-keys.on"];
}

function List({ account, keys, onChanged }) {
  return html`<div class="card flush"><div class="table" role="region" tabindex="0" aria-label=${t("client-keys.title")}><table>
    <thead><tr>
      <th scope="col">${t("client-keys.f.Name")}</th><th scope="col">${t("accounts.state")}</th><th scope="col">${t("client-keys.spent")}</th>
      <th scope="col">${t("client-keys.bounds")}</th><th scope="col">${t("client-keys.until")}</th><th scope="col">${t("client-keys.deeds")}</th>
    </tr></thead>
    <tbody>${keys.map((key) => html`<${Row} key=${key.ID} account=${account} it=${key} onChanged=${onChanged} />`)}</tbody>
  </table></div></div>`;
}

function Row({ account, it, onChanged }) {
  const [kind, word] = state(it);
  const path = pathOf(account, it);
  const toggle = async () => {
    await mine(path, { method: "PUT", body: { Status: !it.Status } });
    onChanged();
  };
  const remove = async () => {
    await mine(path, { method: "DELETE" });
    onChanged();
  };
  const bounds = [it.RPM > 0 && t("client-keys.rpm", { n: count(it.RPM) }), it.AllowModels !== "*" && it.AllowModels].filter(Boolean);
  return html`<tr>
    <td><bdi class="clip">${it.Name}</bdi><div class="small dim"><code>…${it.PartialKey}</code></div></td>
    <td><${Chip} kind=${kind}>${t(word)}</${Chip}></td>
    <td>${money(it.CreditUsed)}${it.CreditLimit > 0 && html` <span class="dim">/ ${money(it.CreditLimit)}</span>`}
      <div class="small dim">${t("client-keys.requests", { n: count(it.Requests) })}${it.LastUsedAt && ` · ${time(it.LastUsedAt)}`}</div></td>
    <td class="text">${bounds.length > 0 ? html`<bdi class="clip">${bounds.join(" · ")}</bdi>` : html`<span class="dim">${t("accounts.none-set")}</span>`}</td>
    <td>${it.ExpiresAt ? time(it.ExpiresAt) : html`<span class="dim">${t("client-keys.never")}</span>`}</td>
    <td><span class="row"><${Action} label=${t(it.Status ? "client-keys.switch-off" : "client-keys.switch-on")} run=${toggle} />
      <${Action} kind="bad" label=${t("client-keys.delete")} confirm=${t("client-keys.delete.ask", { name: it.Name })} run=${remove} /></span></td>
  </tr>`;
}

// Fields that are left empty are not sent, and numbers as numbers.
function bodyOf(form) {
  const given = Object.entries(form).filter(([, text]) => text.trim() !== "");
  return Object.fromEntries(given.map(([name, text]) => [name, NUMBERS.includes(name) ? Number(text) : text.trim()]));
}

function Form({ account, onMade, onClose }) {
  const [form, setForm] = useState({ ...BLANK });
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const put = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const create = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const { data } = await mine(pathOf(account), { method: "POST", body: bodyOf(form) });
      onMade(data.Key);
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  const wrong = error && fieldOf(error);
  const field = (name, input) => html`<${Field} label=${t(`client-keys.f.${name}`)} value=${form[name]} error=${wrong === name ? error.message : ""} onInput=${put(name)} ...${input} />`;
  return html`<form class="card stack" onSubmit=${create}>
    <div class="fields">
      ${field("Name", { required: true, maxlength: 63, placeholder: "ci" })}
      ${field("Days", { type: "number", min: "0.01", max: "3650", step: "any", placeholder: t("client-keys.never") })}
      ${field("CreditLimit", { type: "number", min: "0", step: "any", placeholder: t("accounts.none-set") })}
      ${field("RPM", { type: "number", min: "0", step: "1", placeholder: t("accounts.none-set") })}
      ${field("AllowModels", { placeholder: "gpt-4o*, claude-*" })}
    </div>
    ${error && !(wrong in BLANK) && html`<${Problem} error=${error} />`}
    <div class="row"><button class="main" disabled=${busy} aria-busy=${busy}>${t("client-keys.create")}</button>
      <button type="button" onClick=${onClose}>${t("client-keys.cancel")}</button></div>
  </form>`;
}

// The form of a further client key: a new one, or one that is changed.

import { faultOf } from "../lib/fault.js";
import { time } from "../lib/format.js";
import { Field, Problem } from "../lib/parts.js";
import { mine } from "../lib/session.js";
import { t } from "../lib/text.js";
import { html, useState } from "../lib/view.js";
import { listEdits } from "./account-fields.js";

const BLANK = { Name: "", Days: "", CreditLimit: "", RPM: "", AllowModels: "" };
const NUMBERS = ["Days", "CreditLimit", "RPM"];

export const pathOf = (account, key) => `/x-users/${account.ID}/keys${key ? `/${key.ID}` : ""}`;

// No limit is an empty field.
const some = (number) => (number > 0 ? String(number) : "");

const formOf = (key) => (key
  ? { Name: key.Name, Days: "", CreditLimit: some(key.CreditLimit), RPM: some(key.RPM), AllowModels: key.AllowModels === "*" ? "" : key.AllowModels }
  : { ...BLANK });

// Of a new key, fields that are left empty are not sent; numbers are sent as numbers.
function bodyOf(form) {
  const given = Object.entries(form).filter(([, text]) => text.trim() !== "");
  return Object.fromEntries(given.map(([name, text]) => [name, NUMBERS.includes(name) ? Number(text) : text.trim()]));
}

// The bodies of a change, to be sent one after another: what was emptied is lifted, and a list takes one edit at a time.
function changesOf(form, key) {
  const before = formOf(key);
  const changed = Object.keys(form).filter((name) => name !== "AllowModels" && form[name].trim() !== before[name]);
  const first = Object.fromEntries(changed.map((name) => [name, NUMBERS.includes(name) ? Number(form[name]) : form[name].trim()]));
  if (first.Days === 0) {
    delete first.Days;
    first.ExpiresAt = "";
  }
  const models = form.AllowModels.trim() || "*";
  const [edit, other] = models === key.AllowModels ? [] : listEdits(key.AllowModels, models);
  if (edit) first.AllowModels = edit;
  return [first, other && { AllowModels: other }].filter((body) => body && Object.keys(body).length > 0);
}

async function save(account, key, form) {
  if (!key) return (await mine(pathOf(account), { method: "POST", body: bodyOf(form) })).data.Key;
  for (const body of changesOf(form, key)) await mine(pathOf(account, key), { method: "PUT", body });
  return key;
}

export function Form({ account, existing, onSaved, onClose }) {
  const [form, setForm] = useState(() => formOf(existing));
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const put = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      onSaved(await save(account, existing, form));
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  const fault = faultOf(error);
  const field = (name, input) => html`<${Field} label=${t(`client-keys.f.${name}`)} value=${form[name]} error=${fault.field === name ? fault.text : ""}
    autocomplete="off" spellcheck=${false} onInput=${put(name)} ...${input} />`;
  const end = existing?.ExpiresAt ? time(existing.ExpiresAt) : t("client-keys.never");
  return html`<form class="card stack" onSubmit=${submit}>
    ${existing && html`<h4><bdi>${existing.Name}</bdi></h4>`}
    <div class="fields">
      ${field("Name", { required: true, maxlength: 63, placeholder: "ci" })}
      ${field("Days", { type: "number", min: existing ? "0" : "0.01", max: "3650", step: "any", placeholder: end, hint: existing && t("client-keys.hint.Days") })}
      ${field("CreditLimit", { type: "number", min: "0", step: "any", placeholder: t("accounts.none-set") })}
      ${field("RPM", { type: "number", min: "0", step: "1", placeholder: t("accounts.none-set") })}
      ${field("AllowModels", { placeholder: "gpt-4o*, claude-*", hint: t("client-keys.hint.AllowModels") })}
    </div>
    ${error && !(fault.field in BLANK) && html`<${Problem} error=${error} />`}
    <div class="row"><button class="main" disabled=${busy} aria-busy=${busy}>${t(existing ? "client-keys.save" : "client-keys.create")}</button>
      <button type="button" onClick=${onClose}>${t("client-keys.cancel")}</button></div>
  </form>`;
}

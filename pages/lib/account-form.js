// Fields of an account, as `/x-users` takes them. What was typed stays text until it is sent: what is no number there
// the gateway refuses by the field's name, and the refusal stands beside it.

import { faultOf } from "./fault.js";
import { Field } from "./parts.js";
import { t } from "./text.js";
import { html } from "./view.js";

export const MAIN = ["Name", "Email", "CreditGranted"];
export const TERMS = ["Days", "AllowModels"];
export const MORE = ["RPM", "TPM", "RPD", "TPD", "HardLimit", "Rates", "Level", "BillingEmail"];

const TEXTS = new Set(["Name", "Email", "BillingEmail", "Alias", "AllowModels", "AllowIPs"]);
const PLACEHOLDERS = { Days: "365", AllowModels: "gpt-4o*, claude-*", Rates: "1.3", CreditGranted: "10" };
const HINTS = new Set(["Name", "CreditGranted", "Days", "AllowModels", "HardLimit", "Rates", "Level", "ChildLimit"]);

function value(name, text) {
  if (TEXTS.has(name)) return text.trim();
  const number = Number(text);
  return Number.isFinite(number) ? number : text;
}

// The body of what was typed. What is empty is left to the gateway.
export function bodyOf(form, names) {
  const given = names.filter((name) => (form[name] ?? "").trim() !== "");
  return Object.fromEntries(given.map((name) => [name, value(name, form[name])]));
}

// Whether a refusal has its place beside one of these fields.
export const isAbout = (error, names) => names.includes(faultOf(error).field);

export function AccountFields({ names, form, onChange, error, required = [], hints = {} }) {
  const fault = faultOf(error);
  return names.map((name) => html`<${Field} key=${name} name=${name} label=${t(`hand-out.field.${name}`)} value=${form[name] ?? ""}
    type=${name.endsWith("Email") ? "email" : "text"} inputmode=${TEXTS.has(name) ? undefined : "decimal"} required=${required.includes(name)}
    autocomplete="off" spellcheck=${false} placeholder=${PLACEHOLDERS[name]} hint=${hints[name] ?? (HINTS.has(name) ? t(`hand-out.hint.${name}`) : undefined)}
    error=${fault.field === name ? fault.text : ""} onInput=${(event) => onChange(name, event.target.value)} />`);
}

// The rarer fields, folded until one of them has something to say.
export function MoreFields({ names = MORE, error, form, ...rest }) {
  const isOpen = isAbout(error, names) || names.some((name) => form[name]);
  return html`<details open=${isOpen}><summary>${t("hand-out.more")}</summary>
    <div class="fields"><${AccountFields} names=${names} error=${error} form=${form} ...${rest} /></div>
  </details>`;
}

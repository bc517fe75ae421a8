// Adding one upstream key, or changing one. A change replaces the whole of `Config`, so all of it is in the form.

import { Check, Field, Problem, tell } from "../lib/parts.js";
import { Dialog } from "../lib/dialog.js";
import { mine } from "../lib/session.js";
import { t, word } from "../lib/text.js";
import { change } from "../lib/route.js";
import { html, useState } from "../lib/view.js";
import { faultsOf } from "./faults.js";
import { lined, pairsFrom, priceFrom, priceKind, priceValue, textOf } from "./keys-config.js";
import { isMadeUp, madeUpKey, PROVIDERS, TYPES, typeOf } from "./providers.js";

const FIELDS = ["SecretKey", "Provider", "Name", "Level", "models", "model_names", "weight", "max_concurrency", "headers", "price", "provider_type"];
const PRICES = ["list", "factor", "free", "monthly", "own"];
export const LEVELS = Array.from({ length: 11 }, (_, level) => [String(level), String(level)]);

function draftOf(key, preset) {
  const config = key?.Config ?? {};
  const [, base = PROVIDERS[0][1], type = "standard"] = PROVIDERS.find(([name]) => name === preset) ?? [];
  return {
    secret: key ? "" : madeUpKey(base), name: key?.Name ?? "", provider: key?.Provider ?? base, level: String(key?.Level ?? 0), status: key?.Status ?? true,
    type: config.provider_type ?? type, usage: config.include_usage ?? true, models: (config.models ?? []).join("\n"),
    names: textOf(config.model_names, " = "), weight: String(config.weight ?? 1), cap: String(config.max_concurrency ?? 0),
    headers: textOf(config.headers, ": "), priceKind: priceKind(config.price), priceValue: priceValue(config.price),
  };
}

// What is not in the form, for it is newer than this page, stays as it is.
function configOf(draft, key) {
  return {
    ...key?.Config,
    provider_type: draft.type,
    include_usage: draft.usage,
    models: lined(draft.models),
    model_names: pairsFrom(draft.names, "=", "model_names"),
    weight: whole(draft.weight, "weight"),
    max_concurrency: whole(draft.cap, "max_concurrency"),
    headers: pairsFrom(draft.headers, ":", "headers"),
    price: priceFrom(draft.priceKind, draft.priceValue),
  };
}

function whole(text, field) {
  if (!/^\s*\d*\s*$/.test(text)) throw Object.assign(new Error(t("keys.whole")), { param: field });
  return Number(text);
}

function bodyOf(draft, key) {
  const body = { Name: draft.name.trim(), Provider: draft.provider.trim(), Level: Number(draft.level), Status: draft.status, Config: configOf(draft, key) };
  if (draft.secret.trim()) body.SecretKey = draft.secret.trim();
  return body;
}

export function KeyForm({ existing, preset, onClose, changed }) {
  const [draft, setDraft] = useState(() => draftOf(existing, preset));
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const set = (patch) => setDraft({ ...draft, ...patch });
  const save = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const path = existing ? `/x-keys/${existing.ID}` : "/x-keys";
      const { data } = await mine(path, { method: existing ? "PUT" : "POST", body: bodyOf(draft, existing) });
      tell(t(existing ? "keys.saved" : "keys.added", { id: data.Key.ID }));
      onClose();
      // The next step with a new key is to see whether its provider takes it.
      if (!existing) change({ do: "", preset: "", open: data.Key.ID }, true);
      changed();
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  const faults = faultsOf(error, FIELDS);
  const title = existing ? t("keys.edit.title", { name: existing.Name || existing.ID }) : t("keys.add");
  return html`<${Dialog} title=${title} drawer onClose=${onClose}>
    <form class="stack" onSubmit=${save}>
      <${Where} draft=${draft} set=${set} faults=${faults.fields} existing=${existing} />
      <${Who} draft=${draft} set=${set} faults=${faults.fields} existing=${existing} />
      <details class="stack" open=${Boolean(existing)}>
        <summary>${t("keys.more")}</summary>
        <${More} draft=${draft} set=${set} faults=${faults.fields} />
      </details>
      <${Problem} error=${faults.rest} />
      <div class="row end">
        <button class="main" disabled=${busy || (!existing && !draft.secret.trim())} aria-busy=${busy}>${t(existing ? "keys.save" : "keys.add.go")}</button>
      </div>
    </form>
  </${Dialog}>`;
}

function Where({ draft, set, faults, existing }) {
  const chosen = PROVIDERS.find(([, base]) => base === draft.provider)?.[0] ?? "";
  const choose = (name) => {
    const [, base, type] = PROVIDERS.find(([known]) => known === name) ?? [];
    // What was typed stays.
    const secret = draft.secret && !isMadeUp(draft.secret) ? draft.secret : madeUpKey(base);
    set(base ? { provider: base, type, secret } : { provider: "", secret });
  };
  const presets = [...PROVIDERS.map(([name]) => [name, name]), ["", t("keys.other-provider")]];
  return html`<div class="fields">
    ${!existing && html`<${Field} label=${t("keys.preset")} options=${presets} value=${chosen} onChange=${(event) => choose(event.target.value)} />`}
    <${Field} label=${t("keys.address")} value=${draft.provider} required=${true} spellcheck=${false} autocomplete="off" hint=${t("keys.address.hint")} error=${faults.Provider}
      onInput=${(event) => set({ provider: event.target.value, type: existing ? draft.type : typeOf(event.target.value) })} />
    <${Field} label=${t("keys.type")} options=${TYPES.map((type) => [type, word("keys.type", type)])} value=${draft.type} error=${faults.provider_type}
      onChange=${(event) => set({ type: event.target.value })} />
  </div>`;
}

function Who({ draft, set, faults, existing }) {
  return html`<${Field} label=${t("keys.secret")} type="password" value=${draft.secret} required=${!existing} autocomplete="off" spellcheck=${false} error=${faults.SecretKey}
      hint=${t(existing ? "keys.secret.keep" : isMadeUp(draft.secret) ? "keys.secret.made-up" : "keys.secret.hint")} onInput=${(event) => set({ secret: event.target.value })} />
    <div class="fields">
      <${Field} label=${t("keys.name")} value=${draft.name} autocomplete="off" error=${faults.Name} onInput=${(event) => set({ name: event.target.value })} />
      <${Field} label=${t("keys.level")} options=${LEVELS} value=${draft.level} hint=${t("keys.level.hint")} error=${faults.Level} onChange=${(event) => set({ level: event.target.value })} />
    </div>
    <${Check} label=${t("keys.in-use")} checked=${draft.status} onChange=${(event) => set({ status: event.target.checked })} />`;
}

function More({ draft, set, faults }) {
  const area = (name, value, field, example) => html`<${Field} label=${t(`keys.${field}`)} hint=${t(`keys.${field}.hint`)} rows=${2} class="mono" spellcheck=${false} value=${value}
    placeholder=${example} error=${faults[field]} onInput=${(event) => set({ [name]: event.target.value })} />`;
  const number = (name, field) => html`<${Field} label=${t(`keys.${field}`)} hint=${t(`keys.${field}.hint`)} inputmode="numeric" value=${draft[name]} error=${faults[field]}
    onInput=${(event) => set({ [name]: event.target.value })} />`;
  return html`<div class="stack">
    ${area("models", draft.models, "models", "gpt-4o*\ngpt-4o-mini")}
    ${area("names", draft.names, "model_names", "gpt-4o = my-deployment")}
    <div class="fields">${number("weight", "weight")} ${number("cap", "max_concurrency")}</div>
    <${Price} draft=${draft} set=${set} fault=${faults.price} />
    ${area("headers", draft.headers, "headers", "openai-organization: org-…")}
    <${Check} label=${t("keys.include_usage")} checked=${draft.usage} onChange=${(event) => set({ usage: event.target.checked })} />
  </div>`;
}

function Price({ draft, set, fault }) {
  const kinds = PRICES.map((kind) => [kind, t(`keys.price.${kind}`)]);
  const input = (event) => set({ priceValue: event.target.value });
  const needs = ["factor", "monthly"].includes(draft.priceKind);
  const own = draft.priceKind === "own";
  return html`<div class="fields">
    <${Field} label=${t("keys.price")} options=${kinds} value=${draft.priceKind} hint=${t("keys.price.hint")} error=${needs || own ? undefined : fault}
      onChange=${(event) => set({ priceKind: event.target.value, priceValue: "" })} />
    ${needs && html`<${Field} label=${t(`keys.price.${draft.priceKind}.value`)} inputmode="decimal" value=${draft.priceValue} error=${fault} onInput=${input} />`}
  </div>
  ${own && html`<${Field} label=${t("keys.price.own.value")} rows=${4} class="mono" spellcheck=${false} value=${draft.priceValue} error=${fault} placeholder=${'{"Factor": 0.7, "Models": {"gpt-4o": {"InputText": 2}}}'} onInput=${input} />`}`;
}

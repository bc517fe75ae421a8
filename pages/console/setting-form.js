// Settings as fields, what would change before it is saved, and what is wrong beside its field.

import { Action, Field, Problem, tell } from "../lib/parts.js";
import { mine } from "../lib/session.js";
import { t, word } from "../lib/text.js";
import { html, useState } from "../lib/view.js";
import { faultsOf } from "./faults.js";
import { MASK, named, shown, stored } from "./settings-data.js";

export const loadSettings = async (signal) => (await mine("/x-config", { signal })).data.configs;

// What was typed, by name; what is typed back to the present value is no change.
export function useDraft(values, saved) {
  const [draft, setDraft] = useState({});
  const [error, setError] = useState(null);
  const set = (name, text) => {
    const { kind } = named(name);
    const next = { ...draft, [name]: text };
    if (stored(kind, text) === stored(kind, shown(kind, values[name] ?? ""))) delete next[name];
    setDraft(next);
  };
  const save = async () => {
    const body = Object.fromEntries(Object.entries(draft).map(([name, text]) => [name, stored(named(name).kind, text)]));
    setError(null);
    try {
      await mine("/x-config", { method: "PUT", body });
    } catch (problem) {
      setError(problem);
      return;
    }
    setDraft({});
    tell(t("settings.saved"));
    saved();
  };
  const drop = () => {
    setDraft({});
    setError(null);
  };
  return { draft, set, save, drop, faults: faultsOf(error, Object.keys(values)) };
}

export function SettingField({ name, value, edit }) {
  const { kind, words, standard } = named(name);
  const text = edit.draft[name] ?? shown(kind, value);
  const input = (event) => edit.set(name, event.target.value);
  const shared = { label: name, value: text, hint: word("settings", name), error: edit.faults.fields[name], spellcheck: false, autocomplete: "off" };
  const placeholder = standard || undefined;
  if (kind === "words") return html`<${Field} ...${shared} options=${[...new Set([...words, text])].map((name_) => [name_, name_])} onChange=${input} />`;
  if (kind === "pairs" || kind === "json") return html`<${Field} ...${shared} class="mono" rows=${Math.min(Math.max(text.split("\n").length, 2), 12)} onInput=${input} />`;
  if (kind === "secret") return html`<${Field} ...${shared} type="password" autocomplete="new-password" placeholder=${t("settings.none")} onInput=${input} onFocus=${(event) => event.target.value === MASK && event.target.select()} />`;
  return html`<${Field} ...${shared} inputmode=${kind === "number" ? "decimal" : undefined} placeholder=${placeholder} onInput=${input} />`;
}

const brief = (kind, text) => {
  if (kind === "secret") return text ? MASK : t("settings.empty");
  return stored(kind, text) || t("settings.empty");
};

// What would change, before it does.
export function Changes({ values, edit }) {
  const names = Object.keys(edit.draft);
  if (names.length === 0) return null;
  return html`<section class="card stack changes" aria-label=${t("settings.changes")}>
    <h2>${t("settings.changes")}</h2>
    <dl class="pairs">${names.map((name) => {
      const { kind } = named(name);
      return html`<dt><code>${name}</code></dt><dd><del class="dim">${brief(kind, values[name] ?? "")}</del> → <ins>${brief(kind, edit.draft[name])}</ins></dd>`;
    })}</dl>
    <${Problem} error=${edit.faults.rest} />
    ${Object.keys(edit.faults.fields).length > 0 && html`<p class="note bad" role="alert">${t("settings.refused", { names: Object.keys(edit.faults.fields).join(", ") })}</p>`}
    <div class="row end">
      <button type="button" onClick=${edit.drop}>${t("settings.drop")}</button>
      <${Action} kind="main" label=${t("settings.save")} run=${edit.save} />
    </div>
  </section>`;
}

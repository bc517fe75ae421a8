// The form of an account: only what was changed is sent, and what is refused is said beside its field.

import { Field, Problem, tell } from "../lib/parts.js";
import { change } from "../lib/route.js";
import { mine, session } from "../lib/session.js";
import { t } from "../lib/text.js";
import { html, useRef, useState } from "../lib/view.js";
import { FIELDS, GROUPS, asText, changes, fromAbove, isNone } from "./account-fields.js";

// An account may change these two of itself.
const OWN = ["Alias", "BillingEmail"];
const HINTED = ["money", "number", "list", "rules", "object"];

const offered = (field, isSelf) => (isSelf ? OWN.includes(field.name) : !field.root || session.value.admin);

export function Edit({ account, above, onDone }) {
  const isSelf = account.ID === session.value.id;
  const [texts, setTexts] = useState(() => Object.fromEntries(FIELDS.map((field) => [field.name, asText(field, account[field.name])])));
  const [wrong, setWrong] = useState({});
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  const { bodies } = changes(account, texts);
  const refuse = (errors) => {
    setWrong(errors);
    setTimeout(() => form.current?.querySelector("[aria-invalid=true]")?.focus());
  };
  const save = async (event) => {
    event.preventDefault();
    const { bodies, wrong: bad } = changes(account, texts);
    setProblem(null);
    if (Object.keys(bad).length > 0) return refuse(Object.fromEntries(Object.entries(bad).map(([name, why]) => [name, t(`accounts.bad.${why}`)])));
    setBusy(true);
    setWrong({});
    try {
      for (const body of bodies) await mine(`/x-users/${account.ID}`, { method: "PUT", body });
      tell(t("accounts.saved"));
      onDone();
    } catch (error) {
      if (FIELDS.some((field) => field.name === error.param)) refuse({ [error.param]: error.message });
      else setProblem(error);
      setBusy(false);
    }
  };
  const hints = (field) => {
    if (HINTED.includes(field.kind)) return t(`accounts.hint.${field.kind}`);
    return isNone(field, Infinity) ? t("accounts.hint.window") : "";
  };
  const input = (field) => {
    const given = fromAbove(field, above)[0];
    const hint = given && !isNone(field, given.value) ? t("accounts.hint.above", { value: asText(field, given.value), name: given.account.Name }) : "";
    const isLong = ["list", "rules", "object"].includes(field.kind);
    return html`<${Field} key=${field.name} label=${t(`accounts.f.${field.name}`)} value=${texts[field.name]} rows=${isLong ? 2 : undefined} error=${wrong[field.name]}
      hint=${[hints(field), hint].filter(Boolean).join(" ")} spellcheck=${false} autocomplete="off"
      inputmode=${["money", "number"].includes(field.kind) ? "decimal" : field.kind === "whole" ? "numeric" : undefined}
      onInput=${(event) => setTexts({ ...texts, [field.name]: event.target.value })} />`;
  };
  return html`<form class="stack wide" ref=${form} onSubmit=${save} novalidate>
    ${GROUPS.map(([group, fields]) => {
      const shown = fields.filter((field) => offered(field, isSelf));
      return shown.length > 0 && html`<fieldset class="plain" key=${group}><legend>${t(`accounts.g.${group}`)}</legend><div class="fields">${shown.map(input)}</div></fieldset>`;
    })}
    <${Problem} error=${problem} />
    <div class="row">
      <button class="main" disabled=${busy || bodies.length === 0 && Object.keys(changes(account, texts).wrong).length === 0}>${t("accounts.save")}</button>
      <button type="button" onClick=${() => change({ edit: "" }, true)}>${t("accounts.cancel")}</button>
    </div>
  </form>`;
}

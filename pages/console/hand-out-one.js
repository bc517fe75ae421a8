// One account: its form, then its key.

import { AccountFields, bodyOf, isAbout, MAIN, MORE, MoreFields, TERMS } from "../lib/account-form.js";
import { money } from "../lib/format.js";
import { Handed } from "../lib/handed.js";
import { Problem } from "../lib/parts.js";
import { mine, refresh, session } from "../lib/session.js";
import { secret } from "../lib/store.js";
import { t } from "../lib/text.js";
import { effect, html, signal, useState } from "../lib/view.js";

const ALL = [...MAIN, ...TERMS, ...MORE];
const BLANK = { CreditGranted: "10" };

// What was made is kept while the tab is open, since nobody can show its key again, until its maker is done or leaves.
const made = signal(null);
effect(() => {
  if (!session.value) made.value = null;
});

export function One({ least }) {
  return made.value ? html`<${Made} account=${made.value} />` : html`<${Form} least=${least} />`;
}

function Made({ account }) {
  const { admin, balance } = session.value;
  const play = () => secret.set("playground-key", account.SecretKey, false);
  return html`<section class="card stack">
    <h2 class="wrap">${t("hand-out.made")} <bdi>${account.Name}</bdi></h2>
    <p class="dim">${t("hand-out.made-text", { credit: money(account.Updates.Balance) })}${!admin && ` ${t("hand-out.left", { balance: money(balance) })}`}</p>
    <${Handed} secret=${account.SecretKey} admin=${admin} />
    <div class="row"><button type="button" onClick=${() => (made.value = null)}>${t("hand-out.another")}</button>
      <a class="button" href="#playground" onClick=${play}>${t("hand-out.to-playground")}</a></div>
  </section>`;
}

export function Form({ least, onMade = (account) => (made.value = account) }) {
  const [form, setForm] = useState({ ...BLANK });
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const change = (name, text) => setForm((before) => ({ ...before, [name]: text }));
  const create = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const { data } = await mine("/x-users", { method: "POST", body: bodyOf(form, ALL) });
      refresh().catch(() => {});
      onMade(data.User);
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  const shared = { form, error, onChange: change };
  const credit = Number(form.CreditGranted);
  const label = credit > 0 ? t("hand-out.create-with", { credit: money(credit) }) : t("hand-out.create");
  return html`<form class="card stack" onSubmit=${create}>
    <div class="fields"><${AccountFields} names=${MAIN} required=${MAIN} hints=${{ CreditGranted: creditHint(least) }} ...${shared} /><${AccountFields} names=${TERMS} ...${shared} /></div>
    <${MoreFields} ...${shared} />
    ${error && !isAbout(error, ALL) && html`<${Problem} error=${error} />`}
    <div class="row"><button class="main" disabled=${busy} aria-busy=${busy}>${label}</button></div>
  </form>`;
}

export function creditHint(least) {
  const { admin, balance } = session.value;
  const lowest = t("hand-out.least", { least: money(least) });
  return admin ? lowest : `${lowest} ${t("hand-out.yours", { balance: money(balance) })}`;
}

// Stored usage priced anew: always computed first, and posted only when what it comes to was seen.

import { count, isoDay, money } from "../lib/format.js";
import { Field, Problem, tell } from "../lib/parts.js";
import { link } from "../lib/route.js";
import { mine } from "../lib/session.js";
import { Table } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html, useState } from "../lib/view.js";
import { faultsOf } from "./faults.js";

const FIELDS = ["Start", "End", "User", "Version"];
const ROWS_MAX = 500;

const signed = (amount) => (amount > 0 ? `+${money(amount)}` : money(amount));

const COLUMNS = [
  { name: "account", title: t("prices.account-id"), cell: (row) => html`<a href=${link("calls", { user: row.UserID, below: "" })}>${row.UserID}</a>` },
  { name: "records", title: t("prices.records"), num: true, cell: (row) => count(row.Records) },
  { name: "difference", title: t("prices.difference"), num: true, cell: (row) => html`<span class=${row.Difference > 0 ? "error-text" : ""}>${signed(row.Difference)}</span>` },
];

export function Rerate({ versions, params }) {
  const [draft, setDraft] = useState({ Start: params.start ?? isoDay(-7), End: params.end ?? isoDay(), User: params.user ?? "", Version: "" });
  const [tried, setTried] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const set = (patch) => {
    setDraft({ ...draft, ...patch });
    // What was computed was for other days.
    setTried(null);
  };
  const ask = async (dry) => {
    setBusy(true);
    setError(null);
    try {
      const given = Object.fromEntries(Object.entries(draft).filter(([, text]) => text.trim()));
      setTried((await mine("/x-prices/rerate", { method: "POST", body: { ...given, DryRun: dry } })).data);
      if (!dry) tell(t("prices.rerated"));
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  const compute = (event) => {
    event.preventDefault();
    ask(true);
  };
  const sum = (tried?.Corrections ?? []).reduce((total, row) => total + row.Difference, 0);
  const asked = t("prices.rerate.sure", { n: count(tried?.Corrections.length ?? 0), sum: signed(sum), start: draft.Start, end: draft.End });
  const faults = faultsOf(error, FIELDS);
  const field = (name, rest) => html`<${Field} label=${t(`prices.rerate.${name}`)} value=${draft[name]} error=${faults.fields[name]} onInput=${(event) => set({ [name]: event.target.value })} ...${rest} />`;
  return html`<form class="card stack" onSubmit=${compute}>
      <p class="small dim">${t("prices.rerate.text")}</p>
      <div class="fields">
        ${field("Start", { type: "date", required: true })} ${field("End", { type: "date" })}
        ${field("User", { placeholder: t("prices.rerate.all"), autocomplete: "off" })}
        <${Field} label=${t("prices.version")} options=${[["", t("prices.rerate.of-then")], ...versions.map(({ Version }) => [Version, Version])]} value=${draft.Version} error=${faults.fields.Version} onChange=${(event) => set({ Version: event.target.value })} />
      </div>
      <div class="row"><button class=${tried?.DryRun && tried.Corrections.length > 0 ? "" : "main"} disabled=${busy} aria-busy=${busy}>${t("prices.rerate.try")}</button></div>
      <${Problem} error=${faults.rest} />
    </form>
    ${tried && html`<${Outcome} tried=${tried} sum=${sum} busy=${busy} post=${() => confirm(asked) && ask(false)} />`}`;
}

function Outcome({ tried, sum, busy, post }) {
  const { Corrections: rows, DryRun: isDry } = tried;
  return html`<div class="card stack" aria-live="polite">
    <h2>${t(isDry ? "prices.rerate.would" : "prices.rerate.done")}</h2>
    <p>${t("prices.rerate.sum", { records: count(tried.Records), accounts: count(rows.length), sum: signed(sum), unpriced: count(tried.Unpriced) })}</p>
    ${rows.length > 0 && html`<${Table} label=${t("prices.rerate.outcome")} columns=${COLUMNS} rows=${rows.slice(0, ROWS_MAX)} rowKey=${(row) => row.UserID} />`}
    ${rows.length > ROWS_MAX && html`<p class="small dim">${t("prices.first-rows", { n: count(ROWS_MAX) })}</p>`}
    ${isDry && rows.length > 0 && html`<div class="row end"><button type="button" class="main" disabled=${busy} onClick=${post}>${t("prices.rerate.post")}</button></div>`}
  </div>`;
}

// Another price table: pasted or from a file, compared with the one in force before it may take its place.

import { count } from "../lib/format.js";
import { Check, Field, Problem, tell } from "../lib/parts.js";
import { change } from "../lib/route.js";
import { mine } from "../lib/session.js";
import { t } from "../lib/text.js";
import { html, useId, useState } from "../lib/view.js";
import { faultsOf } from "./faults.js";
import { ChangeList } from "./prices-changes.js";
import { parsed } from "./prices-data.js";

const KINDS = ["own", "list"];
const FILE_BYTES_MAX = 16 * 1024 * 1024;
const FIELDS = ["Table", "ValidFrom", "Note", "OverVersion"];
// A longer text is not shown in the field: a browser is slow with it, and nobody reads it there.
const SHOWN_MAX = 20_000;

const moment = (text) => (text ? new Date(text).toISOString() : undefined);
const post = (path, body) => mine(path, { method: "POST", body }).then(({ data }) => data);

// What loading would change: of our own table a diff, of a public list the table that it makes of ours.
async function compare(kind, table, present, from) {
  if (kind === "list") {
    const found = await post("/x-prices/import", { Table: table });
    return { ...found, table: found.Table, over: found.OverVersion };
  }
  const found = await post("/x-prices/diff", { Table: table, ValidFrom: moment(from) });
  return { ...found, table, over: present.Version.Version };
}

export function Load({ present, loaded }) {
  const [draft, setDraft] = useState({ kind: "own", text: "", file: null, from: "", note: "", force: false });
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const set = (patch) => setDraft((before) => ({ ...before, ...patch }));
  const setTable = (patch) => {
    set(patch);
    setFound(null);
  };
  const doing = (run) => async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    await run().catch(setError);
    setBusy(false);
  };
  const look = doing(async () => setFound(await compare(draft.kind, parsed(draft.file?.text ?? draft.text), present, draft.from)));
  const load = doing(async () => {
    if (!confirm(t("prices.load.sure", { n: count(found.Changes.length) }))) return;
    const body = { Table: found.table, ValidFrom: moment(draft.from), Note: draft.note.trim(), Force: draft.force, OverVersion: draft.from ? undefined : found.over };
    const { Version: version } = await post("/x-prices", body);
    tell(t("prices.is-loaded", { version: version.Version }));
    loaded();
    change({ tab: "versions" });
  });
  const faults = faultsOf(error, FIELDS);
  return html`<form class="card stack" onSubmit=${look}>
      <p class="small dim">${t("prices.load.text")}</p>
      <${Source} draft=${draft} set=${setTable} fault=${faults.fields.Table} onError=${setError} />
      <div class="row"><button class=${found ? "" : "main"} disabled=${busy || !(draft.file || draft.text.trim())} aria-busy=${busy}>${t("prices.compare")}</button></div>
      <${Problem} error=${faults.rest} />
    </form>
    ${found && html`<div class="card stack">
      <h2>${t("prices.changes")}</h2>
      ${draft.kind === "list" && html`<${Imported} found=${found} />`}
      <${ChangeList} changes=${found.Changes} />
      <${Confirm} draft=${draft} set=${set} faults=${faults.fields} busy=${busy} load=${load} none=${found.Changes.length === 0} />
    </div>`}`;
}

function Source({ draft, set, fault, onError }) {
  const id = useId();
  const choose = async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    onError(null);
    if (file.size > FILE_BYTES_MAX) {
      onError(Object.assign(new Error(t("prices.too-long")), { param: "Table" }));
      return;
    }
    const text = await file.text();
    set(text.length > SHOWN_MAX ? { file: { name: file.name, text }, text: "" } : { file: null, text });
  };
  return html`<div class="stack">
    <div class="fields broad">
      <${Field} label=${t("prices.load.kind")} options=${KINDS.map((kind) => [kind, t(`prices.load.${kind}`)])} value=${draft.kind} onChange=${(event) => set({ kind: event.target.value })} />
      <div><label for=${id}>${t("prices.file")}</label><input id=${id} type="file" accept=".json,application/json" onChange=${choose} /></div>
    </div>
    ${draft.file && html`<p class="note">${t("prices.file.chosen", { name: draft.file.name, n: count(draft.file.text.length) })} <button type="button" class="link" onClick=${() => set({ file: null })}>${t("clear")}</button></p>`}
    ${draft.file && fault && html`<p class="error-text" role="alert">${fault}</p>`}
    ${!draft.file && html`<${Field} label=${t("prices.load.paste")} rows=${8} class="mono" spellcheck=${false} value=${draft.text} error=${fault}
      placeholder=${'{"Version": "2026-11-29", "ChatPricing": {"gpt-4o": {"InputText": 2.5, "OutputText": 10}}}'} onInput=${(event) => set({ text: event.target.value })} />`}
  </div>`;
}

function Imported({ found }) {
  const skipped = Object.entries(found.Skipped ?? {}).map(([why, n]) => `${why} ${count(n)}`).join(", ");
  const list = (title, names, kind = "") => names?.length > 0 && html`<details class=${`note ${kind}`}><summary>${title}</summary><p class="small wrap">${names.slice(0, 500).join(", ")}</p></details>`;
  return html`
    <p class="small dim">${t("prices.read", { n: count(found.Read) })}${skipped && ` · ${t("prices.skipped", { list: skipped })}`}</p>
    ${found.Objections?.length > 0 && html`<div class="note warn"><p>${t("prices.objections")}</p><ul class="plain">${found.Objections.slice(0, 50).map((text) => html`<li class="wrap small">${text}</li>`)}</ul></div>`}
    ${list(t("prices.added", { n: count(found.Added?.length ?? 0) }), found.Added)}
    ${list(t("prices.gone", { n: count(found.Gone?.length ?? 0) }), found.Gone)}`;
}

const Confirm = ({ draft, set, faults, busy, load, none }) => html`<div class="stack">
  <div class="fields">
    <${Field} type="datetime-local" label=${t("prices.load.from")} hint=${t("prices.load.from.hint")} value=${draft.from} error=${faults.ValidFrom} onInput=${(event) => set({ from: event.target.value })} />
    <${Field} label=${t("prices.note")} maxlength="255" hint=${t("prices.note.hint")} value=${draft.note} error=${faults.Note} onInput=${(event) => set({ note: event.target.value })} />
  </div>
  <${Check} label=${t("prices.force")} checked=${draft.force} onChange=${(event) => set({ force: event.target.checked })} />
  ${(faults.OverVersion || faults.Table) && html`<p class="error-text" role="alert">${faults.OverVersion ?? faults.Table}</p>`}
  <div class="row end"><button type="button" class="main" disabled=${busy || none} onClick=${load}>${t("prices.load.go")}</button></div>
</div>`;

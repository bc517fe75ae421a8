// Several accounts at once: pasted lines, a look at what will be made, then one after another, each with its own outcome.

import { AccountFields, bodyOf, MORE, MoreFields, TERMS } from "../lib/account-form.js";
import { LINES_MAX, problemsOf, readLines } from "../lib/account-lines.js";
import { money } from "../lib/format.js";
import { Handed } from "../lib/handed.js";
import { Chip, Copy, Field, Problem } from "../lib/parts.js";
import { csv, saveText } from "../lib/save.js";
import { mine, refresh, session } from "../lib/session.js";
import { Table } from "../lib/table.js";
import { t } from "../lib/text.js";
import { effect, html, signal, useState } from "../lib/view.js";

const SHARED = [...TERMS, ...MORE];

// The rows being made. They outlive a look at another page, since nobody can show their keys again.
const job = signal(null);
effect(() => {
  if (!session.value) job.value = null;
});

export const Many = ({ least }) => (job.value ? html`<${Job} least=${least} />` : html`<${Paste} least=${least} />`);

// === what will be made ===

const draft = signal({ text: "", form: { CreditGranted: "10" } });

function Paste({ least }) {
  const { text, form } = draft.value;
  const change = (name, value) => (draft.value = { text, form: { ...form, [name]: value } });
  const rows = readLines(text, { credit: (form.CreditGranted ?? "").trim(), least });
  const wrong = rows.filter((row) => row.problems.length > 0).length;
  const sum = rows.reduce((total, row) => total + (Number(row.credit) || 0), 0);
  const start = () => {
    if (!confirm(t("hand-out.many-sure", { n: rows.length, sum: money(sum) }))) return;
    job.value = { rows: rows.map((row) => ({ ...row, state: "waiting" })), shared: bodyOf(form, SHARED), stopped: false };
    run();
  };
  const isReady = rows.length > 0 && wrong === 0 && rows.length <= LINES_MAX;
  const shared = { form, onChange: change };
  return html`<div class="card stack">
      <${Field} label=${t("hand-out.lines")} hint=${t("hand-out.lines-hint")} rows="8" spellcheck=${false} class="mono" value=${text}
        placeholder=${"alice, alice@example.com, 10\nbert, bert@example.com, 25"} onInput=${(event) => (draft.value = { text: event.target.value, form })} />
      <div class="fields"><${AccountFields} names=${["CreditGranted"]} hints=${{ CreditGranted: t("hand-out.default-credit") }} ...${shared} /><${AccountFields} names=${TERMS} ...${shared} /></div>
      <${MoreFields} ...${shared} />
      ${rows.length > LINES_MAX && html`<p class="error-text" role="alert">${t("hand-out.too-many", { most: LINES_MAX })}</p>`}
      <div class="row"><button type="button" class="main" disabled=${!isReady} onClick=${start}>${rows.length > 0 ? t("hand-out.create-many", { n: rows.length, sum: money(sum) }) : t("hand-out.create")}</button>
        ${wrong > 0 && html`<span class="error-text" role="status">${t("hand-out.wrong-lines", { n: wrong })}</span>`}</div>
    </div>
    ${rows.length > 0 && html`<${Table} label=${t("hand-out.preview")} columns=${PREVIEW} rows=${rows} rowKey=${(row) => row.at} />`}`;
}

const said = (problems) => problems.map((name) => t(`hand-out.wrong.${name}`)).join(" ");
const name = { name: "name", title: t("hand-out.field.Name"), text: true, cell: (row) => html`<bdi class="clip">${row.name || "–"}</bdi>` };
const mail = { name: "mail", title: t("hand-out.field.Email"), text: true, cell: (row) => html`<bdi class="clip">${row.mail || "–"}</bdi>` };
const credit = { name: "credit", title: t("hand-out.field.CreditGranted"), num: true, cell: (row) => (Number(row.credit) ? money(Number(row.credit)) : row.credit || "–") };
const PREVIEW = [
  { name: "line", title: t("hand-out.line"), num: true, cell: (row) => row.at },
  name, mail, credit,
  { name: "state", title: t("hand-out.state"), text: true, cell: (row) => (row.problems.length > 0
    ? html`<span class="error-text">${said(row.problems)}</span>` : html`<${Chip} kind="good">${t("hand-out.fine")}</${Chip}>`) },
];

// === making them ===

function patch(at, change) {
  if (job.value) job.value = { ...job.value, rows: job.value.rows.map((row) => (row.at === at ? { ...row, ...change } : row)) };
}

async function make(row) {
  patch(row.at, { state: "making", error: null });
  try {
    const body = { ...job.value.shared, Name: row.name, Email: row.mail, CreditGranted: Number(row.credit) };
    const { data } = await mine("/x-users", { method: "POST", body });
    patch(row.at, { state: "made", secret: data.User.SecretKey, id: data.User.ID });
  } catch (error) {
    // Where no answer came, the account may be there all the same; asking again cannot make it twice, since names are unique.
    patch(row.at, { state: "failed", error, unsure: row.unsure || error.status === 0 });
  }
}

let running = false;

async function run() {
  if (running) return;
  running = true;
  try {
    for (let row; (row = job.value?.rows.find((one) => one.state === "waiting")) && !job.value.stopped; ) await make(row);
  } finally {
    running = false;
  }
  refresh().catch(() => {});
}

function again(rows) {
  for (const row of rows) patch(row.at, { state: "waiting", error: null });
  job.value = { ...job.value, stopped: false };
  run();
}

const table = (rows) => csv([["name", "mail", "credit", "key"], ...rows.map((row) => [row.name, row.mail, Number(row.credit), row.secret])]);

function Job({ least }) {
  const [open, setOpen] = useState(null);
  const { rows, stopped } = job.value;
  const made = rows.filter((row) => row.state === "made");
  const failed = rows.filter((row) => row.state === "failed");
  const isBusy = rows.some((row) => row.state === "making" || (row.state === "waiting" && !stopped));
  const halted = rows.some((row) => row.state === "waiting") && stopped;
  const leave = () => {
    if (made.length > 0 && !confirm(t("hand-out.many-leave"))) return;
    job.value = null;
    draft.value = { ...draft.value, text: "" };
  };
  return html`<div class="card stack">
      <p role="status">${t("hand-out.many-state", { made: made.length, all: rows.length, failed: failed.length })}</p>
      ${made.length > 0 && html`<p class="small dim">${t("hand-out.many-once")}</p>`}
      <div class="row">
        ${made.length > 0 && html`<${Copy} text=${table(made)} label=${t("hand-out.copy-csv")} />
          <button type="button" onClick=${() => saveText(table(made), "keys.csv", "text/csv")}>${t("hand-out.save-csv")}</button>`}
        ${isBusy && html`<button type="button" onClick=${() => (job.value = { ...job.value, stopped: true })}>${t("hand-out.stop")}</button>`}
        ${halted && !isBusy && html`<button type="button" onClick=${() => again([])}>${t("hand-out.go-on")}</button>`}
        ${failed.length > 0 && !isBusy && html`<button type="button" class="main" onClick=${() => again(failed)}>${t("hand-out.again", { n: failed.length })}</button>`}
        ${!isBusy && html`<button type="button" onClick=${leave}>${t("hand-out.done")}</button>`}
      </div>
    </div>
    <${Table} label=${t("hand-out.preview")} columns=${MADE} rows=${rows} rowKey=${(row) => String(row.at)} open=${open}
      onOpen=${(key) => setOpen(open === key ? null : key)} detail=${(row) => html`<${Detail} row=${row} least=${least} />`} />`;
}

const KINDS = { waiting: "", making: "warn", made: "good", failed: "bad" };
const STATES = { waiting: "hand-out.waiting", making: "hand-out.making", made: "hand-out.made-one", failed: "hand-out.failed" };
const MADE = [
  name, mail, credit,
  { name: "state", title: t("hand-out.state"), cell: (row) => html`<${Chip} kind=${KINDS[row.state]}>${t(STATES[row.state])}</${Chip}>` },
  { name: "key", title: t("hand-out.key"), text: true, cell: (row) => (row.secret
    ? html`<span class="row"><code class="wrap">${row.secret}</code></span>` : html`<span class="error-text">${row.error?.message}</span>`) },
];

function Detail({ row, least }) {
  if (row.secret) return html`<div class="stack"><h2 class="wrap"><bdi>${row.name}</bdi></h2><${Handed} secret=${row.secret} admin=${session.value.admin} /></div>`;
  if (row.state === "failed") return html`<${Mend} row=${row} least=${least} />`;
  return html`<p class="dim">${t(STATES[row.state])}</p>`;
}

// A row that failed is mended where it stands.
function Mend({ row, least }) {
  const [values, set] = useState({ name: row.name, mail: row.mail, credit: row.credit });
  const problems = problemsOf(values, least);
  const field = (part, label) => html`<${Field} label=${label} value=${values[part]} autocomplete="off" spellcheck=${false} onInput=${(event) => set({ ...values, [part]: event.target.value.trim() })} />`;
  const go = (event) => {
    event.preventDefault();
    patch(row.at, values);
    again([row]);
  };
  return html`<form class="stack" onSubmit=${go}>
    <${Problem} error=${row.error} />
    ${row.unsure && html`<p class="note warn">${t("hand-out.unsure")}</p>`}
    <div class="fields">${field("name", t("hand-out.field.Name"))}${field("mail", t("hand-out.field.Email"))}${field("credit", t("hand-out.field.CreditGranted"))}</div>
    ${problems.length > 0 && html`<p class="error-text" role="status">${said(problems)}</p>`}
    <div class="row"><button class="main" disabled=${problems.length > 0}>${t("hand-out.again-one")}</button></div>
  </form>`;
}

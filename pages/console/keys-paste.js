// Many upstream keys at once: pasted lines, a preview of what they mean, and an outcome for each.

import { Check, Chip, Field, Problem } from "../lib/parts.js";
import { Dialog } from "../lib/dialog.js";
import { mine } from "../lib/session.js";
import { t, word } from "../lib/text.js";
import { html, useMemo, useState } from "../lib/view.js";
import { LEVELS } from "./keys-form.js";
import { linesOf, masked } from "./keys-lines.js";
import { host, PROVIDERS, TYPES, typeOf } from "./providers.js";

const EXAMPLE = "sk-…\nsk-… https://api.openai.com/v1\nteam-a sk-… https://api.openai.com/v1 2";

// A field with presets in its list: the address that holds for lines without one.
const Common = ({ common, set }) => html`<div class="fields">
  <${Field} label=${t("keys.paste.provider")} value=${common.provider} list="providers" spellcheck=${false} onInput=${(event) => set({ provider: event.target.value, type: typeOf(event.target.value) })} />
  <datalist id="providers">${PROVIDERS.map(([name, base]) => html`<option value=${base}>${name}</option>`)}</datalist>
  <${Field} label=${t("keys.type")} options=${TYPES.map((type) => [type, word("keys.type", type)])} value=${common.type} onChange=${(event) => set({ type: event.target.value })} />
  <${Field} label=${t("keys.paste.level-for")} options=${LEVELS} value=${String(common.level)} onChange=${(event) => set({ level: Number(event.target.value) })} />
</div>`;

async function addOne(line, isProbed) {
  const body = { SecretKey: line.secret, Name: line.name, Provider: line.provider, Level: line.level, Config: { provider_type: line.type } };
  const { data } = await mine("/x-keys", { method: "POST", body });
  const outcome = { id: data.Key.ID };
  if (!isProbed) return outcome;
  try {
    outcome.probe = (await mine(`/x-keys/${data.Key.ID}/probe`, { method: "POST", body: {} })).data;
  } catch (error) {
    outcome.probe = { Accepted: false, Detail: error.message };
  }
  return outcome;
}

export function Paste({ onClose, changed }) {
  const [text, setText] = useState("");
  const [common, setCommon] = useState({ provider: PROVIDERS[0][1], type: "standard", level: 0 });
  const [isProbed, setProbed] = useState(true);
  const [done, setDone] = useState([]);
  const [busy, setBusy] = useState(false);
  const lines = useMemo(() => linesOf(text, common), [text, common]);
  const good = lines.filter((line) => !line.problem);
  // What was added leaves the field; what was refused stays, to be put right and tried again.
  const addAll = async (event) => {
    event.preventDefault();
    setBusy(true);
    const outcomes = [];
    let left = lines;
    for (const line of good) {
      const told = { name: line.name, shown: masked(line.secret), provider: line.provider, level: line.level };
      try {
        outcomes.push({ ...told, ...(await addOne(line, isProbed)) });
        left = left.filter((other) => other !== line);
        setText(left.map((other) => other.text).join("\n"));
      } catch (error) {
        outcomes.push({ ...told, error });
      }
      setDone([...outcomes]);
    }
    setBusy(false);
    changed();
  };
  return html`<${Dialog} title=${t("keys.paste")} drawer onClose=${onClose}>
    <form class="stack" onSubmit=${addAll}>
      <${Field} label=${t("keys.paste.lines")} hint=${t("keys.paste.hint")} rows=${7} class="mono" value=${text} placeholder=${EXAMPLE} spellcheck=${false} autocomplete="off"
        disabled=${busy} onInput=${(event) => setText(event.target.value)} />
      <${Common} common=${common} set=${(patch) => setCommon({ ...common, ...patch })} />
      <${Check} label=${t("keys.paste.probe")} checked=${isProbed} onChange=${(event) => setProbed(event.target.checked)} />
      ${lines.length > 0 && !busy && html`<${Preview} lines=${lines} />`}
      <div class="row end"><button class="main" disabled=${busy || good.length === 0} aria-busy=${busy}>${t("keys.paste.go", { n: good.length })}</button></div>
      ${done.length > 0 && html`<${Outcomes} done=${done} />`}
      ${done.some((row) => row.error?.status === 403) && html`<${Problem} error=${done.find((row) => row.error).error} />`}
    </form>
  </${Dialog}>`;
}

const Rows = ({ label, last, rows, cell }) => html`<div class="card flush"><div class="table" role="region" tabindex="0" aria-label=${label}><table>
  <thead><tr><th scope="col">${t("keys.name")}</th><th scope="col">${t("keys.secret")}</th><th scope="col">${t("keys.provider")}</th><th scope="col" class="num">${t("keys.level")}</th><th scope="col">${last}</th></tr></thead>
  <tbody>${rows.map((row) => html`<tr>
    <td class="text"><bdi class="clip">${row.name || "–"}</bdi></td><td class="nowrap"><code>${row.shown ?? masked(row.secret)}</code></td>
    <td class="text"><bdi class="clip">${host(row.provider)}</bdi></td><td class="num">${row.level}</td><td class="text">${cell(row)}</td></tr>`)}</tbody>
</table></div></div>`;

const Preview = ({ lines }) => html`<${Rows} label=${t("keys.paste.preview")} last=${t("keys.paste.preview")} rows=${lines}
  cell=${(line) => (line.problem ? html`<span class="error-text">${line.problem}</span>` : html`<${Chip} kind="good">${t("keys.paste.fine")}</${Chip}>`)} />`;

function Outcome(row) {
  if (row.error) return html`<${Chip} kind="bad">${t("keys.paste.refused")}</${Chip}> <span class="error-text">${row.error.message}</span>`;
  if (!row.probe) return html`<${Chip} kind="good">${t("keys.paste.added", { id: row.id })}</${Chip}>`;
  return html`<${Chip} kind=${row.probe.Accepted ? "good" : "warn"}>${t("keys.paste.added", { id: row.id })}</${Chip}>
    <span class="small clip">${row.probe.Accepted ? t("keys.accepted") : `${t("keys.not-accepted")}: ${row.probe.Detail}`}</span>`;
}

const Outcomes = ({ done }) => html`<div role="status"><${Rows} label=${t("keys.paste.outcome")} last=${t("keys.paste.outcome")} rows=${done} cell=${Outcome} /></div>`;

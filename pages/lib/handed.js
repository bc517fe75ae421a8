// A key that was just made: shown once, with ready texts to use it and a call to try it.

import { ask, base } from "./api.js";
import { answerText, dialectOf, likely, modelsOf, newId, recordOf, request } from "./chat.js";
import { money, seconds } from "./format.js";
import { useLoad } from "./load.js";
import { Code, Field, Problem, Secret } from "./parts.js";
import { claudeOf, SNIPPETS } from "./snippets.js";
import { t } from "./text.js";
import { html, useId, useState } from "./view.js";

const TRY_TOKENS = 32;

export function Handed({ secret, admin, children }) {
  const models = useLoad((signal) => modelsOf(secret, signal), [secret]);
  const [chosen, setChosen] = useState("");
  const list = models.data ?? [];
  const model = chosen || likely(list);
  return html`<div class="stack wide">
    <div class="stack">
      <${Secret} text=${secret} />
      <p class="small dim">${t("hand-out.once")}</p>
      ${children}
    </div>
    <${Model} models=${list} model=${model} onModel=${setChosen} />
    <${TryKey} key=${secret} secret=${secret} model=${model} isEmpty=${models.data !== null && list.length === 0} admin=${admin} error=${models.error} />
    <${Snippets} secret=${secret} model=${model || "gpt-4o-mini"} models=${list} />
  </div>`;
}

// A field to choose from a list, and to type what is in none.
export function Model({ models, model, onModel, ...rest }) {
  const id = useId();
  return html`<div><${Field} label=${t("hand-out.model")} list=${id} autocomplete="off" spellcheck=${false} value=${model}
      hint=${models.length > 0 ? t("hand-out.models", { n: models.length }) : undefined} onInput=${(event) => onModel(event.target.value.trim())} ...${rest} />
    <datalist id=${id}>${models.map((name) => html`<option value=${name} />`)}</datalist></div>`;
}

function Snippets({ secret, model, models }) {
  const [name, setName] = useState("curl");
  const id = useId();
  const at = SNIPPETS.findIndex((one) => one.name === name);
  const snippet = SNIPPETS[at];
  // Tabs are one stop of the Tab key; arrows go through them.
  const turn = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (at + step + SNIPPETS.length) % SNIPPETS.length;
    setName(SNIPPETS[next].name);
    event.currentTarget.children[next].focus();
  };
  const text = snippet.text({ base, key: secret, model, claude: claudeOf(models, model) });
  return html`<section class="stack"><h3>${t("hand-out.use")}</h3>
    <div class="tabs" role="tablist" aria-label=${t("hand-out.use")} onKeyDown=${turn}>
      ${SNIPPETS.map((one) => html`<button type="button" role="tab" id=${`${id}-${one.name}`} aria-selected=${one.name === name} aria-controls=${id}
        tabindex=${one.name === name ? 0 : -1} onClick=${() => setName(one.name)}>${one.title}</button>`)}
    </div>
    <div class="stack" role="tabpanel" id=${id} aria-labelledby=${`${id}-${name}`}>
      ${snippet.note && html`<p class="small dim">${t(snippet.note)}</p>`}
      <${Code} text=${text} />
    </div>
  </section>`;
}

// Newer models of OpenAI have another name for it, and refuse the usual one.
async function answerOf(secret, model, id) {
  const dialect = dialectOf(model);
  const { path, headers, body } = request({ dialect, model, turns: [{ role: "user", content: "Say hello in one short sentence." }], most: TRY_TOKENS });
  const send = (payload) => ask(path, { key: secret, method: "POST", headers: { ...headers, "x-request-id": id }, body: payload });
  try {
    return answerText(dialect, (await send(body)).data);
  } catch (error) {
    if (error.status !== 400 || !error.message.includes("max_completion_tokens")) throw error;
    const { max_tokens: _, ...rest } = body;
    return answerText(dialect, (await send({ ...rest, max_completion_tokens: 16 * TRY_TOKENS })).data);
  }
}

function TryKey({ secret, model, isEmpty, admin, error }) {
  const [state, set] = useState({});
  const run = async () => {
    const id = newId();
    const began = performance.now();
    set({ busy: true });
    try {
      const text = await answerOf(secret, model, id);
      const ms = Math.round(performance.now() - began);
      set({ text, ms, waiting: true });
      const record = await recordOf(secret, id).catch(() => null);
      set({ text, ms, record });
    } catch (problem) {
      set({ problem });
    }
  };
  return html`<section class="stack"><div class="row between"><h3>${t("hand-out.try")}</h3>
      <button type="button" class="main" disabled=${state.busy || !model} aria-busy=${state.busy} onClick=${run}>${t(state.busy ? "hand-out.trying" : "hand-out.try-go")}</button></div>
    <p class="small dim">${t("hand-out.try-text")}</p>
    ${isEmpty && html`<p class="note warn">${t("hand-out.no-models")} ${admin && html`<a href="../console/#keys">${t("hand-out.no-models-go")}</a>`}</p>`}
    <${Problem} error=${error ?? state.problem} />
    ${state.text !== undefined && html`<${Outcome} ...${state} />`}
  </section>`;
}

function Outcome({ text, ms, record, waiting }) {
  const cost = waiting ? "…" : record ? money(record.Cost) : t("hand-out.no-record");
  return html`<div class="note good stack" role="status">
    <p class="wrap" dir="auto">${text || t("hand-out.no-text")}</p>
    <p class="small dim">${t("hand-out.try-sum", { time: seconds(ms), cost })}</p>
  </div>`;
}

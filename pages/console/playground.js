// Playground: a chat through a key, streamed, with what each answer cost and which key served it.

import { open } from "../lib/api.js";
import { DIALECTS, dialectOf, events, isRefused, likely, modelsOf, newId, piece, recordOf, request } from "../lib/chat.js";
import { count, money, seconds } from "../lib/format.js";
import { Model } from "../lib/handed.js";
import { useLoad } from "../lib/load.js";
import { Field, Problem } from "../lib/parts.js";
import { change, link } from "../lib/route.js";
import { mine, refresh, session } from "../lib/session.js";
import { secret } from "../lib/store.js";
import { t } from "../lib/text.js";
import { effect, html, signal, useEffect, useRef, useState } from "../lib/view.js";

// The chat outlives a look at another page: { role, content, … }, and what is known of each answer.
const turns = signal([]);
effect(() => {
  if (!session.value) turns.value = [];
});

// A stream may have more events than a screen has pictures; drawing each would be what takes the time.
const SHOWN_EACH_MS = 40;

const setLast = (patch) => (turns.value = turns.value.map((turn, at) => (at === turns.value.length - 1 ? { ...turn, ...patch } : turn)));

export function Page({ params }) {
  const [pasted, setPasted] = useState(secret.get("playground-key") ?? "");
  const key = pasted || session.value.key;
  const models = useLoad((signal) => modelsOf(key, signal), [key]);
  const list = models.data ?? [];
  const model = params.model ?? likely(list);
  const [settings, set] = useState({ system: "", temperature: "", dialect: "" });
  const take = (text) => {
    setPasted(text);
    if (text) secret.set("playground-key", text, false);
    else secret.clear("playground-key");
  };
  return html`<div class="bench">
    <aside class="card stack" aria-label=${t("playground.settings")}>
      <${Key} pasted=${pasted} onTake=${take} />
      <${Model} label=${t("playground.model")} models=${list} model=${model} onModel=${(name) => change({ model: name }, true)} />
      <${Settings} settings=${settings} onSet=${(patch) => set({ ...settings, ...patch })} model=${model} />
      <${Problem} error=${models.error} />
      ${models.data && list.length === 0 && html`<p class="note warn">${t("hand-out.no-models")} ${session.value.admin && html`<a href=${link("keys")}>${t("hand-out.no-models-go")}</a>`}</p>`}
    </aside>
    <${Chat} apiKey=${key} model=${model} settings=${settings} />
  </div>`;
}

// The key that chats: the signed-in one, or another that was pasted.
function Key({ pasted, onTake }) {
  const [text, setText] = useState("");
  const [isOther, setOther] = useState(Boolean(pasted));
  const keys = [["", t("playground.own-key", { name: session.value.name.slice(0, 40) })], ["other", t("playground.other-key")]];
  const choose = (event) => {
    setOther(event.target.value === "other");
    if (event.target.value === "") onTake("");
  };
  const isGood = /^[\x21-\x7e]+$/.test(text.trim());
  return html`<${Field} label=${t("playground.key")} options=${keys} value=${isOther ? "other" : ""} onChange=${choose} />
    ${isOther && pasted && html`<p class="small dim">${t("playground.in-use", { tail: pasted.slice(-6) })}</p>`}
    ${isOther && html`<form class="row top" onSubmit=${(event) => { event.preventDefault(); onTake(text.trim()); setText(""); }}>
      <div class="grow"><${Field} label=${t("playground.paste-key")} type="password" autocomplete="off" spellcheck=${false} value=${text} onInput=${(event) => setText(event.target.value)}
        error=${text && !isGood ? t("sign-in.no-key") : ""} /></div>
      <button class="beside-field" disabled=${!isGood}>${t("playground.take")}</button></form>`}`;
}

function Settings({ settings, onSet, model }) {
  const { system, temperature, dialect } = settings;
  const dialects = [["", t("playground.by-model", { name: t(`playground.${dialectOf(model)}`) })], ...DIALECTS.map((name) => [name, t(`playground.${name}`)])];
  // On a phone the chat is below these, so they are folded there.
  return html`<details open=${matchMedia("(min-width: 52.01rem)").matches}><summary>${t("playground.more")}</summary><div class="stack">
    <${Field} label=${t("playground.system")} rows="3" value=${system} onInput=${(event) => onSet({ system: event.target.value })} />
    <${Field} label=${t("playground.temperature")} type="number" min="0" max="2" step="0.1" placeholder=${t("playground.default")} value=${temperature} onInput=${(event) => onSet({ temperature: event.target.value })} />
    <${Field} label=${t("playground.dialect")} options=${dialects} value=${dialect} onChange=${(event) => onSet({ dialect: event.target.value })} />
  </div></details>`;
}

// === chatting ===

// What of the chat goes out: failed turns have no answer, and what was asked in them is left out as well.
export function history(list) {
  return list.filter((turn, at) => turn.content && !list[at + 1]?.failed && !turn.failed).map(({ role, content }) => ({ role, content }));
}

async function stream({ apiKey, model, settings, stop }) {
  const dialect = settings.dialect || dialectOf(model);
  const temperature = settings.temperature === "" ? null : Number(settings.temperature);
  const { path, headers, body } = request({ dialect, model, system: settings.system.trim(), temperature, turns: history(turns.value.slice(0, -1)), stream: true });
  const { id } = turns.value.at(-1);
  const began = performance.now();
  const since = () => Math.max(1, Math.round(performance.now() - began));
  const answer = await open(path, { key: apiKey, method: "POST", headers: { ...headers, "x-request-id": id }, body, signal: stop.signal });
  const seen = { content: "", thought: "", usage: null, first: null };
  let shown = -SHOWN_EACH_MS;
  const show = () => setLast({ ...seen, ms: (shown = since()) });
  try {
    for await (const data of events(answer.body)) {
      const { text, thought, usage, error, isEnd } = piece(dialect, data);
      if (error) throw new Error(error);
      if ((text || thought) && seen.first === null) seen.first = since();
      seen.content += text;
      seen.thought += thought;
      if (usage) seen.usage = { ...seen.usage, ...Object.fromEntries(Object.entries(usage).filter(([, number]) => number !== undefined)) };
      if (isEnd) break;
      if (since() - shown >= SHOWN_EACH_MS) show();
    }
  } finally {
    show();
  }
}

async function say(text, options) {
  turns.value = [...turns.value, { role: "user", content: text }, { role: "assistant", content: "", id: newId(), model: options.model, busy: true }];
  const { id } = turns.value.at(-1);
  try {
    await stream(options);
    setLast({ busy: false });
  } catch (error) {
    const isStopped = error.name === "AbortError";
    // An answer that broke off stays to be read; one that never began is no part of the chat.
    setLast({ busy: false, stopped: isStopped, error: isStopped ? null : error, failed: turns.value.at(-1).content === "" });
  }
  account(options.apiKey, id);
}

// A further client key may not read records.
const hasRecord = (turn, apiKey) => !isRefused(turn?.error) && !(apiKey === session.value?.key && session.value.client_key);

// What the books say of it comes a moment later.
async function account(apiKey, id) {
  const turn = turns.value.find((each) => each.id === id);
  const update = (patch) => (turns.value = turns.value.map((each) => (each.id === id ? { ...each, ...patch } : each)));
  try {
    const record = hasRecord(turn, apiKey) ? await recordOf(apiKey, id, turn?.stopped) : null;
    update({ record });
    if (apiKey === session.value?.key) refresh().catch(() => {});
    if (record?.Key && session.value?.admin) update({ keyName: (await mine(`/x-keys/${record.Key}`)).data?.[0]?.Name });
  } catch {
    update({ record: null });
  }
}

function Chat({ apiKey, model, settings }) {
  const [text, setText] = useState("");
  const stop = useRef(null);
  const end = useRef(null);
  const list = turns.value;
  const isBusy = list.at(-1)?.busy ?? false;
  // Without turns there is nothing to follow, and Tab would begin from here.
  useEffect(() => {
    if (list.length > 0) end.current?.scrollIntoView({ block: "nearest" });
  }, [list]);
  const send = (event) => {
    event?.preventDefault();
    if (!text.trim() || isBusy || !model) return;
    stop.current = new AbortController();
    say(text.trim(), { apiKey, model, settings, stop: stop.current }).then(() => {
      // What was typed comes back where it led nowhere.
      const last = turns.value.at(-1);
      if (last?.failed && !last.stopped) setText((now) => now || text);
    });
    setText("");
  };
  const press = (event) => event.key === "Enter" && !event.shiftKey && !event.isComposing && send(event);
  return html`<section class="card chat" aria-label=${t("playground.title")}>
    <div class="turns" role="log" aria-live="off" tabindex="0" aria-label=${t("playground.turns")}>
      ${list.length === 0 && html`<div class="empty"><h2>${t("playground.empty")}</h2><p>${t("playground.empty-text")}</p></div>`}
      ${list.map((turn, at) => html`<${Turn} key=${at} turn=${turn} />`)}
      <div ref=${end}></div>
    </div>
    <p class="seen-by-readers" role="status">${list.at(-1)?.role === "assistant" && !isBusy ? list.at(-1).content : ""}</p>
    <form class="stack" onSubmit=${send}>
      <${Field} label=${t("playground.message")} rows="3" value=${text} hint=${t("playground.hint")} onInput=${(event) => setText(event.target.value)} onKeyDown=${press} />
      <div class="row between">
        <button type="button" disabled=${isBusy || list.length === 0} onClick=${() => (turns.value = [])}>${t("playground.new")}</button>
        ${isBusy ? html`<button type="button" class="bad" onClick=${() => stop.current.abort()}>${t("playground.stop")}</button>`
          : html`<button class="main" disabled=${!text.trim() || !model}>${t("playground.send")}</button>`}
      </div>
    </form>
  </section>`;
}

function Turn({ turn }) {
  if (turn.role === "user") return html`<div class="turn user"><div class="said" dir="auto">${turn.content}</div></div>`;
  return html`<div class="turn"><div class="small dim wrap"><bdi>${turn.model}</bdi></div>
    ${turn.thought && html`<details><summary class="small">${t("playground.thought")}</summary><div class="said dim" dir="auto">${turn.thought}</div></details>`}
    ${turn.content ? html`<div class="said" dir="auto">${turn.content}</div>` : turn.busy && html`<p class="dim">${t("playground.waiting")}</p>`}
    ${turn.stopped && html`<p class="small dim">${t("playground.stopped")}</p>`}
    <${Problem} error=${turn.error} />
    ${!turn.busy && html`<${Facts} turn=${turn} />`}
  </div>`;
}

function Facts({ turn }) {
  const { record, usage, first, ms, keyName } = turn;
  const tokens = record?.Tokens ? { input: record.Tokens.Input + record.Tokens.Cached, output: record.Tokens.Output } : usage;
  const served = record?.Key > 0 && t("playground.served", { key: keyName ? `${keyName} (${record.Key})` : record.Key, level: record.Level, tries: record.Tries });
  const facts = [
    first && t("playground.first", { time: seconds(first) }),
    ms && t("playground.total", { time: seconds(ms) }),
    tokens && t("playground.tokens", { input: count(tokens.input ?? 0), output: count(tokens.output ?? 0) }),
    record ? money(record.Cost) : record === undefined ? t("playground.cost-soon") : t("playground.no-record"),
    served,
  ].filter(Boolean);
  return html`<p class="small dim wrap">${facts.join(" · ")}${record && html` · <a href=${link("calls", { request_id: turn.id })}>${t("playground.call")}</a>`}</p>`;
}

// What is known of one upstream key, and what can be done with it.

import { money, seconds, time } from "../lib/format.js";
import { Action, Chip, Field, tell } from "../lib/parts.js";
import { change, link } from "../lib/route.js";
import { mine } from "../lib/session.js";
import { Pairs } from "../lib/table.js";
import { t, word } from "../lib/text.js";
import { html, useId, useState } from "../lib/view.js";

const labelOf = (row) => row.Name || t("keys.nameless", { id: row.ID });

export function Detail({ row, period, changed }) {
  const { Config: config } = row;
  return html`<div class="stack">
    <${Tools} row=${row} changed=${changed} />
    <${Probe} row=${row} changed=${changed} />
    <${Pairs} pairs=${[
      ["ID", row.ID],
      [t("keys.address"), html`<code class="wrap">${row.Provider}</code>`],
      [t("keys.type"), word("keys.type", config.provider_type)],
      row.reason && [t("keys.reason"), row.reason],
      ...row.resting.map((rest) => [t("keys.rests-for-one", { model: rest.model }), `${rest.until ? t("keys.until", { time: time(rest.until) }) : ""} ${rest.reason}`]),
      [t("keys.serves"), config.models.length === 0 ? t("keys.all-models") : html`<bdi>${config.models.join(", ")}</bdi>`],
      config.model_names && Object.keys(config.model_names).length > 0 && [t("keys.model_names"), html`<bdi>${pairsOf(config.model_names)}</bdi>`],
      [t("keys.weight"), config.weight],
      [t("keys.max_concurrency"), config.max_concurrency || t("keys.no-cap")],
      [t("keys.price"), priceText(config.price)],
      Object.keys(config.headers).length > 0 && [t("keys.headers"), html`<bdi>${Object.keys(config.headers).join(", ")}</bdi>`],
      row.earned && [t("keys.period", { start: period.start, end: period.end }),
        t("keys.earned", { requests: row.earned.Requests, cost: money(row.earned.Cost), expense: money(row.earned.Expense + row.earned.Flat), margin: money(row.earned.Margin) })],
      [t("keys.changed"), `${time(row.UpdatedAt)} · ${t("keys.added-at", { time: time(row.CreatedAt) })}`],
    ]} />
    <${Links} row=${row} period=${period} />
  </div>`;
}

const pairsOf = (names) => Object.entries(names).map(([from, to]) => `${from} → ${to}`).join(", ");

export function priceText(price) {
  if (!price || Object.keys(price).length === 0) return t("keys.price.list");
  const parts = [];
  if (price.Free) parts.push(t("keys.price.free"));
  if (price.Factor !== undefined) parts.push(t("keys.price.times", { factor: price.Factor }));
  if (price.Monthly !== undefined) parts.push(t("keys.price.each-month", { amount: money(price.Monthly) }));
  if (price.Models) parts.push(t("keys.price.models", { models: Object.keys(price.Models).join(", ") }));
  return parts.join(" · ") || JSON.stringify(price);
}

const Links = ({ row, period }) => html`<p class="row small">
  <a href=${link("calls", { key: row.ID, start: period.start, end: period.end })}>${t("keys.calls")}</a>
  <a href=${link("calls", { key: row.ID, status: "5xx", start: period.start, end: period.end })}>${t("keys.failures")}</a>
  <a href=${link("calls", { key: row.ID, status: "429", start: period.start, end: period.end })}>${t("keys.limited")}</a>
</p>`;

function Tools({ row, changed }) {
  const name = labelOf(row);
  const put = (body) => mine(`/x-keys/${row.ID}`, { method: "PUT", body });
  const turn = async () => {
    await put({ Status: !row.Status });
    tell(t(row.Status ? "keys.is-off" : "keys.is-on", { name }));
    changed();
  };
  // A key wakes when it is put into rotation anew: the provider is not asked for that.
  const wake = async () => {
    await put({ Status: false });
    await put({ Status: true });
    tell(t("keys.is-awake", { name }));
    changed();
  };
  const remove = async () => {
    await mine(`/x-keys/${row.ID}`, { method: "DELETE" });
    tell(t("keys.is-deleted", { name }));
    change({ open: "" }, true);
    changed();
  };
  return html`<div class="row">
    <button type="button" onClick=${() => change({ do: "edit", open: row.ID })}>${t("keys.edit")}</button>
    ${row.Status && (row.state !== "ready" || row.resting.length > 0) && html`<${Action} label=${t("keys.wake")} run=${wake} />`}
    <${Action} label=${t(row.Status ? "keys.turn-off" : "keys.turn-on")} run=${turn} />
    <span class="grow"></span>
    <${Action} label=${t("keys.delete")} kind="bad" run=${remove} confirm=${t("keys.delete.sure", { name })} />
  </div>`;
}

function Probe({ row, changed }) {
  const [model, setModel] = useState("");
  const [busy, setBusy] = useState(false);
  const [answer, setAnswer] = useState(null);
  const [error, setError] = useState(null);
  const models = row.Config.models.filter((name) => !name.includes("*")).slice(0, 200);
  const list = useId();
  const probe = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const body = model.trim() ? { Model: model.trim() } : {};
      const { data } = await mine(`/x-keys/${row.ID}/probe`, { method: "POST", body });
      setAnswer(data);
      changed();
    } catch (problem) {
      setAnswer(null);
      setError(problem);
    }
    setBusy(false);
  };
  return html`<form class="stack" onSubmit=${probe}>
    <div class="row top">
      <div class="field-wide"><${Field} label=${t("keys.probe.model")} list=${list} value=${model} placeholder=${t("keys.probe.any")} hint=${t("keys.probe.hint")}
        error=${error?.message} autocomplete="off" spellcheck=${false} onInput=${(event) => setModel(event.target.value)} /></div>
      <button class="beside-field" disabled=${busy} aria-busy=${busy}>${t(busy ? "keys.probing" : "keys.probe")}</button>
    </div>
    <datalist id=${list}>${models.map((name) => html`<option value=${name}></option>`)}</datalist>
    <div role="status">${answer && html`<${Probed} answer=${answer} />`}</div>
  </form>`;
}

export const Probed = ({ answer }) => html`<p class=${`note ${answer.Accepted ? "good" : "bad"}`}>
  <${Chip} kind=${answer.Accepted ? "good" : "bad"}>${t(answer.Accepted ? "keys.accepted" : "keys.not-accepted")}</${Chip}>
  ${" "}${answer.Status > 0 ? t("keys.probe.status", { status: answer.Status, time: seconds(answer.DurationMS ?? 0) }) : t("keys.probe.away")}
  ${" "}<bdi>${answer.Detail}</bdi>
</p>`;

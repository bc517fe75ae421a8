// The way of a call in words: model asked, mapped, level, keys in order, and what follows when they fail.

import { time } from "../lib/format.js";
import { Chip } from "../lib/parts.js";
import { link } from "../lib/route.js";
import { t } from "../lib/text.js";
import { html } from "../lib/view.js";
import { KINDS } from "./keys-data.js";
import { host } from "./providers.js";

// `system`, or `account 42`: whose rule it was.
function byWhom(by) {
  const id = /^account (\d+)$/.exec(by ?? "")?.[1];
  if (id) return t("routing.by-account", { id });
  return by === "system" ? t("routing.by-system") : "";
}

const why = (kind, name, by, values) => [t(`routing.${kind}.${name}`, values), byWhom(by)].filter(Boolean).join(" · ");

export function Route({ route, loading }) {
  const ready = (level) => level.Keys.some((key) => key.State === "ready");
  const first = route.Route.flatMap((stage) => stage.Levels.map((level) => ({ stage, level }))).find(({ level }) => ready(level));
  const used = first && first.level.Keys.find((key) => key.State === "ready");
  return html`<div class=${`stack ${loading ? "loading" : ""}`} aria-busy=${loading}>
    <h2 class="wrap">${t("routing.title-of", { model: route.Model, user: route.User.Name })}</h2>
    <${Verdict} route=${route} first=${first} used=${used} />
    ${route.Affinity !== "off" && html`<p class="note">${t(`routing.affinity.${route.Affinity}`)}</p>`}
    <ol class="path">${route.Route.map((stage, at) => html`<${Stage} key=${at} stage=${stage} at=${at} asked=${route.Model} />`)}</ol>
  </div>`;
}

function Verdict({ route, first, used }) {
  if (route.Refusal) return html`<p class="note bad">${t("routing.refused")} <bdi>${route.Refusal}</bdi></p>`;
  if (!used) return html`<p class="note warn">${t("routing.no-key")} <a href="#keys">${t("routing.see-keys")}</a></p>`;
  const strategy = first.level.Keys.filter((key) => key.State === "ready").length > 1;
  return html`<p class="note good">${t(strategy ? "routing.one-of" : "routing.this-key", { key: used.Name || used.ID, model: first.stage.Model, level: first.level.Level, strategy: first.level.Strategy })}</p>`;
}

const Stage = ({ stage, at, asked }) => html`<li class="card stack">
  <div class="row"><span class="dim small">${t("routing.step", { n: at + 1 })}</span><b class="wrap"><bdi>${stage.Model}</bdi></b></div>
  <p class="small dim">${why("why-model", stage.Why, stage.By, { asked })}</p>
  ${stage.Levels.length === 0 && html`<p class="small">${t("routing.no-level")}</p>`}
  ${stage.Levels.map((level) => html`<${Level} key=${level.Level} level=${level} model=${stage.Model} />`)}
</li>`;

const Level = ({ level, model }) => html`<div class="stack">
  <h3>${t("routing.level", { level: level.Level })}</h3>
  <p class="small dim">${why("why-level", level.Why, level.By)} · ${level.Strategy}</p>
  ${level.Keys.length === 0
    ? html`<p class="small">${t("routing.no-keys", { level: level.Level })} <a href=${link("keys", { do: "add" })}>${t("keys.add")}</a></p>`
    : html`<div class="card flush"><div class="table" role="region" tabindex="0" aria-label=${`${model}: ${t("routing.level", { level: level.Level })}`}><table>
      <thead><tr><th scope="col" class="num">#</th><th scope="col">${t("routing.key")}</th><th scope="col">${t("keys.state")}</th><th scope="col" class="num">${t("keys.weight")}</th></tr></thead>
      <tbody>${level.Keys.map((key, at) => html`<${Key} key=${key.ID} row=${key} at=${at} />`)}</tbody>
    </table></div></div>`}
</div>`;

const Key = ({ row, at }) => html`<tr>
  <td class="num">${at + 1}</td>
  <td class="text"><a href=${link("keys", { open: row.ID })}><bdi class="clip">${row.Name || t("keys.nameless", { id: row.ID })}</bdi></a>
    <span class="small dim clip"><bdi>${host(row.Provider)}</bdi>${row.PartialKey && html` · <span class="nowrap">…${row.PartialKey}</span>`}</span></td>
  <td class="text"><${Chip} kind=${KINDS[row.State] ?? ""}>${t(`keys.state.${row.State}`)}</${Chip}>
    ${Date.parse(row.Until) > Date.now() && html` <span class="small dim nowrap">${t("keys.until", { time: time(row.Until) })}</span>`}
    ${row.Reason && html`<span class="small dim clip">${row.Reason}</span>`}</td>
  <td class="num">${row.Weight}${row.MaxConcurrency > 0 && html`<span class="dim small"> · ≤ ${row.MaxConcurrency}</span>`}</td>
</tr>`;

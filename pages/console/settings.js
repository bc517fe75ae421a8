// Settings: all that `/x-config` has, with what each means, its default, and what would change before it does.

import { useLoad } from "../lib/load.js";
import { Action, Check, Chip, Empty, Problem, Search, tell } from "../lib/parts.js";
import { change } from "../lib/route.js";
import { mine } from "../lib/session.js";
import { t, word } from "../lib/text.js";
import { html } from "../lib/view.js";
import { Changes, loadSettings, SettingField, useDraft } from "./setting-form.js";
import { grouped, MASK } from "./settings-data.js";

export function Page({ params }) {
  const loaded = useLoad(loadSettings, []);
  if (loaded.error) return html`<${Problem} error=${loaded.error} />`;
  if (!loaded.data) return html`<p class="dim" role="status">${t("loading")}</p>`;
  return html`<${Settings} values=${loaded.data} params=${params} reload=${loaded.reload} />`;
}

function Settings({ values, params, reload }) {
  const edit = useDraft(values, reload);
  const wanted = (params.search ?? "").toLowerCase();
  const isOn = params.changed === "1";
  const fits = ({ name, standard }) => {
    if (isOn && values[name] === standard) return false;
    return !wanted || name.toLowerCase().includes(wanted) || word("settings", name).toLowerCase().includes(wanted);
  };
  const groups = grouped(values).map(([group, rows]) => [group, rows.filter(fits)]).filter(([, rows]) => rows.length > 0);
  return html`
    <p class="dim">${t("settings.text")}</p>
    <form class="card filters" aria-label=${t("filters")} onSubmit=${(event) => event.preventDefault()}>
      <${Search} label=${t("settings.search")} value=${params.search ?? ""} placeholder="EMAIL" onSearch=${(search) => change({ search }, true)} />
      <${Check} label=${t("settings.changed")} checked=${isOn} onChange=${() => change({ changed: isOn ? "" : "1" }, true)} />
    </form>
    ${groups.length === 0 && html`<${Empty} title=${t("settings.none-match")}><button type="button" onClick=${() => change({ search: "", changed: "" })}>${t("clear")}</button></${Empty}>`}
    ${groups.map(([group, rows]) => html`<section class="card stack" key=${group}>
      <h2>${t(`settings.group.${group}`)}</h2>
      ${rows.map((row) => html`<${Row} key=${row.name} row=${row} value=${values[row.name]} edit=${edit} reload=${reload} />`)}
    </section>`)}
    <${Changes} values=${values} edit=${edit} />`;
}

function Row({ row, value, edit, reload }) {
  const { name, standard } = row;
  const isOwn = standard !== null && value !== standard;
  // What was stored goes; the value of the environment, or else the default, counts again.
  const reset = async () => {
    await mine("/x-config", { method: "DELETE", body: { keys: [name] } });
    tell(t("settings.is-reset", { name }));
    reload();
  };
  return html`<div class="setting">
    <${SettingField} name=${name} value=${value} edit=${edit} />
    <div class="stack small dim">
      ${standard !== null && html`<span>${t("settings.default")} <code class="wrap">${standard || t("settings.empty")}</code></span>`}
      ${isOwn && html`<span class="row">
        <${Chip} kind="good">${t("settings.own")}</${Chip}>
        <${Action} kind="link" label=${t("settings.reset")} run=${reset} confirm=${t("settings.reset.sure", { name, value: value === MASK ? MASK : value.slice(0, 200) })} />
      </span>`}
    </div>
  </div>`;
}

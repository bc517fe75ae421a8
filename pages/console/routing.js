// Routing: which keys a call would be tried on and why, beside the rules that lead there.

import { useLoad } from "../lib/load.js";
import { Empty, Field, Problem } from "../lib/parts.js";
import { change } from "../lib/route.js";
import { mine } from "../lib/session.js";
import { t } from "../lib/text.js";
import { html, useEffect, useState } from "../lib/view.js";
import { faultsOf } from "./faults.js";
import { Route } from "./routing-path.js";
import { Changes, loadSettings, SettingField, useDraft } from "./setting-form.js";

const MAPS = ["MODEL_MAPPER", "LEVEL_MAPPER", "SWITCH_OVER", "MODEL_FAILOVER", "KEY_STRATEGY", "AFFINITY", "HEDGE"];

export function Page({ params }) {
  const settings = useLoad(loadSettings, []);
  const explain = async (signal) => (params.model ? (await mine("/x-conf", { query: { explain: params.model, user: params.user }, signal })).data : null);
  // Saved rules may lead elsewhere: the route is asked for anew with each set of them.
  const route = useLoad(explain, [params.model ?? "", params.user ?? "", settings.data]);
  return html`<div class="beside">
    <div class="stack wide">
      <${Question} params=${params} error=${route.error} />
      ${route.data && html`<${Route} route=${route.data} loading=${route.loading} />`}
      ${!params.model && html`<${Empty} title=${t("routing.ask")} text=${t("routing.ask.text")} />`}
    </div>
    <div class="stack">
      <${Problem} error=${settings.error} />
      ${settings.data && html`<${Rules} values=${settings.data} saved=${settings.reload} />`}
    </div>
  </div>`;
}

function Question({ params, error }) {
  const [model, setModel] = useState(params.model ?? "");
  const [user, setUser] = useState(params.user ?? "");
  useEffect(() => setModel(params.model ?? ""), [params.model]);
  useEffect(() => setUser(params.user ?? ""), [params.user]);
  const ask = (event) => {
    event.preventDefault();
    change({ model: model.trim(), user: user.trim() });
  };
  const { fields, rest } = faultsOf(error, ["explain", "user"]);
  const missing = error?.status === 404;
  return html`<form class="card stack" onSubmit=${ask}>
    <div class="fields">
      <${Field} label=${t("routing.model")} value=${model} required=${true} placeholder="gpt-4o-mini" spellcheck=${false} autocomplete="off" error=${fields.explain} onInput=${(event) => setModel(event.target.value)} />
      <${Field} label=${t("routing.user")} value=${user} placeholder=${t("routing.user.root")} spellcheck=${false} autocomplete="off" error=${missing ? error.message : fields.user} onInput=${(event) => setUser(event.target.value)} />
    </div>
    <div class="row"><button class="main" disabled=${!model.trim()}>${t("routing.go")}</button></div>
    <${Problem} error=${missing ? null : rest} />
  </form>`;
}

function Rules({ values, saved }) {
  const edit = useDraft(values, saved);
  return html`<section class="card stack" aria-label=${t("routing.rules")}>
      <h2>${t("routing.rules")}</h2>
      <p class="small dim">${t("routing.rules.text")}</p>
      ${MAPS.filter((name) => name in values).map((name) => html`<${SettingField} key=${name} name=${name} value=${values[name]} edit=${edit} />`)}
    </section>
    <${Changes} values=${values} edit=${edit} />`;
}

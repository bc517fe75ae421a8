// Hand out keys: one account or many from pasted lines, each key shown once, ready to use.

import { money } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { link } from "../lib/route.js";
import { mine, session } from "../lib/session.js";
import { t } from "../lib/text.js";
import { html } from "../lib/view.js";
import { Many } from "./hand-out-many.js";
import { One } from "./hand-out-one.js";

export function Page({ params }) {
  const rules = useLoad((signal) => mine("/dashboard/conf", { signal }).then(({ data }) => data), [session.value.id]);
  if (!session.value.manage) return html`<${Denied} rules=${rules.data} />`;
  const isMany = params.many === "1";
  const tab = (many, text) => html`<a class="button" href=${link("hand-out", { many })} aria-current=${isMany === Boolean(many) ? "page" : undefined}>${text}</a>`;
  const least = rules.data?.user_min_balance ?? 0;
  return html`<nav class="row" aria-label=${t("hand-out.ways")}>${tab("", t("hand-out.one"))}${tab("1", t("hand-out.many"))}</nav>
    ${isMany ? html`<${Many} least=${least} />` : html`<${One} least=${least} />`}`;
}

function Denied({ rules }) {
  const { balance } = session.value;
  const needed = rules ? money(rules.user_api_balance) : "…";
  return html`<div class="note warn stack" role="note"><h2>${t("hand-out.denied")}</h2>
    <p>${t("hand-out.denied-text", { needed, balance: money(balance) })}</p>
    <p class="small dim">${t("hand-out.denied-why")}</p></div>`;
}

// Sub-accounts: what a reseller does with the accounts right below its own.

import { money } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Problem } from "../lib/parts.js";
import { mine, resume, session, signOut } from "../lib/session.js";
import { Foot, TopBar } from "../lib/shell.js";
import { SignIn } from "../lib/sign-in.js";
import { t } from "../lib/text.js";
import { html, render } from "../lib/view.js";
import { Accounts } from "./accounts.js";

function Mine() {
  const rules = useLoad((signal) => mine("/dashboard/conf", { signal }).then(({ data }) => data), [session.value.id]);
  const { name, balance, manage, admin } = session.value;
  return html`<div class="row between"><div><h1>${t("user.title")}</h1><p class="dim wrap"><bdi>${name}</bdi>${!admin && ` · ${t("user.balance", { balance: money(balance) })}`}</p></div></div>
    <${Problem} error=${rules.error} />
    ${manage ? html`<${Accounts} least=${rules.data?.user_min_balance ?? 0} />`
      : html`<div class="note warn stack"><h2>${t("hand-out.denied")}</h2>
        <p>${t("hand-out.denied-text", { needed: rules.data ? money(rules.data.user_api_balance) : "…", balance: money(balance) })}</p><p class="small dim">${t("hand-out.denied-why")}</p></div>`}`;
}

const Page = () => html`<${TopBar}>
    ${session.value ? html`<button type="button" class="quiet" onClick=${() => signOut()}>${t("sign-out")}</button>` : html`<a class="button quiet" href="../docs/">${t("docs")}</a>`}
  </${TopBar}>
  <div class="frame"><main id="main" tabindex="-1"><div class="narrow broad stack wide">
    ${session.value ? html`<${Mine} />` : html`<div class="stack"><h1>${t("user.title")}</h1><p class="dim">${t("user.text")}</p></div><${SignIn} />`}
  </div></main></div>
  <${Foot} />`;

await resume();
document.title = `${t("user.title")} · ProxyXAI`;
render(html`<${Page} />`, document.body);

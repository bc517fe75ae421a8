// Sub-accounts: what a reseller does with the accounts right below its own.

import { money } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Action, Problem, Secret } from "../lib/parts.js";
import { rotate } from "../lib/rotate.js";
import { mine, resume, session, signOut } from "../lib/session.js";
import { Foot, TopBar } from "../lib/shell.js";
import { SignIn } from "../lib/sign-in.js";
import { t } from "../lib/text.js";
import { html, render, useState } from "../lib/view.js";
import { Accounts } from "./accounts.js";

// Who one is; and whoever fears that others have its key gives itself a new one.
function Head() {
  const [secret, setSecret] = useState("");
  const { id, name, balance, admin } = session.value;
  const run = async () => setSecret(await rotate({ id, name }));
  return html`<div class="row between"><div class="grow"><h1>${t("user.title")}</h1>
      <p class="dim wrap"><bdi>${name}</bdi>${!admin && ` · ${t("user.balance", { balance: money(balance) })}`}</p></div>
      <${Action} label=${t("user.own-key")} confirm=${t("user.own-key-sure")} run=${run} /></div>
    ${secret && html`<div class="stack" role="status"><p>${t("accounts.new-key")}</p><${Secret} text=${secret} /></div>`}`;
}

const Further = () => html`<div class="stack"><h1>${t("user.title")}</h1><p class="note">${t("further-key")}</p></div>
  <div class="row"><a class="button" href="../billing/">${t("billing.title")}</a></div>`;

function Mine() {
  const rules = useLoad((signal) => mine("/dashboard/conf", { signal }).then(({ data }) => data), [session.value.id]);
  const { balance, manage } = session.value;
  return html`<${Head} />
    <${Problem} error=${rules.error} />
    ${manage ? html`<${Accounts} least=${rules.data?.user_min_balance ?? 0} />`
      : html`<div class="note warn stack"><h2>${t("hand-out.denied")}</h2>
        <p>${t("hand-out.denied-text", { needed: rules.data ? money(rules.data.user_api_balance) : "…", balance: money(balance) })}</p><p class="small dim">${t("hand-out.denied-why")}</p></div>`}`;
}

const Page = () => html`<${TopBar}>
    ${session.value ? html`<button type="button" class="quiet" onClick=${() => signOut()}>${t("sign-out")}</button>` : html`<a class="button quiet" href="../docs/">${t("docs")}</a>`}
  </${TopBar}>
  <div class="frame"><main id="main" tabindex="-1"><div class="narrow broad stack wide">
    ${session.value?.client_key ? html`<${Further} />` : session.value ? html`<${Mine} />` : html`<div class="stack"><h1>${t("user.title")}</h1><p class="dim">${t("user.text")}</p></div><${SignIn} />`}
  </div></main></div>
  <${Foot} />`;

await resume();
document.title = `${t("user.title")} · ProxyXAI`;
render(html`<${Page} />`, document.body);

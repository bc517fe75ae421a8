// The front page: says what this is, and takes a key to where its owner wants to be.

import { firstCall } from "./lib/first-call.js";
import { Code } from "./lib/parts.js";
import { resume, session } from "./lib/session.js";
import { Foot, TopBar } from "./lib/shell.js";
import { SignIn } from "./lib/sign-in.js";
import { t } from "./lib/text.js";
import { html, render } from "./lib/view.js";

const enter = () => location.assign("console/");

const Way = ({ href, title, text }) => html`<a class="card stack way" href=${href}><h2>${title}</h2><p class="dim">${text}</p></a>`;

function Front() {
  const account = session.value;
  return html`<${TopBar}><a class="button quiet" href="docs/">${t("docs")}</a></${TopBar}>
    <div class="frame"><main id="main" tabindex="-1"><div class="narrow stack wide">
      <div class="stack"><h1>${t("front.title")}</h1><p class="dim">${t("front.text")}</p></div>
      ${account
        ? html`<div class="card row between"><span class="grow wrap">${t("front.welcome", { name: account.name })}</span><a class="button main" href="console/">${t("front.console")}</a></div>`
        : html`<${SignIn} then=${enter} />`}
      <div class="tiles ways">
        <${Way} href="console/" title=${t("front.console")} text=${t("front.console.text")} />
        <${Way} href="billing/" title=${t("front.billing")} text=${t("front.billing.text")} />
        <${Way} href="user/" title=${t("front.user")} text=${t("front.user.text")} />
        <${Way} href="docs/" title=${t("docs")} text=${t("front.docs.text")} />
      </div>
      <div class="stack"><h2>${t("front.call")}</h2><${Code} text=${firstCall} /></div>
    </div></main></div>
    <${Foot} />`;
}

await resume();
render(html`<${Front} />`, document.body);

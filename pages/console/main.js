// The console: one frame around many pages, each loaded when it is first looked at.

import { money } from "../lib/format.js";
import { Problem } from "../lib/parts.js";
import { here, link } from "../lib/route.js";
import { resume, session, signOut } from "../lib/session.js";
import { Foot, TopBar } from "../lib/shell.js";
import { SignIn } from "../lib/sign-in.js";
import { t } from "../lib/text.js";
import { html, render, useEffect, useState } from "../lib/view.js";

// In the order of the menu: pages by group; those for `root` alone are not offered to others.
const MENU = [
  { group: "use", pages: [{ name: "calls" }, { name: "hand-out" }, { name: "spend" }, { name: "playground" }] },
  { group: "run", pages: [{ name: "keys", root: true }, { name: "accounts" }, { name: "money" }, { name: "prices", root: true }, { name: "routing", root: true }] },
  { group: "watch", pages: [{ name: "fleet", root: true }, { name: "limits" }, { name: "audit" }] },
  { group: "set", pages: [{ name: "settings", root: true }, { name: "news" }] },
];
const PAGES = MENU.flatMap((group) => group.pages);
// A further client key makes calls, and that is all.
const isFurther = () => session.value.client_key === true;
const first = () => (isFurther() ? "playground" : "calls");

const allowed = (page) => (isFurther() ? page.name === "playground" : !page.root || session.value.admin);

function Menu({ open, onGo, current }) {
  return html`<div class=${`side ${open ? "open" : ""}`}><nav aria-label=${t("menu")}>
    ${MENU.map(({ group, pages }) => {
      const shown = pages.filter(allowed);
      return shown.length > 0 && html`<div class="group">${t(`menu.${group}`)}</div>
        ${shown.map(({ name }) => html`<a href=${link(name)} aria-current=${name === current ? "page" : undefined} onClick=${onGo}>${t(`${name}.title`)}</a>`)}`;
    })}
    ${isFurther() && html`<a href="../billing/">${t("billing.title")}</a>`}
  </nav></div>`;
}

function Current({ name }) {
  const [loaded, set] = useState({});
  useEffect(() => {
    let gone = false;
    import(`./${name}.js`).then(
      ({ Page }) => gone || set({ name, Page }),
      (error) => gone || set({ name, error }),
    );
    return () => (gone = true);
  }, [name]);
  useEffect(() => {
    document.title = `${t(`${name}.title`)} · ProxyXAI`;
  }, [name]);
  if (loaded.name !== name) return html`<p class="dim" role="status">${t("loading")}</p>`;
  return loaded.error ? html`<${Problem} error=${loaded.error} />` : html`<${loaded.Page} params=${here.value.params} />`;
}

const Who = ({ account }) => html`<span class="who"><b title=${account.name}>${account.name}</b>
  <span class="dim small num">${account.admin ? t("root") : money(account.balance)}</span></span>`;

function Console() {
  const [open, setOpen] = useState(false);
  const account = session.value;
  if (!account) {
    return html`<${TopBar} /><div class="frame"><main id="main" tabindex="-1"><div class="narrow"><${SignIn} /></div></main></div><${Foot} />`;
  }
  const wanted = PAGES.find(({ name }) => name === here.value.page);
  const page = wanted && allowed(wanted) ? wanted.name : first();
  const burger = html`<button type="button" class="quiet only-phone" aria-label=${t("menu")} aria-expanded=${open} onClick=${() => setOpen(!open)}>☰</button>`;
  return html`<${TopBar} start=${burger}>
      <${Who} account=${account} />
      <button type="button" class="quiet" onClick=${() => signOut()}>${t("sign-out")}</button>
    </${TopBar}>
    <div class="frame">
      <${Menu} open=${open} current=${page} onGo=${() => setOpen(false)} />
      <main id="main" tabindex="-1"><h1>${t(`${page}.title`)}</h1>${isFurther() && html`<p class="note">${t("further-key")}</p>`}<${Current} name=${page} /></main>
    </div>
    <${Foot} />`;
}

await resume();
render(html`<${Console} />`, document.body);

// What every page has: the bar at the top, the foot, and the choice of language and colours.

import { choice } from "./store.js";
import { Toast } from "./parts.js";
import { choose, language, languages, t } from "./text.js";
import { html, useState } from "./view.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  return choice.get("theme") ?? (dark.matches ? "dark" : "light");
}

function show() {
  document.documentElement.dataset.theme = theme();
}
show();
dark.addEventListener("change", show);

const Mark = () => html`<svg width="22" height="22" viewBox="0 0 22 22" aria-hidden="true">
  <rect x="1" y="1" width="20" height="20" rx="6" fill="var(--accent)" />
  <path d="M6.5 6.5 15.5 15.5M15.5 6.5 12.3 9.7M9.7 12.3 6.5 15.5" stroke="var(--on-accent)" stroke-width="2.2" stroke-linecap="round" fill="none" />
</svg>`;

function Theme() {
  const [now, set] = useState(theme());
  const other = now === "dark" ? "light" : "dark";
  const turn = () => {
    choice.set("theme", other);
    show();
    set(other);
  };
  return html`<button type="button" class="quiet" onClick=${turn} aria-label=${t(`theme.${other}`)} title=${t(`theme.${other}`)}>${now === "dark" ? "☀" : "☾"}</button>`;
}

const Language = () => languages.filter(([name]) => name !== language).map(([name, text]) => html`
  <button type="button" class="quiet" lang=${name} onClick=${() => choose(name)}>${text}</button>`);

export const TopBar = ({ start, children }) => html`<header class="top-bar">
  <a class="skip" href="#main" onClick=${skip}>${t("skip")}</a>
  ${start}
  <a class="brand" href="../"><${Mark} /><span>ProxyXAI</span></a>
  <span class="grow"></span>
  ${children}
  <${Language} /><${Theme} />
</header>`;

// The address says which page one is on; it must not change for this.
function skip(event) {
  event.preventDefault();
  document.querySelector("main").focus();
}

export const Foot = () => html`<footer class="foot">Powered by <a href="https://proxyxai.com" rel="noreferrer">ProxyXAI</a></footer><${Toast} />`;

export const Page = ({ children }) => html`<${TopBar}>
    <a class="button quiet" href="../docs/">${t("docs")}</a>
  </${TopBar}>
  <div class="frame"><main id="main" tabindex="-1"><div class="narrow stack wide">${children}</div></main></div>
  <${Foot} />`;

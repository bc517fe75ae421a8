// The documentation: contents beside one document, which is the Markdown of `docs/` as it is.

import { useLoad } from "../lib/load.js";
import { Problem } from "../lib/parts.js";
import { here } from "../lib/route.js";
import { Foot, TopBar } from "../lib/shell.js";
import { language, t } from "../lib/text.js";
import { html, render, useEffect, useRef, useState } from "../lib/view.js";
import { Finder, Found } from "./finder.js";
import { blocks } from "./markdown.js";
import { contents, tokensOf } from "./texts.js";

const FIRST = "quick-start";
const titleOf = ({ title }) => title[language] ?? title.en;

// `#NAME/ANCHOR`. Addresses that name no document are told so by its text that is not there.
function place() {
  const [name, anchor = ""] = here.value.page.split("/", 2);
  return { name: name || FIRST, anchor: decodeURIComponent(anchor) };
}

const addressOf = ({ name, page }) => page ?? `#${name}`;

function Sections({ name }) {
  const { data } = useLoad(() => tokensOf(name), [name]);
  const sections = (data ?? []).filter((token) => token.type === "heading" && token.depth === 2);
  return sections.length > 1 && html`<div class="sections">
    ${sections.map((token) => html`<a href=${`#${name}/${token.anchor}`}>${token.said}</a>`)}
  </div>`;
}

function Contents({ groups, current, open, onGo }) {
  const onClick = (event) => event.target.closest("a") && onGo();
  const list = useRef(null);
  useEffect(() => list.current.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" }), [groups, current]);
  return html`<div class=${`side wide ${open ? "open" : ""}`}><nav ref=${list} aria-label=${t("docs.contents")} onClick=${onClick}>
    ${groups.map(({ group, documents }) => html`<div class="group">${t(`docs.group.${group}`)}</div>
      ${documents.map((each) => html`<a href=${addressOf(each)} aria-current=${each.name === current ? "page" : undefined}>${titleOf(each)}</a>
        ${each.name === current && html`<${Sections} key=${each.name} name=${each.name} />`}`)}`)}
  </nav></div>`;
}

// The one before and the one after, in the order of the contents.
function Neighbours({ groups, name }) {
  const all = groups.flatMap((group) => group.documents);
  const at = all.findIndex((each) => each.name === name);
  if (at < 0) return null;
  const [before, after] = [all[at - 1], all[at + 1]];
  return html`<nav class="row between neighbours" aria-label=${t("docs.neighbours")}>
    ${before ? html`<a class="button" href=${addressOf(before)}>← ${titleOf(before)}</a>` : html`<span></span>`}
    ${after && html`<a class="button" href=${addressOf(after)}>${titleOf(after)} →</a>`}
  </nav>`;
}

// Goes to the section that the address names, when it and the text are there; to the top of a new document.
function useSection(data, name, anchor) {
  useEffect(() => {
    if (!data) return;
    const heading = anchor && document.getElementById(anchor);
    if (heading) heading.scrollIntoView();
    else scrollTo(0, 0);
    if (heading) heading.focus({ preventScroll: true });
  }, [data, name, anchor, here.value]);
}

function Text({ name, anchor, groups }) {
  const { data, error } = useLoad(() => tokensOf(name), [name]);
  const shown = error ? null : data;
  useSection(shown, name, anchor);
  useEffect(() => {
    const title = shown?.find((token) => token.type === "heading")?.said ?? t("docs");
    document.title = `${title} · ProxyXAI`;
  }, [shown]);
  if (error) {
    return html`<h1>${t("docs")}</h1>${error.status === 404
      ? html`<p class="note warn" role="alert">${t("docs.none", { name })} <a href=${`#${FIRST}`}>${t("docs.first")}</a></p>`
      : html`<${Problem} error=${error} />`}`;
  }
  if (!shown) return html`<p class="dim" role="status">${t("loading")}</p>`;
  return html`<article class="prose" lang="en">${blocks(shown, name)}</article><${Neighbours} groups=${groups} name=${name} />`;
}

function Documentation() {
  const [open, setOpen] = useState(false);
  const { data: groups, error } = useLoad(contents, []);
  const { name, anchor } = place();
  const isSearch = name === "search";
  useEffect(() => setOpen(false), [here.value]);
  useEffect(() => {
    if (isSearch) document.title = `${t("docs.search")} · ProxyXAI`;
  }, [isSearch]);
  const burger = html`<button type="button" class="quiet only-phone" aria-label=${t("docs.contents")} aria-expanded=${open} onClick=${() => setOpen(!open)}>☰</button>`;
  return html`<${TopBar} start=${burger}>
      <${Finder} /><a class="button quiet not-phone" href="../console/">${t("front.console")}</a>
    </${TopBar}>
    <div class="frame">
      <${Contents} groups=${groups ?? []} current=${name} open=${open} onGo=${() => setOpen(false)} />
      <main id="main" tabindex="-1">
        <${Problem} error=${error} />
        ${isSearch ? html`<${Found} query=${here.value.params.q ?? ""} />` : html`<${Text} key=${name} name=${name} anchor=${anchor} groups=${groups ?? []} />`}
      </main>
    </div>
    <${Foot} />`;
}

render(html`<${Documentation} />`, document.body);

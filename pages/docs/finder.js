// The field that searches, and what it finds.

import { useLoad } from "../lib/load.js";
import { Problem } from "../lib/parts.js";
import { go, change, here } from "../lib/route.js";
import { language, t } from "../lib/text.js";
import { html, useEffect, useRef, useState } from "../lib/view.js";
import { search, sectionsOf } from "./search.js";
import { contents, tokensOf } from "./texts.js";

const TYPING_MS = 150;

// All sections of all documents, in the order of the contents.
async function everything() {
  const documents = (await contents()).flatMap((group) => group.documents).filter((each) => !each.page);
  const sections = await Promise.all(documents.map(async ({ name, title }) => sectionsOf(name, title[language] ?? title.en, await tokensOf(name))));
  return sections.flat();
}

const isSearch = () => here.value.page === "search";

// What is typed stands in the address, so that what was found is a link as well.
export function Finder() {
  const [text, set] = useState(here.value.params.q ?? "");
  const field = useRef(null);
  useEffect(() => {
    if (isSearch()) set(here.value.params.q ?? "");
  }, [here.value]);
  useEffect(() => {
    const wanted = text.trim();
    if (wanted === (isSearch() ? (here.value.params.q ?? "") : "")) return undefined;
    if (!wanted && !isSearch()) return undefined;
    const timer = setTimeout(() => (isSearch() ? change({ q: wanted }, true) : go("search", { q: wanted })), TYPING_MS);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(() => {
    const focus = (event) => {
      const typing = /^(input|textarea|select)$/i.test(event.target.tagName);
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      field.current.focus();
    };
    document.addEventListener("keydown", focus);
    return () => document.removeEventListener("keydown", focus);
  }, []);
  return html`<form role="search" class="finder" onSubmit=${(event) => { event.preventDefault(); step(-1, 1); }}>
    <input ref=${field} type="search" autocomplete="off" spellcheck=${false} aria-label=${t("docs.search")} aria-keyshortcuts="/"
      placeholder=${t("docs.search.hint")} value=${text} onInput=${(event) => set(event.target.value)}
      onKeyDown=${(event) => arrow(event, -1)} />
  </form>`;
}

const links = () => [...document.querySelectorAll(".found a")];

function step(from, by) {
  const all = links();
  const next = from + by;
  if (next < 0) document.querySelector(".finder input").focus();
  else all[Math.min(next, all.length - 1)]?.focus();
}

function arrow(event, at) {
  if (event.key === "ArrowDown") step(at, 1);
  else if (event.key === "ArrowUp" && at >= 0) step(at, -1);
  else if (event.key === "Escape" && at >= 0) step(0, -1);
  else return;
  event.preventDefault();
}

const Pieces = ({ pieces }) => pieces.map(({ text, hit }) => (hit ? html`<mark>${text}</mark>` : text));

export function Found({ query }) {
  const { data, error } = useLoad(everything, []);
  if (error) return html`<${Problem} error=${error} />`;
  if (!data) return html`<p class="dim" role="status">${t("loading")}</p>`;
  const found = search(data, query);
  return html`<h1>${t("docs.search")}</h1>
    <p class="dim" role="status">${query ? t(found.length ? "docs.found" : "docs.found-none", { n: found.length, query }) : t("docs.search.text")}</p>
    <ul class="found">${found.map((section, at) => html`<li key=${`${section.name}/${section.anchor}`}>
      <a class="card" href=${`#${section.name}${section.anchor && `/${section.anchor}`}`} onKeyDown=${(event) => arrow(event, at)}>
        <span class="dim small">${section.title}</span>
        <b><${Pieces} pieces=${section.headline} /></b>
        <span class="dim small wrap"><${Pieces} pieces=${section.excerpt} /></span>
      </a></li>`)}</ul>`;
}

// Markdown as elements. The lexer alone is used: what it finds becomes nodes of ours, and nothing becomes HTML.

import { useLoad } from "../lib/load.js";
import { Code } from "../lib/parts.js";
import { t } from "../lib/text.js";
import { html, useEffect, useRef, useState } from "../lib/view.js";
import { lexer } from "../vendor/marked.js";
import { pictureOf } from "./texts.js";

const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', nbsp: "\u00a0" };
const decoded = (text) => text.replace(/&(amp|lt|gt|quot|nbsp);/g, (_, name) => ENTITIES[name]);

// What a reader sees of some tokens, as one text.
export function plain(tokens = []) {
  return tokens.map((token) => {
    if (token.type === "br") return " ";
    if (token.type === "html") return "";
    return token.tokens ? plain(token.tokens) : token.type === "text" ? decoded(token.text) : (token.text ?? "");
  }).join("");
}

// The anchor of a heading, by the rule of the sites that show these files elsewhere, so that links work on both.
export function anchors() {
  const seen = new Map();
  return (heading) => {
    const name = heading.trim().toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "").replace(/\s/g, "-");
    const times = seen.get(name) ?? 0;
    seen.set(name, times + 1);
    return times ? `${name}-${times}` : name;
  };
}

// The tokens of a document; each heading knows its text and its anchor.
export function read(text) {
  const anchor = anchors();
  const tokens = lexer(text);
  for (const token of tokens) {
    if (token.type !== "heading") continue;
    token.said = plain(token.tokens);
    token.anchor = anchor(token.said);
  }
  return tokens;
}

// Where a link of document `name` leads: inside these pages, elsewhere on the web, or (null) to a file of the repository.
export function target(href, name) {
  if (/^https?:\/\//.test(href)) return { href, outside: true };
  const [file, anchor = ""] = href.split("#", 2);
  const found = file === "" ? [null, name] : /^([\w-]+)\.md$/.exec(file);
  if (found) return { href: `#${found[1]}${anchor && `/${anchor}`}` };
  return /^\.\.\/[\w-]+\/$/.test(file) ? { href } : null;
}

function Link({ token, name }) {
  const leads = target(token.href, name);
  const inside = inline(token.tokens, name);
  if (!leads) return html`<span title=${t("docs.in-repository", { file: token.href.replace(/^(\.\.\/)+/, "") })}>${inside}</span>`;
  return html`<a href=${leads.href} rel=${leads.outside ? "noreferrer" : undefined}>${inside}</a>`;
}

// A picture is asked for when its reader comes near it.
function Picture({ token }) {
  const node = useRef(null);
  const [isNear, setNear] = useState(false);
  useEffect(() => {
    const watch = new IntersectionObserver((seen) => seen.some((each) => each.isIntersecting) && setNear(true), { rootMargin: "200px" });
    watch.observe(node.current);
    return () => watch.disconnect();
  }, []);
  const { data } = useLoad(async () => (isNear ? pictureOf(token.href) : null), [token.href, isNear]);
  return html`<img ref=${node} alt=${token.text} src=${data ?? undefined} />`;
}

// Pictures of the documents' own folder alone; of any other the words that stand for it.

const picture = (token) => (/^images\/[\w-]+\.webp$/.test(token.href) ? html`<${Picture} token=${token} />` : token.text);

// A long name may be broken behind the signs that join its parts, so that it makes no column wide.
const breakable = (text) => text.split(/(?<=[\p{L}\p{N}][_.,/:=&?|-])(?=[\p{L}\p{N}])/u).map((part, at) => (at ? html`<wbr />${part}` : part));

const INLINE = {
  text: (token, name) => (token.tokens ? inline(token.tokens, name) : decoded(token.text)),
  escape: (token) => token.text,
  codespan: (token) => html`<code>${breakable(token.text)}</code>`,
  strong: (token, name) => html`<strong>${inline(token.tokens, name)}</strong>`,
  em: (token, name) => html`<em>${inline(token.tokens, name)}</em>`,
  del: (token, name) => html`<del>${inline(token.tokens, name)}</del>`,
  br: () => html`<br />`,
  link: (token, name) => html`<${Link} token=${token} name=${name} />`,
  image: picture,
};

// A comment is for those who write; any other markup is shown as the text that it is.
const markup = (token) => (token.raw.trimStart().startsWith("<!--") ? null : token.raw);

function inline(tokens = [], name) {
  return tokens.map((token) => (INLINE[token.type] ?? markup)(token, name));
}

const side = (align) => (align === "right" ? "num" : "");

const Table = ({ token, name, label }) => html`<div class="card flush"><div class="table" role="region" tabindex="0" aria-label=${label}><table>
  <thead><tr>${token.header.map((cell) => (cell.tokens.length ? html`<th scope="col" class=${side(cell.align)}>${inline(cell.tokens, name)}</th>` : html`<td></td>`))}</tr></thead>
  <tbody>${token.rows.map((row) => html`<tr>${row.map((cell) => html`<td class=${side(cell.align)}>${inline(cell.tokens, name)}</td>`)}</tr>`)}</tbody>
</table></div></div>`;

const Item = ({ token, name }) => html`<li>${blocks(token.tokens, name)}</li>`;

function Heading({ token, name }) {
  const Tag = `h${Math.min(token.depth, 4)}`;
  return html`<${Tag} id=${token.anchor} tabindex="-1">${inline(token.tokens, name)}
    ${token.depth > 1 && html` <a class="anchor" href=${`#${name}/${token.anchor}`} aria-label=${t("docs.link-here", { name: token.said })}>#</a>`}
  </${Tag}>`;
}

const BLOCK = {
  space: () => null,
  heading: (token, name) => html`<${Heading} token=${token} name=${name} />`,
  paragraph: (token, name) => html`<p>${inline(token.tokens, name)}</p>`,
  text: (token, name) => inline(token.tokens ?? [token], name),
  code: (token) => html`<${Code} text=${token.text} />`,
  table: (token, name, label) => html`<${Table} token=${token} name=${name} label=${label} />`,
  blockquote: (token, name) => html`<blockquote class="note">${blocks(token.tokens, name)}</blockquote>`,
  list: (token, name) => (token.ordered
    ? html`<ol start=${token.start || 1}>${token.items.map((item) => html`<${Item} token=${item} name=${name} />`)}</ol>`
    : html`<ul>${token.items.map((item) => html`<${Item} token=${item} name=${name} />`)}</ul>`),
  hr: () => html`<hr />`,
};

// A table is called by the heading that it stands under.
export function blocks(tokens, name, label = name) {
  let under = label;
  return tokens.map((token) => {
    if (token.type === "heading") under = token.said;
    return (BLOCK[token.type] ?? markup)(token, name, under);
  });
}

// Searching all documents in the browser: each section is an entry, found by the beginnings of its words.

import { plain } from "./markdown.js";

const EXCERPT_BEFORE = 60;
const EXCERPT_CHARACTERS = 200;
const FOUND_MAX = 40;
// How much a word counts by where it stands.
const WEIGHTS = { title: 8, heading: 5, text: 1 };
const TEXT_HITS_MAX = 5;

// The text of a block, of whatever kind.
function said(token) {
  if (token.type === "code") return token.text;
  if (token.type === "table") return [token.header, ...token.rows].flat().map((cell) => plain(cell.tokens)).join(" · ");
  if (token.type === "list") return token.items.map((item) => item.tokens.map(said).join(" ")).join(" ");
  if (token.type === "html" || token.type === "space") return "";
  return token.tokens ? plain(token.tokens) : (token.text ?? "");
}

// The sections of one document, each with all that stands below its heading and above the next.
export function sectionsOf(name, title, tokens) {
  const sections = [];
  for (const token of tokens) {
    if (token.type === "heading") {
      sections.push({ name, title, heading: token.said, anchor: token.depth === 1 ? "" : token.anchor, parts: [] });
    } else {
      sections.at(-1)?.parts.push(said(token));
    }
  }
  return sections.map(({ parts, ...section }) => ({ ...section, text: parts.filter(Boolean).join(" ").replace(/\s+/g, " ") }));
}

const fold = (text) => text.toLowerCase();
export const wordsOf = (query) => [...new Set(fold(query).split(/[^\p{L}\p{N}_]+/u).filter(Boolean))];

// Where words begin with `word`. Names such as CALL_MIN_BALANCE are found by each of their parts.
function places(text, word, most) {
  const found = [];
  for (let at = text.indexOf(word); at >= 0 && found.length < most; at = text.indexOf(word, at + word.length)) {
    if (at === 0 || !/[\p{L}\p{N}]/u.test(text[at - 1])) found.push(at);
  }
  return found;
}

function score(section, words) {
  let sum = 0;
  for (const word of words) {
    const title = places(fold(section.title), word, 1).length * WEIGHTS.title;
    const heading = places(fold(section.heading), word, 1).length * WEIGHTS.heading;
    const text = Math.sqrt(places(fold(section.text), word, TEXT_HITS_MAX).length) * WEIGHTS.text;
    if (title + heading + text === 0) return 0;
    sum += title + heading + text;
  }
  return sum;
}

// A part of the text around the first word that is in it, as pieces: `[{ text, hit }]`.
export function excerpt(text, words) {
  const low = fold(text);
  const first = words.flatMap((word) => places(low, word, 1)).sort((a, b) => a - b)[0] ?? 0;
  let begin = Math.max(0, first - EXCERPT_BEFORE);
  if (begin > 0) begin = Math.min(first, (text.indexOf(" ", begin) + 1) || first);
  const part = text.slice(begin, begin + EXCERPT_CHARACTERS);
  const end = begin + part.length < text.length ? "…" : "";
  return [{ text: begin > 0 ? "…" : "" }, ...marked(part, words), { text: end }].filter((piece) => piece.text);
}

export function marked(text, words) {
  const low = fold(text);
  // A language in which folding changes lengths has nothing marked rather than the wrong letters.
  if (low.length !== text.length) return [{ text }];
  const hits = words.flatMap((word) => places(low, word, Infinity).map((at) => [at, at + word.length])).sort((a, b) => a[0] - b[0]);
  const pieces = [];
  let at = 0;
  for (const [from, to] of hits) {
    if (from < at) continue;
    pieces.push({ text: text.slice(at, from) }, { text: text.slice(from, to), hit: true });
    at = to;
  }
  return [...pieces, { text: text.slice(at) }].filter((piece) => piece.text);
}

// The sections that have all words, best first.
export function search(sections, query) {
  const words = wordsOf(query);
  if (words.length === 0) return [];
  return sections
    .map((section, at) => ({ section, at, score: score(section, words) }))
    .filter((found) => found.score > 0)
    .sort((a, b) => b.score - a.score || a.at - b.at)
    .slice(0, FOUND_MAX)
    .map(({ section }) => ({ ...section, excerpt: excerpt(section.text, words), headline: marked(section.heading, words) }));
}

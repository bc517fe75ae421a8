// The texts of the chosen language. A text is only ever set as text, never as HTML.

import { choice } from "./store.js";

const NAMES = { en: "English", zh: "中文" };

function preferred() {
  const chosen = choice.get("language");
  if (chosen in NAMES) return chosen;
  const wanted = navigator.languages.map((name) => name.slice(0, 2).toLowerCase());
  return wanted.find((name) => name in NAMES) ?? "en";
}

export const language = preferred();
export const languages = Object.entries(NAMES);
const { default: texts } = await import(`../text/${language}.js`);
document.documentElement.lang = language === "zh" ? "zh-CN" : "en";

// The text with this name, with `{name}` filled in.
export function t(name, values = {}) {
  const text = texts[name];
  if (text === undefined) throw new Error(`no text is named ${name}`);
  return text.replace(/\{(\w+)\}/g, (whole, key) => (key in values ? String(values[key]) : whole));
}

// The text with this name, or the name where there is none: for words of the API.
export const word = (prefix, name) => texts[`${prefix}.${name}`] ?? String(name);

export function choose(name) {
  choice.set("language", name);
  location.reload();
}

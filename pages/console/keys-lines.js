// Pasted lines as upstream keys: `key`, `key url`, `name key url level`; blanks, commas, tabs or `::` between.

import { t } from "../lib/text.js";
import { typeOf } from "./providers.js";

const CHARACTERS_MIN = 20;

// Enough to tell one's keys apart, too little to use one.
export const masked = (secret) => (secret.length > 16 ? `${secret.slice(0, 6)}…${secret.slice(-4)}` : "…");

function lineOf(text, common) {
  const words = text.replace(/::(?=https?:)/, " ").split(/[\s,;]+/).filter(Boolean);
  const isUrl = (token) => /^https?:\/\//i.test(token);
  const url = words.find(isUrl);
  let rest = words.filter((token) => !isUrl(token));
  let level;
  if (rest.length > 1 && /^L?\d{1,2}$/i.test(rest.at(-1))) level = Number(rest.at(-1).replace(/^L/i, ""));
  if (level !== undefined) rest = rest.slice(0, -1);
  // The key comes after the name, unless only what comes first is long enough for one.
  if (rest.length > 1 && rest.at(-1).length < CHARACTERS_MIN && rest[0].length >= CHARACTERS_MIN) rest = [...rest.slice(1), rest[0]];
  const secret = rest.at(-1) ?? "";
  const provider = url ?? common.provider;
  return { name: rest.slice(0, -1).join(" "), secret, provider, level: level ?? common.level, type: url ? typeOf(url) : common.type };
}

function problemOf(line, earlier) {
  if (!line.secret) return t("keys.paste.no-key");
  if (line.secret.length < CHARACTERS_MIN) return t("keys.paste.short", { n: CHARACTERS_MIN });
  if (line.level > 10) return t("keys.paste.level");
  if (!URL.canParse(line.provider)) return t("keys.paste.address");
  return earlier.some(({ secret, provider }) => secret === line.secret && provider === line.provider) ? t("keys.paste.twice") : "";
}

// `common` is what holds for lines that say nothing of it: provider, type, level.
export function linesOf(text, common) {
  const lines = [];
  for (const row of text.split(/\r?\n/).filter((part) => part.trim())) {
    const line = lineOf(row, common);
    lines.push({ ...line, text: row, problem: problemOf(line, lines) });
  }
  return lines;
}

// What a key's `Config` looks like in the fields of a form, and back.

import { t } from "../lib/text.js";

const fault = (param, message) => Object.assign(new Error(message), { param });

export const lined = (text) => text.split(/[\n,]/).map((line) => line.trim()).filter(Boolean);

export const textOf = (pairs, between) => Object.entries(pairs ?? {}).map(([name, value]) => `${name}${between}${value}`).join("\n");

// Lines of `name SIGN value`.
export function pairsFrom(text, sign, field) {
  const pairs = {};
  for (const line of text.split("\n").filter((row) => row.trim())) {
    const at = line.indexOf(sign);
    if (at < 1) throw fault(field, t("keys.no-pair", { line: line.trim(), sign }));
    pairs[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  return pairs;
}

export function priceKind(price = {}) {
  const names = Object.keys(price);
  if (names.length === 0) return "list";
  if (names.length > 1 || price.Models) return "own";
  if (price.Free || price.Factor === 0) return "free";
  return { Factor: "factor", Monthly: "monthly" }[names[0]] ?? "own";
}

export function priceValue(price = {}) {
  const kind = priceKind(price);
  if (kind === "factor") return String(price.Factor);
  if (kind === "monthly") return String(price.Monthly);
  return kind === "own" ? JSON.stringify(price, null, 2) : "";
}

function amount(text) {
  if (!/^\s*\d+(\.\d+)?\s*$/.test(text)) throw fault("price", t("keys.number"));
  return Number(text);
}

export function priceFrom(kind, text) {
  if (kind === "list") return {};
  if (kind === "free") return { Free: true };
  if (kind === "factor") return { Factor: amount(text) };
  if (kind === "monthly") return { Monthly: amount(text) };
  try {
    return JSON.parse(text);
  } catch (error) {
    throw fault("price", t("keys.no-json", { problem: error.message }));
  }
}

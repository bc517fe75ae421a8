// A price table as rows, and what changes between two of them.

import { count, money } from "../lib/format.js";
import { t } from "../lib/text.js";

const NO_PRICE = new Set(["Provider", "Source", "MaxInput", "MaxOutput", "Reasons"]);
export const GROUPS = ["ChatPricing", "AudioPricing", "ImgPricing", "VideoPricing", "CallPricing", "RerankPricing", "FineTuningPricing"];

// One row a model, with what `PRICING` lays over it.
export function rowsOf(table, overrides) {
  const rows = [];
  for (const group of GROUPS) {
    const below = table[group] ?? {};
    const above = overrides?.[group] ?? {};
    for (const model of new Set([...Object.keys(below), ...Object.keys(above)])) {
      rows.push({ model, group, fields: { ...below[model], ...above[model] }, own: above[model] ?? null });
    }
  }
  return rows.sort((a, b) => (a.model < b.model ? -1 : a.model > b.model ? 1 : 0));
}

export const priceOf = (row, ...names) => {
  const name = names.find((field) => typeof row.fields[field] === "number");
  return name ? money(row.fields[name]) : "–";
};

// All of one entry in words: nested ones (sizes, steps, tiers) with their path before them.
export function fieldsOf(fields, path = "") {
  return Object.entries(fields).flatMap(([name, value]) => {
    const full = path ? `${path} · ${name}` : name;
    if (value && typeof value === "object" && !Array.isArray(value)) return fieldsOf(value, full);
    const isPrice = typeof value === "number" && !NO_PRICE.has(name) && !["Rates", "Tokens", "MinSeconds"].includes(name);
    if (isPrice) return [[full, money(value)]];
    return [[full, Number.isInteger(value) ? count(value) : String(value)]];
  });
}

export function amount(unit, value) {
  if (value === null || value === undefined) return "–";
  if (unit === "dollars") return money(value);
  return unit === "factor" ? `× ${value}` : count(value);
}

// JSON in a text field, or what is wrong with it in words.
export function parsed(text) {
  let value = null;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw Object.assign(new Error(t("prices.no-json", { problem: error.message })), { param: "Table" });
  }
  if (!value || typeof value !== "object" || Array.isArray(value)) throw Object.assign(new Error(t("prices.no-object")), { param: "Table" });
  return value;
}

// Where the numbers of the spend page come from. Root's are of `/x-earnings` (dollars, cost and expense), others' of
// `/x-bill` and `/dashboard/bill` (their own and those below). One shape leaves this file:
//   { days, series: [{ value, name, cells }], rows: [{ value, name, requests, cost, expense, margin }], total, before }

import { mine, session } from "../lib/session.js";

export const TOP = 10;
export const OTHER = "\u0000other";

export const waysOf = () => (session.value.admin ? ["model", "account", "key", "provider"] : ["model", "account"]);

const DAY_MS = 86_400_000;
const utc = (day) => Date.parse(`${day}T00:00:00Z`);
const iso = (ms) => new Date(ms).toISOString().slice(0, 10);

export function daysOf(start, end) {
  const length = Math.round((utc(end) - utc(start)) / DAY_MS) + 1;
  return Array.from({ length: Math.max(0, length) }, (_, at) => iso(utc(start) + at * DAY_MS));
}

// The span of the same length that ends where this one begins.
export function spanBefore({ start, end }) {
  const length = daysOf(start, end).length;
  return { start: iso(utc(start) - length * DAY_MS), end: iso(utc(start) - DAY_MS) };
}

export function load(by, span, user, signal) {
  const ask = (path, query) => mine(path, { query: { ...query }, signal }).then(({ data }) => data);
  return session.value.admin ? ofRoot(ask, by, span, user) : ofOthers(ask, by, span, user);
}

// === root ===

const amounts = (row) => ({ requests: row.Requests, cost: row.Cost, expense: row.Expense + row.Flat, margin: row.Margin });

async function ofRoot(ask, by, span, user) {
  const earnings = (query) => ask("/x-earnings", { ...span, user, ...query });
  const [whole, daily, before] = await Promise.all([
    earnings({ by }), earnings({ by: "day" }), earnings({ by: "day", ...spanBefore(span) }),
  ]);
  const rows = whole.Rows.map((row) => ({ value: row.Value, name: row.Name || row.Value, ...amounts(row) })).sort(dearest);
  const days = daysOf(span.start, span.end);
  const parameter = by === "account" ? "user" : by;
  // One account's own share is asked for by its id; a deleted one's is no longer found, and stays in what is left.
  const one = async (row) => {
    const found = await earnings({ by: "day", [parameter]: row.value }).catch((error) => missing(error));
    return { ...row, cells: cellsOf(days, found.Rows.map((day) => [day.Value, day.Cost])) };
  };
  const top = user && by === "account" ? [] : await Promise.all(rows.slice(0, TOP).map(one));
  const each = cellsOf(days, daily.Rows.map((day) => [day.Value, day.Cost]));
  return { days, series: withOther(top, each), rows, daily: dailyRows(days, daily.Rows.map((row) => [row.Value, amounts(row)])), total: amounts(daily.Total), before: amounts(before.Total) };
}

function missing(error) {
  if (error.status === 404) return { Rows: [] };
  throw error;
}

// === everybody else ===

async function ofOthers(ask, by, span, user) {
  const [now, before] = await Promise.all([bills(ask, span, user), bills(ask, spanBefore(span), user)]);
  const days = daysOf(span.start, span.end);
  const each = cellsOf(days, now.days.map(({ day, cost }) => [day, cost]));
  const rows = (by === "model" ? byModel(now.days) : now.accounts).sort(dearest);
  const one = async (row) => {
    const found = by === "model" ? now.days.map(({ day, models }) => [day, models[row.value]?.cost ?? 0]) : await ofAccount(ask, span, row);
    return { ...row, cells: cellsOf(days, found) };
  };
  const top = await Promise.all(rows.slice(0, TOP).map(one));
  const daily = dailyRows(days, now.days.map(({ day, requests, cost }) => [day, { requests, cost }]));
  return { days, series: withOther(top, each), rows, daily, total: sum(now.days), before: sum(before.days) };
}

const sum = (days) => days.reduce((total, { requests, cost }) => ({ requests: total.requests + requests, cost: total.cost + cost }), { requests: 0, cost: 0 });

// A bill's days by name: a sheet tells the moment in which they began, a caller's own bill their names.
async function bills(ask, span, user) {
  const wanted = user && user !== String(session.value.id);
  const [sheet, own] = await Promise.all([
    ask("/x-bill", { ...span, user: wanted ? user : "", size: 100 }), wanted ? null : ask("/dashboard/bill", span),
  ]);
  const zone = (await ask("/dashboard/conf")).time_zone;
  const named = new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" });
  const days = new Map();
  for (const day of sheet.data) add(days, named.format(new Date(day.aggregation_timestamp * 1000)), day.n_requests, Object.entries(day.usage_details));
  for (const day of own?.daily_costs ?? []) {
    const models = day.line_items.map((item) => [item.name, { requests: item.usage.model_stats.Requests, cost: item.cost }]);
    add(days, day.date, day.total_requests, models);
  }
  const accounts = sheet.usage_users.map((row) => ({ value: String(row.id), name: row.name, requests: row.total_requests, cost: row.total_cost }));
  const mine = own && { value: String(session.value.id), name: session.value.name, requests: own.total_requests, cost: own.total_credit_used };
  return { days: [...days.values()], accounts: mine && mine.requests > 0 ? [...accounts, mine] : accounts };
}

function add(days, day, requests, models) {
  const sums = days.get(day) ?? { day, requests: 0, cost: 0, models: {} };
  sums.requests += requests;
  for (const [model, used] of models) {
    sums.cost += used.cost;
    const before = sums.models[model] ?? { requests: 0, cost: 0 };
    sums.models[model] = { requests: before.requests + used.requests, cost: before.cost + used.cost };
  }
  days.set(day, sums);
}

function byModel(days) {
  const models = new Map();
  for (const day of days) {
    for (const [value, used] of Object.entries(day.models)) {
      const row = models.get(value) ?? { value, name: value, requests: 0, cost: 0 };
      models.set(value, { ...row, requests: row.requests + used.requests, cost: row.cost + used.cost });
    }
  }
  return [...models.values()];
}

async function ofAccount(ask, span, { value }) {
  const { days } = await bills(ask, span, value).catch((error) => (error.status === 404 ? { days: [] } : Promise.reject(error)));
  return days.map(({ day, cost }) => [day, cost]);
}

// === both ===

const dearest = (one, other) => other.cost - one.cost || other.requests - one.requests;

function cellsOf(days, pairs) {
  const costs = new Map(pairs);
  return days.map((day) => costs.get(day) ?? 0);
}

const dailyRows = (days, pairs) => {
  const found = new Map(pairs);
  return days.map((day) => ({ day, requests: 0, cost: 0, expense: 0, margin: 0, ...found.get(day) }));
};

// What the top ones leave of each day. Less than a nano-dollar is a rounding of the sums here, and nothing.
function withOther(top, each) {
  const left = each.map((cost, at) => Math.max(0, cost - top.reduce((sum, { cells }) => sum + cells[at], 0))).map((cost) => (cost < 1e-9 ? 0 : cost));
  return left.some(Boolean) ? [...top, { value: OTHER, name: "", cells: left }] : top;
}

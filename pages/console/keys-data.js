// The key pool as one list: keys, what data planes say of them, and what they earned.

import { host } from "./providers.js";
import { mine } from "../lib/session.js";

const SIZE = 1000;
const PAGES_MAX = 10;

export const STATES = ["ready", "asleep", "quarantined", "disabled", "off"];

async function everyKey(query, signal) {
  const ask = (page) => mine("/x-keys", { query: { ...query, size: SIZE, page }, signal });
  const first = await ask(1);
  const pages = Math.min(Math.ceil((first.total ?? 0) / SIZE), PAGES_MAX);
  const more = await Promise.all(Array.from({ length: Math.max(pages - 1, 0) }, (_, at) => ask(at + 2)));
  return { keys: [first, ...more].flatMap(({ data }) => data), total: first.total ?? first.data.length };
}

// By key: its own state, and the models that it rests for while it serves others.
function healthOf(conf) {
  const healths = new Map();
  const at = (id) => healths.get(id) ?? healths.set(id, { models: [] }).get(id);
  const told = (state) => (row) => {
    const health = { state, until: row.Until ?? null, reason: row.Reason };
    if (row.Model) at(row.ID).models.push({ ...health, model: row.Model });
    else Object.assign(at(row.ID), health);
  };
  conf.SleepingKeys.forEach(told("asleep"));
  conf.DisabledKeys.forEach((row) => told(row.Until ? "quarantined" : "disabled")(row));
  return healths;
}

// How many keys are in each state, whichever of them are looked for.
async function countsOf({ level, provider }, signal) {
  const ask = async (state) => (await mine("/x-keys", { query: { level, provider, state, size: 1 }, signal })).total ?? 0;
  return Object.fromEntries(await Promise.all(["", ...STATES].map(async (state) => [state || "all", await ask(state)])));
}

export async function loadKeys({ level, provider, start, end, state: wanted, search }, signal) {
  const [pool, counts, conf, earnings] = await Promise.all([
    everyKey({ level, provider, state: wanted, search }, signal),
    countsOf({ level, provider }, signal),
    mine("/x-conf", { signal }),
    mine("/x-earnings", { query: { by: "key", start, end, provider }, signal }),
  ]);
  const healths = healthOf(conf.data);
  const earned = new Map(earnings.data.Rows.map((row) => [row.Value, row]));
  const rows = pool.keys.map((key) => {
    const { models = [], ...health } = healths.get(key.ID) ?? {};
    const state = key.Status ? (health.state ?? "ready") : "off";
    return { ...key, Host: host(key.Provider), state, until: health.until, reason: health.reason ?? "", resting: models, earned: earned.get(String(key.ID)) };
  });
  return { rows, total: pool.total, counts, earned: earnings.data.Total, start: earnings.data.Start, end: earnings.data.End };
}

export const KINDS = { ready: "good", asleep: "warn", quarantined: "bad", disabled: "bad", off: "" };

const VALUES = {
  name: (row) => row.Name.toLowerCase(),
  state: (row) => STATES.indexOf(row.state),
  requests: (row) => row.earned?.Requests ?? 0,
  cost: (row) => row.earned?.Cost ?? 0,
  margin: (row) => row.earned?.Margin ?? 0,
};

// Level, then provider, then age, unless another order is asked for.
export function ordered(rows, sort) {
  const value = VALUES[sort.replace("-", "")];
  const usual = (a, b) => a.Level - b.Level || a.Host.localeCompare(b.Host) || a.ID - b.ID;
  if (!value) return [...rows].sort(usual);
  const sign = sort.startsWith("-") ? -1 : 1;
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  return [...rows].sort((a, b) => sign * compare(value(a), value(b)) || usual(a, b));
}

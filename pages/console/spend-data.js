// Where the numbers of the spend page come from: `/x-spend`, in dollars for root and in their accounts' units for others.
// One shape leaves this file:
//   { points, skipped, series: [{ value, name, cells }], rows: [{ value, name, ...amounts }], steps: [{ at, ...amounts }], values, total, before, then }

import { mine, session } from "../lib/session.js";

export const OTHER = "\u0000other";

export const waysOf = () => (session.value.admin ? ["model", "account", "key", "provider"] : ["model", "account"]);

const amounts = (row) => ({
  requests: row.Requests, tokens: row.Prompt + row.Completion, cost: row.Cost, expense: (row.Expense ?? 0) + (row.Flat ?? 0), margin: row.Margin ?? 0,
});

// Models and providers are their own names; 0 is what was called on no key.
const nameOf = (row) => row.Name || (row.Value === "0" ? "" : row.Value);
const rowOf = (row) => ({ value: row.Value, name: nameOf(row), ...amounts(row), cells: row.Points.Cost });
const isUsed = (row) => Boolean(row.requests || row.cost || row.expense);

// What is told of all at one point.
const stepOf = ({ Points: of }, at) => amounts({
  Requests: of.Requests[at], Prompt: of.Prompt[at], Completion: of.Completion[at], Cost: of.Cost[at], Expense: of.Expense?.[at], Flat: of.Flat?.[at], Margin: of.Margin?.[at],
});

export async function load(by, per, span, user, signal) {
  const { data } = await mine("/x-spend", { query: { by, per, ...span, user }, signal });
  const rows = data.Rows.map(rowOf);
  const other = { ...rowOf(data.Other), value: OTHER };
  const all = isUsed(other) ? [...rows, other] : rows;
  return {
    points: data.Points, skipped: data.Skipped, values: data.Values, rows: all,
    series: all.filter(({ cells }) => cells.some(Boolean)),
    steps: data.Points.map((at, place) => ({ at, ...stepOf(data.Total, place) })),
    total: amounts(data.Total), before: amounts(data.Total.Before), then: { start: data.StartBefore, end: data.EndBefore },
  };
}

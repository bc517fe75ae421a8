// What one key used by day and by model: bars to look at, and the numbers beside them.

import { compact, day, money } from "../lib/format.js";
import { t } from "../lib/text.js";
import { html } from "../lib/view.js";

const BAR = 10;
const GAP = 3;
const HEIGHT = 80;
const MODELS_MAX = 10;

// Every day of the span, also those without use, oldest first.
export function daysOf(bill, count, today = new Date()) {
  const known = new Map(bill.daily_costs.map((one) => [one.date, one]));
  const last = bill.daily_costs.at(-1)?.date ?? today.toISOString().slice(0, 10);
  const end = Date.parse(`${last > today.toISOString().slice(0, 10) ? last : today.toISOString().slice(0, 10)}T00:00:00Z`);
  return Array.from({ length: count }, (_, at) => {
    const date = new Date(end - (count - 1 - at) * 86_400_000).toISOString().slice(0, 10);
    const { total_credit_used: cost = 0, total_requests: requests = 0 } = known.get(date) ?? {};
    return { date, cost, requests };
  });
}

export function Days({ bill, days }) {
  const list = daysOf(bill, days);
  if (bill.total_requests === 0) return html`<p class="dim">${t("billing.no-use", { days })}</p>`;
  const used = list.filter((one) => one.requests > 0).reverse();
  const models = Object.entries(bill.usage_summary).map(([name, { model_stats: stats }]) => ({ name, cost: stats.CreditUsed, requests: stats.Requests }));
  models.sort((one, other) => other.cost - one.cost);
  return html`<section class="stack"><h2>${t("billing.days", { days })}</h2>
    <${Bars} list=${list} />
    <div class="pair"><${Numbers} title=${t("billing.day")} rows=${used.map((one) => [day(`${one.date}T12:00:00`), one])} />
    <${Numbers} title=${t("billing.model")} rows=${models.slice(0, MODELS_MAX).map((one) => [one.name, one])} /></div>
  </section>`;
}

function Bars({ list }) {
  const top = Math.max(...list.map((one) => one.cost)) || 1;
  const width = list.length * (BAR + GAP) - GAP;
  const bar = ({ date, cost }, at) => {
    const height = cost > 0 ? Math.max(1, (cost / top) * HEIGHT) : 0;
    return html`<rect x=${at * (BAR + GAP)} y=${HEIGHT - height} width=${BAR} height=${height}><title>${day(`${date}T12:00:00`)}: ${money(cost)}</title></rect>`;
  };
  return html`<div><svg class="bars" viewBox=${`0 0 ${width} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${t("billing.bars", { top: money(top) })}>
      <line x1="0" x2=${width} y1=${HEIGHT} y2=${HEIGHT} />${list.map(bar)}</svg>
    <div class="row between small dim"><span>${day(`${list[0].date}T12:00:00`)}</span><span>${day(`${list.at(-1).date}T12:00:00`)}</span></div></div>`;
}

const Numbers = ({ title, rows }) => html`<div class="card flush"><div class="table tall" role="region" tabindex="0" aria-label=${title}><table>
  <thead><tr><th scope="col">${title}</th><th scope="col" class="num">${t("billing.requests")}</th><th scope="col" class="num">${t("billing.cost")}</th></tr></thead>
  <tbody>${rows.map(([name, { requests, cost }]) => html`<tr><td class="text"><bdi class="clip">${name}</bdi></td><td class="num">${compact(requests)}</td><td class="num">${money(cost)}</td></tr>`)}</tbody>
</table></div></div>`;

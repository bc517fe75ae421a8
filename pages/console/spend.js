// Spend: what was used by day or by hour, by whom or what, against the period before; for root also what it cost and earned.

import { compact, count, day, isoDay, money, percent } from "../lib/format.js";
import { download } from "../lib/api.js";
import { useLoad } from "../lib/load.js";
import { Action, Empty, Field, Problem, Search } from "../lib/parts.js";
import { change, link } from "../lib/route.js";
import { session } from "../lib/session.js";
import { Table } from "../lib/table.js";
import { language, t } from "../lib/text.js";
import { html, useMemo } from "../lib/view.js";
import { Chart, colour } from "./spend-chart.js";
import { OTHER, load, waysOf } from "./spend-data.js";

const SPANS = [7, 30, 90];
// A tile holds so many signs of the usual size.
const LONG = 8;
const short = new Intl.DateTimeFormat(language === "zh" ? "zh-CN" : "en-US", { month: "short", day: "numeric", timeZone: "UTC" });

function spanOf(params) {
  const end = params.end || isoDay();
  const start = params.start || isoDay(-29);
  return { start, end };
}

// Hours are there of the last two days alone. Where the gateway's day has begun earlier than this browser's, it says so.
const perOf = (params, span) => (params.per === "hour" && span.start >= isoDay(-1) ? "hour" : "day");

export function Page({ params }) {
  const ways = waysOf();
  const by = ways.includes(params.by) ? params.by : "model";
  const span = spanOf(params);
  const per = perOf(params, span);
  const found = useLoad((signal) => load(by, per, span, params.user, signal), [by, per, span.start, span.end, params.user ?? ""]);
  return html`
    <${Filters} params=${params} ways=${ways} by=${by} per=${per} span=${span} />
    <${Problem} error=${found.error} />
    ${found.loading && !found.data && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${found.data && html`<div class=${`stack wide ${found.loading ? "loading" : ""}`} aria-busy=${found.loading}><${Found} data=${found.data} by=${by} per=${per} /></div>`}`;
}

function Filters({ params, ways, by, per, span }) {
  const date = (name) => html`<${Field} type="date" label=${t(`spend.${name}`)} value=${span[name]} max=${name === "start" ? span.end : undefined}
    onChange=${(event) => event.target.value && change({ [name]: event.target.value, per: "" })} />`;
  return html`<form class="card stack" aria-label=${t("filters")} onSubmit=${(event) => event.preventDefault()}>
    <div class="filters">
      <${Field} label=${t("spend.by")} value=${by} options=${ways.map((way) => [way, t(`spend.by.${way}`)])} onChange=${(event) => change({ by: event.target.value })} />
      ${date("start")} ${date("end")}
      <${Search} label=${t("spend.user")} placeholder=${t("money.account.hint")} value=${params.user ?? ""} onSearch=${(user) => change({ user })} />
    </div>
    <div class="row between">
      <div class="row" role="group" aria-label=${t("spend.span")}>
        <button type="button" aria-pressed=${per === "hour"} onClick=${() => change({ start: isoDay(-1), end: "", per: "hour" })}>${t("spend.hours")}</button>
        ${SPANS.map((days) => {
        const start = isoDay(1 - days);
        return html`<button type="button" key=${days} aria-pressed=${span.start === start && span.end === isoDay()} onClick=${() => change({ start, end: "", per: "" })}>${t("spend.days", { n: days })}</button>`;
      })}</div>
      <${Files} span=${span} user=${params.user} />
    </div>
  </form>`;
}

function Files({ span, user }) {
  const file = (name, path, query = {}) => html`<${Action} label=${t(`spend.csv.${name}`)}
    run=${() => download(path, { key: session.value.key, query: { ...span, ...query } }, `${name}-${span.start}-${span.end}.csv`)} />`;
  return html`<div class="row">
    ${file("calls", "/x-bill.csv")} ${file("tags", "/x-tags.csv", { user })} ${session.value.admin && file("earnings", "/x-earnings.csv")}
  </div>`;
}

// Hours are told by the clocks of the gateway's zone, as its days are.
const hourOf = (at) => `${at.slice(5, 10)} ${at.slice(11, 16)}`;

function Found({ data, by, per }) {
  const labels = useMemo(() => data.points.map((at) => (per === "hour" ? hourOf(at) : short.format(new Date(`${at}T00:00:00Z`)))), [data]);
  const series = useMemo(() => data.series.map((each, at) => ({ ...each, name: nameOf(each, by), tone: colour(at, each.value === OTHER) })), [data]);
  if (data.total.requests === 0 && data.before.requests === 0 && !data.total.expense) {
    return html`<${Empty} title=${t("spend.none")} text=${t("spend.none.text")}><a class="button main" href=${link("calls")}>${t("calls.title")}</a></${Empty}>`;
  }
  return html`
    <${Tiles} data=${data} />
    ${data.skipped > 0 && html`<p class="note warn">${t("spend.skipped", { n: data.skipped })}</p>`}
    ${series.length > 0 && data.total.cost > 0 && html`<section class="card stack"><h2>${t(`spend.by-${per}.${by}`)}</h2><${Chart} labels=${labels} series=${series} label=${t(`spend.chart.${per}`)} /></section>`}
    <section class="stack"><h2>${t(`spend.by.${by}`)}</h2><${Rows} data=${data} by=${by} /></section>
    <section class="stack"><h2>${t(`spend.by.${per}`)}</h2><${Steps} data=${data} per=${per} /></section>`;
}

const nameOf = (row, by) => (row.value === OTHER ? t("spend.other") : row.name || t(`spend.no-name.${by}`));

function Tiles({ data }) {
  const { total, before, then } = data;
  const tile = (name, format, isMargin) => html`<div class="tile"><span class="dim">${t(`spend.${name}`)}</span><b class=${format(total[name]).length > LONG ? "long" : ""}>${format(total[name])}</b>
    <span class="small dim">${isMargin ? t("spend.of-cost", { share: percent(total[name], total.cost) }) : t("spend.change", { change: changeOf(total[name], before[name]), before: format(before[name]) })}</span></div>`;
  return html`<div class="tiles">
      ${tile("cost", money)} ${tile("requests", compact)} ${tile("tokens", compact)}
      ${session.value.admin && html`${tile("expense", money)} ${tile("margin", money, true)}`}
    </div>
    <p class="small dim">${t("spend.before", { start: day(`${then.start}T12:00:00`), end: day(`${then.end}T12:00:00`) })}</p>`;
}

function changeOf(now, before) {
  if (!before) return "–";
  const sign = now >= before ? "+" : "−";
  return `${sign}${percent(Math.abs(now - before), Math.abs(before))}`;
}

const costs = () => [
  { name: "requests", title: t("spend.requests"), num: true, cell: (row) => count(row.requests) },
  { name: "tokens", title: t("spend.tokens"), num: true, cell: (row) => compact(row.tokens) },
  { name: "cost", title: t("spend.cost"), num: true, cell: (row) => money(row.cost) },
  ...(session.value.admin ? ["expense", "margin"].map((name) => ({ name, title: t(`spend.${name}`), num: true, cell: (row) => money(row[name] ?? 0) })) : []),
];

const callsOf = { model: (row) => link("calls", { model: row.value }), account: (row) => link("calls", { user: row.value }), key: (row) => link("calls", { key: row.value }) };

function Rows({ data, by }) {
  const to = callsOf[by];
  const name = (row) => (to && row.value && row.value !== "0" && row.value !== OTHER ? html`<a href=${to(row)}><bdi class="clip">${nameOf(row, by)}</bdi></a>` : html`<bdi class="clip">${nameOf(row, by)}</bdi>`);
  const columns = [
    { name: "name", title: t(`spend.by.${by}`), text: true, cell: (row) => html`<span class="row tight top">${swatch(data, row)}${name(row)}</span>` },
    ...costs(),
    { name: "share", title: t("spend.share"), num: true, cell: (row) => percent(row.cost, data.total.cost) },
  ];
  return html`<${Table} label=${t(`spend.by.${by}`)} columns=${columns} rows=${data.rows} rowKey=${(row) => row.value} />
    ${data.values > data.rows.length && html`<p class="small dim">${t("spend.top", { all: count(data.values) })}</p>`}`;
}

function swatch(data, row) {
  const at = data.series.findIndex((each) => each.value === row.value);
  return html`<span class=${`swatch tone-${colour(at, at < 0 || row.value === OTHER)}`} aria-hidden="true"></span>`;
}

// Times without a call say nothing.
function Steps({ data, per }) {
  const at = (row) => (per === "hour" ? hourOf(row.at) : day(`${row.at}T12:00:00`));
  const columns = [{ name: "at", title: t(`spend.${per}`), cell: (row) => html`<span class="nowrap">${at(row)}</span>` }, ...costs()];
  const rows = data.steps.filter((row) => row.requests || row.cost || row.expense).reverse();
  return html`<${Table} label=${t(`spend.by.${per}`)} columns=${columns} rows=${rows} rowKey=${(row) => row.at} />`;
}

// A chart of stacked columns. What it shows is in a table below it too: a chart alone says nothing to a reader of screens.

import uPlot from "../vendor/uplot.js";
import { money } from "../lib/format.js";
import { t } from "../lib/text.js";
import { html, useEffect, useRef, useState } from "../lib/view.js";

const HEIGHT = 260;

function style() {
  if (document.querySelector("link[data-chart]")) return;
  const sheet = document.createElement("link");
  sheet.rel = "stylesheet";
  sheet.href = new URL("../vendor/uplot.css", import.meta.url).href;
  sheet.dataset.chart = "";
  document.head.append(sheet);
}

// The palette has eleven colours, of which the last is for what is left.
export const colour = (at, isOther) => (isOther ? 11 : (at % 10) + 1);

function palette() {
  const found = getComputedStyle(document.documentElement);
  return (name) => found.getPropertyValue(`--${name}`).trim();
}

// Each series stands on those before it: the tallest is drawn first.
function stacked(series) {
  const sums = series[0].cells.map(() => 0);
  return series.map(({ cells }) => cells.map((cell, at) => (sums[at] += cell))).reverse();
}

function options(node, labels, series, onAt) {
  const of = palette();
  const axis = { stroke: of("dim"), grid: { stroke: of("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const paths = uPlot.paths.bars({ size: [0.72, 60], radius: 0 });
  const drawn = series.map(({ tone }) => ({ fill: of(`c${tone}`), stroke: of(`c${tone}`), width: 0, paths, points: { show: false } })).reverse();
  return {
    width: node.clientWidth, height: HEIGHT, legend: { show: false }, padding: [12, 8, 0, 0],
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: { x: { time: false, range: () => [-0.6, labels.length - 0.4] }, y: { range: (_, __, max) => [0, (max || 0.01) * 1.05] } },
    axes: [
      { ...axis, size: 30, grid: { show: false }, incrs: [1, 2, 3, 5, 7, 14, 30, 60, 90], space: 58, values: (_, at) => at.map((each) => (Number.isInteger(each) ? labels[each] ?? "" : "")) },
      { ...axis, size: 74, values: (_, at) => at.map(money) },
    ],
    series: [{}, ...drawn],
    hooks: { setCursor: [(plot) => onAt(plot.cursor.idx ?? null)] },
  };
}

export function Chart({ labels, series, label }) {
  const node = useRef(null);
  const [at, setAt] = useState(null);
  const [round, again] = useState(0);
  useEffect(() => {
    style();
    const theme = new MutationObserver(() => again((number) => number + 1));
    theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => theme.disconnect();
  }, []);
  useEffect(() => {
    if (series.length === 0) return undefined;
    // Its last resize may be told when the page has let go of it.
    const box = node.current;
    const plot = new uPlot(options(box, labels, series, setAt), [labels.map((_, each) => each), ...stacked(series)], box);
    const size = new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: HEIGHT }));
    size.observe(box);
    return () => {
      size.disconnect();
      plot.destroy();
    };
  }, [labels, series, round]);
  const shown = at !== null && labels[at] !== undefined;
  const total = (cells) => cells.reduce((sum, cell) => sum + cell, 0);
  return html`<div class="stack" aria-hidden="true">
    <div class="chart" ref=${node} title=${label}></div>
    <div class="legend"><b class="when">${shown ? labels[at] : t("spend.total")}</b>
      ${series.map(({ name, tone, cells }) => html`<span key=${name} class="row tight"><span class=${`swatch tone-${tone}`}></span><bdi class="short">${name}</bdi> <span class="num dim">${money(shown ? cells[at] : total(cells))}</span></span>`)}
    </div>
  </div>`;
}

// Each vendored part does its main job once.

import htm from '/pages/vendor/htm.js';
import { lexer } from '/pages/vendor/marked.js';
import { useState } from '/pages/vendor/preact-hooks.js';
import { h, render } from '/pages/vendor/preact.js';
import { computed, signal } from '/pages/vendor/signals.js';
import uPlot from '/pages/vendor/uplot.js';

const html = htm.bind(h);
const count = signal(0);
const twice = computed(() => count.value * 2);

function Counter() {
  const [clicks, setClicks] = useState(0);
  const click = () => {
    count.value += 1;
    setClicks(clicks + 1);
  };
  return html`
    <button type="button" onClick=${click}>Count</button>
    <output>${count} twice ${twice} clicks ${clicks}</output>
    <p>${'<b>text</b>'}</p>
  `;
}

render(html`<${Counter} />`, document.getElementById('counter'));

const x = [1, 2, 3, 4, 5];
const options = { width: 340, height: 200, scales: { x: { time: false } }, series: [{}, { label: 'calls', stroke: 'teal' }] };
new uPlot(options, [x, x.map((value) => value * value)], document.getElementById('chart'));

const kinds = lexer('# Head\n\nSome *text*.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<div>html</div>\n').map((token) => token.type);
document.getElementById('tokens').textContent = kinds.filter((kind) => kind !== 'space').join(' ');
document.documentElement.dataset.ready = 'yes';

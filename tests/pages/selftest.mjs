#!/usr/bin/env node
// The rig tested: every watcher catches what it is for, says nothing about a good page, and a broken law is counted.
//
//     node tests/pages/selftest.mjs --node-dir FOLDER

import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { Failure, Laws, expect, within } from './laws.mjs';
import { ANTHROPIC, MARKUP, OPENAI, planOf } from './provider.mjs';
import { withRig } from './rig.mjs';
import { faultsOfTexts } from './texts.mjs';

const SETTLE_MILLISECONDS = 300;

const page = (body, head = '') => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width, initial-scale=1">${head}</head>
<body><main><h1>A page</h1>${body}</main></body></html>`;

const module = (place) => `<script type="module" src="${place}"></script>`;

// Each page, and what has to be found on it and nothing else.
const PAGES = [
  ['a good page', page('<button type="button">Save</button>'), []],
  ['an inline script', page('<script>window.ran = 1</script>'), [/^CSP violation: script-src-elem forbids inline/, /^console error: /]],
  ['an inline style', page('<p style="color: red">Red</p>'), [/^CSP violation: style-src-attr forbids inline/, /^console error: /]],
  ['an evaluated text', page('', module('/eval.js')), [/^CSP violation: script-src forbids eval/, /^uncaught exception: /]],
  ['an exception', page('', module('/throws.js')), [/^uncaught exception: .*nobody catches this/s]],
  ['a rejected promise', page('', module('/rejects.js')), [/^uncaught exception: .*nobody waits for this/s]],
  ['a warning on the console', page('', module('/warns.js')), [/^console warning: be warned/]],
  ['a missing file', page('', module('/missing.js')), [/^console error: .*404/]],
  ['too wide a line', page('<pre class="wide">' + 'wide'.repeat(200) + '</pre>'), [/^overflow: the document is \d+ px wide/]],
  ['an unlabelled button', page('<button type="button"></button>'), [/^axe critical button-name/]],
  ['a faint text', page('<p class="faint">faint</p>', '<link rel="stylesheet" href="/faint.css">'), [/^axe serious color-contrast/]],
];

const SCRIPTS = {
  '/eval.js': 'new Function("return 1");',
  '/throws.js': 'throw new Error("nobody catches this");',
  '/rejects.js': 'Promise.reject(new Error("nobody waits for this"));',
  '/warns.js': 'console.warn("be warned");',
};

async function faultsOn(rig, site, place, look) {
  const visitor = await rig.browser.visitor(site.origin, look);
  try {
    await visitor.page.goto(place);
    await visitor.page.waitForTimeout(SETTLE_MILLISECONDS);
    return await visitor.faults();
  } finally {
    await visitor.context.close();
  }
}

function expectFaults(found, patterns) {
  for (const pattern of patterns) {
    expect(found.some((fault) => pattern.test(fault)), `${pattern} is not among:\n${found.join('\n')}`);
  }
  const others = found.filter((fault) => !patterns.some((pattern) => pattern.test(fault)));
  expect(others.length === 0, `found besides:\n${others.join('\n')}`);
}

async function watchers(rig, site) {
  for (const [what, body, patterns] of PAGES) {
    site.text('/page', body);
    const law = patterns.length ? `${what} is caught` : `${what} is let alone`;
    await rig.law(law, async () => expectFaults(await faultsOn(rig, site, '/page'), patterns));
  }
}

async function foreignRequests(rig, site) {
  // A policy that lets it out, so that the watcher of requests is all that stands in its way.
  site.policy('/foreign', "default-src * 'unsafe-inline'");
  site.text('/foreign', page('<img src="http://elsewhere.example/pixel.png" alt="a pixel">'));
  await rig.law('a request to another host is caught, and does not leave', async () => {
    expectFaults(await faultsOn(rig, site, '/foreign'), [/^request to another origin: http:\/\/elsewhere\.example/, /^console error: /]);
  });
  const other = await rig.site();
  let asked = 0;
  other.server.prependListener('request', () => (asked += 1));
  site.text('/foreign', page(`<img src="${other.origin}/pixel.png" alt="a pixel">`));
  await rig.law('a request to another port of this host is caught, and does not leave', async () => {
    const patterns = [/^request to another origin: http:\/\/127/, /^console error: /];
    expectFaults(await faultsOn(rig, site, '/foreign'), patterns);
    expect(asked === 0, `${asked} requests got there`);
  });
  site.text('/foreign', page('', module('/socket.js')));
  site.text('/socket.js', `new WebSocket("${other.origin.replace('http', 'ws')}/socket");`, '.js');
  await rig.law('a WebSocket to another origin is caught', async () => {
    expectFaults(await faultsOn(rig, site, '/foreign'), [/^request to another origin: /, /^console error: /]);
  });
}

async function looks(rig, site) {
  site.text('/page', page('<p>Text</p>'));
  await rig.law('a visitor has the language, the colours and the width that were asked for', async () => {
    const look = { language: 'zh', scheme: 'dark', width: 390 };
    await rig.visiting(site.origin, look, async (visitor) => {
      await visitor.page.goto('/page');
      const seen = await visitor.page.evaluate(() => [
        navigator.language, matchMedia('(prefers-color-scheme: dark)').matches, innerWidth,
      ]);
      expect(JSON.stringify(seen) === '["zh-CN",true,390]', seen);
    });
  });
  await rig.law('a fault that a test allows is none', async () => {
    site.text('/page', page('', module('/warns.js')));
    await rig.visiting(site.origin, undefined, async (visitor) => {
      visitor.watch.allow('console warning', /^be warned/);
      await visitor.page.goto('/page');
      await visitor.page.waitForTimeout(SETTLE_MILLISECONDS);
    });
  });
  await rig.law('a visit on which something went wrong has failed', async () => {
    const visit = rig.visiting(site.origin, undefined, async (visitor) => {
      await visitor.page.goto('/page');
      await visitor.page.waitForTimeout(SETTLE_MILLISECONDS);
    });
    const error = await visit.then(() => null, (thrown) => thrown);
    expect(error instanceof Failure && /be warned/.test(error.message), `${error}`);
  });
}

/** The laws of laws, with their lines kept from the output. */
async function counting(rig) {
  await rig.law('a law that is broken, or takes too long, is counted as broken', async () => {
    const laws = new Laws();
    const { log } = console;
    console.log = () => {};
    try {
      await laws.law('kept', async () => {});
      await laws.law('broken', async () => expect(false, 'no'));
      await laws.law('late', () => new Promise(() => {}), 0.05);
    } finally {
      console.log = log;
    }
    expect(laws.sum() === '1 kept, 2 broken', laws.sum());
  });
  await rig.law('a wait that is over leaves its result', async () => expect((await within(1, 'it', Promise.resolve(7))) === 7, 'no'));
}

async function texts(rig) {
  const good = { en: { a: 'A {n}', b: 'B' }, zh: { a: '{n} 甲', b: '乙' } };
  const faults = [
    [{ en: { a: 'A' }, zh: {} }, 'zh: a is missing'],
    [{ en: {}, zh: { a: '甲' } }, 'zh: a is not in en'],
    [{ en: { a: ' ' }, zh: { a: '甲' } }, 'en: a has no text'],
    [{ en: { a: 'A {n}' }, zh: { a: '甲 {m}' } }, 'zh: a has {m}, en {n}'],
    [{ en: { a: 'A' }, zh: { a: '甲 {n}' } }, 'zh: a has {n}, en none'],
    [{ en: { a: '{n} of {n}' }, zh: { a: '{n}' } }, 'zh: a has {n}, en {n} {n}'],
  ];
  await rig.law('texts that agree have no fault, and each way to differ is found', async () => {
    expect(faultsOfTexts(good).length === 0, faultsOfTexts(good));
    for (const [languages, wanted] of faults) {
      expect(faultsOfTexts(languages).join() === wanted, `${faultsOfTexts(languages)}, not ${wanted}`);
    }
  });
}

async function provider(rig) {
  const asked = (content) => ({ model: 'm', stream_options: { include_usage: true }, messages: [{ role: 'user', content }] });
  await rig.law('the made-up provider answers as the last message asks', async () => {
    expect(planOf(asked('please fail-429 now'), 'sk').status === 429, 'no failure');
    expect(planOf(asked('hi'), 'sk-dead').status === 401 && planOf(asked('hi'), 'sk-down').status === 503, 'no dead key');
    const plan = planOf(asked([{ type: 'text', text: 'some markup' }]), 'sk');
    for (const [dialect, last] of [[OPENAI, 'data: [DONE]\n\n'], [ANTHROPIC, 'event: message_stop\n']]) {
      const events = [...dialect.events('m', plan, asked(''))];
      const datas = events.map((event) => /^data: (.*)$/m.exec(event)[1]).filter((data) => data !== '[DONE]').map((data) => JSON.parse(data));
      const text = datas.map((data) => data.choices?.[0]?.delta.content ?? data.delta?.text ?? '').join('');
      expect(text === MARKUP, text);
      expect(events.at(-1).startsWith(last), events.at(-1));
    }
  });
}

const { values } = parseArgs({ options: { 'node-dir': { type: 'string' } } });
if (!values['node-dir']) {
  console.error('usage: selftest.mjs --node-dir FOLDER');
  process.exit(64);
}
const shots = await fs.mkdtemp(path.join(os.tmpdir(), 'shots-'));
try {
  process.exitCode = await withRig({ nodeDir: values['node-dir'], shots }, async (rig) => {
    console.log('--- the rig itself');
    const site = await rig.site();
    for (const [place, body] of Object.entries(SCRIPTS)) site.text(place, body, '.js');
    site.text('/faint.css', '.faint { color: #ccc; }', '.css');
    await watchers(rig, site);
    await foreignRequests(rig, site);
    await looks(rig, site);
    await counting(rig);
    await texts(rig);
    await provider(rig);
  });
} finally {
  await fs.rm(shots, { recursive: true, force: true });
}

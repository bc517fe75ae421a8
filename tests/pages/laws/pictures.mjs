// The pictures of README and docs: taken of a gateway with the same data each time, and held to what the pages say now.
//
// Pixels differ by machine, words do not: `tests/golden/pages` has what was to be read on each picture when it was
// taken. `PICTURES=write` takes them anew, both together.

import fs from 'node:fs';
import path from 'node:path';

import { expect, waitUntil } from '../laws.mjs';
import { REPOSITORY } from '../rig.mjs';
import { callsOf, open } from '../steps.mjs';

export const name = 'pictures of the documentation';

const IMAGES = path.join(REPOSITORY, 'docs/images');
const GOLDEN = path.join(REPOSITORY, 'tests/golden/pages');
const IS_WRITING = process.env.PICTURES === 'write';
const [WIDTH, HEIGHT] = [1360, 850];
const BYTES_MAX = 100 << 10;
const QUALITY = 0.75;

const PRICES = {
  ChatPricing: {
    'gpt-4o': { Provider: 'openai', InputText: 2.5, OutputText: 10 }, 'gpt-4o-mini': { Provider: 'openai', InputText: 0.15, OutputText: 0.6 },
    'claude-haiku': { Provider: 'anthropic', InputText: 1, OutputText: 5 },
  },
};
const MODELS = Object.keys(PRICES.ChatPricing);
const ACCOUNTS = [['workshop', 20, ['claude-haiku']], ['night-batch', 80, ['gpt-4o-mini', 'claude-haiku']], ['acme-web', 250, ['gpt-4o-mini', 'gpt-4o']]];
const CALLS = ACCOUNTS.flatMap(([, , models]) => models).length;

/** A small house: two providers, three customers, a call of each to each of its models. */
async function prepared(rig) {
  const provider = await rig.provider(MODELS);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES), NODE_NAME: 'main' });
  await gateway.addKey('sk-up-one-3456789abcdefghijklmn', provider.url, { Name: 'openai-1', Config: { models: ['gpt-*'], price: { Factor: 0.8 } } });
  await gateway.addKey('sk-up-two-3456789abcdefghijklmn', provider.url, { Name: 'openai-2', Level: 1, Config: { models: ['gpt-*'] } });
  await gateway.addKey('sk-up-ant-3456789abcdefghijklmn', provider.url, { Name: 'anthropic', Config: { models: ['claude-*'] } });
  const keys = {};
  for (const [account, credit, models] of ACCOUNTS) {
    keys[account] = await gateway.addAccount(account, credit);
    // Some are longer than others, and their answers too; none takes no time at all, which would show as a dash.
    for (const model of models) {
      const question = `slow ${'some words '.repeat(account.length * model.length)}${model === 'gpt-4o' ? 'and a long answer' : ''}`;
      await gateway.chat(keys[account], model, question, { max_tokens: 4000 });
    }
    await callsOf(gateway, keys[account], models.length);
  }
  // What is counted for keys comes a moment after the calls.
  await waitUntil('all is posted', 15, async () => (await gateway.call('GET', '/x-earnings?by=key')).Total.Requests === CALLS);
  return { gateway, keys };
}

// What is another each time, and what stands for it.
const MASKS = [
  [/sk-Xvs\w{45}/g, `sk-Xvs${'x7Kq2'.repeat(9)}`], [/sk-Xvs…\w{6}/g, 'sk-Xvs…x7Kq2x'], [/…\w{6}$/g, '…x7Kq2x'], [/http:\/\/127\.0\.0\.1:\d+/g, 'https://api.example.com'], [/127\.0\.0\.1:\d+/g, 'api.example.com'],
  [/\b\d+ ms\b/g, '420 ms'], [/\b\d+\.\d+ s\b/g, '1.20 s'], [/\b\w{3} \d{1,2}, \d{2}:\d{2}:\d{2}/g, 'May 4, 09:30:00'], [/\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{1,2}, 20\d\d/g, 'May 4, 2026'],
  [/\b20\d\d-\d\d-\d\d\+[0-9a-f]{12}\b/g, '2026-05-04+9f2c41d8'], [/\b20\d\d-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?/g, '2026-05-04'], [/\b\d{13}\b/g, '1777887000000'], [/\b(req|page|call)_\w+/g, '$1_9f2c41d8'], [/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, '9f2c41d8-0000-4000-8000-000000000000'], [/\b[0-9a-f]{24,64}\b/g, '9f2c41d8'],
];

/** Puts what stands for it in the place of whatever differs from run to run. */
const mask = (page) => page.evaluate((masks) => {
  const known = masks.map(([source, flags, text]) => [new RegExp(source, flags), text]);
  const masked = (text) => known.reduce((now, [pattern, stand]) => now.replace(pattern, stand), text);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) walker.currentNode.data = masked(walker.currentNode.data);
  for (const field of document.querySelectorAll('input, textarea')) field.value = masked(field.value);
}, MASKS.map(([pattern, text]) => [pattern.source, pattern.flags, text]));

/** What is to be read on a page, line by line. */
const read = (page) => page.evaluate(() => document.body.innerText.split('\n').map((line) => line.replaceAll(/\s+/g, ' ').trim()).filter(Boolean).join('\n') + '\n');

/** The browser's own picture, as a file that is a fraction of it. */
async function webp(page, png) {
  const url = await page.evaluate(async ([source, quality]) => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = Object.assign(document.createElement('canvas'), { width: image.width, height: image.height });
    canvas.getContext('2d').drawImage(image, 0, 0);
    return canvas.toDataURL('image/webp', quality);
  }, [`data:image/png;base64,${png.toString('base64')}`, QUALITY]);
  return Buffer.from(url.split(',')[1], 'base64');
}

/** Width and height of a WebP file with one lossy picture. */
function sizeOf(bytes) {
  const at = bytes.indexOf('VP8 ');
  const isWebp = bytes.subarray(0, 4).toString() === 'RIFF' && bytes.subarray(8, 12).toString() === 'WEBP';
  expect(isWebp && at > 0, 'this is no lossy WebP file');
  return [bytes.readUInt16LE(at + 14) & 0x3fff, bytes.readUInt16LE(at + 16) & 0x3fff];
}

const PICTURES = {
  calls: async (page, { gateway }) => {
    await open(page, gateway.rootKey, '/console/#calls');
    await page.locator('tr.opens').nth(CALLS - 1).waitFor();
    await page.locator('tr.opens').filter({ hasText: 'acme-web' }).first().getByRole('button').click();
    await page.getByRole('region', { name: 'The bill of this call' }).waitFor();
  },
  keys: async (page, { gateway }) => {
    await open(page, gateway.rootKey, '/console/#keys');
    await page.locator('tr.opens').nth(2).waitFor();
  },
  'hand-out': async (page, { gateway }) => {
    await open(page, gateway.rootKey, '/console/#hand-out');
    await page.getByLabel('Name', { exact: true }).fill('alice');
    await page.getByLabel('E-mail', { exact: true }).fill('alice@example.com');
    await page.getByRole('button', { name: 'Create with $10.00' }).click();
    await page.getByText('Models to choose from: 3').waitFor();
    await page.getByRole('button', { name: 'Make a call' }).click();
    await page.getByText(/^Answered in .*, cost \$/).waitFor();
  },
  playground: async (page, { keys }) => {
    await open(page, keys['acme-web'], '/console/#playground?model=gpt-4o-mini');
    for (const text of ['What is a gateway good for?', 'And in fewer words?']) {
      await page.locator('.chat textarea').fill(text);
      await page.locator('.chat textarea').press('Enter');
      await page.locator('.turn:not(.user)').last().getByRole('link', { name: 'the bill' }).waitFor();
    }
  },
  balance: async (page, { keys }) => {
    await page.goto('/billing/');
    await page.locator('textarea').fill(Object.values(keys).join('\n'));
    await page.getByRole('button', { name: 'Look up' }).click();
    await page.getByText('workshop').waitFor();
    await waitUntil('all are there', 10, async () => (await page.getByText('Loading').count()) === 0);
  },
};

async function take(rig, picture, there) {
  return rig.visiting(there.gateway.origin, undefined, async ({ page }) => {
    await page.setViewportSize({ width: WIDTH, height: HEIGHT });
    await (await page.context().newCDPSession(page)).send('Emulation.setScrollbarsHidden', { hidden: true });
    await PICTURES[picture](page, there);
    await page.waitForLoadState('networkidle');
    await mask(page);
    await page.evaluate(() => document.activeElement.blur());
    const said = await read(page);
    const png = await page.screenshot();
    return { said, bytes: IS_WRITING ? await webp(page, png) : null };
  });
}

const file = (folder, picture, ending) => path.join(folder, `${picture}.${ending}`);

async function isWhatThePageSays(rig, picture, there) {
  const { said, bytes } = await take(rig, picture, there);
  if (IS_WRITING) {
    fs.mkdirSync(GOLDEN, { recursive: true });
    fs.writeFileSync(file(IMAGES, picture, 'webp'), bytes);
    fs.writeFileSync(file(GOLDEN, picture, 'txt'), said);
  }
  const golden = fs.readFileSync(file(GOLDEN, picture, 'txt'), 'utf8');
  const [now, then] = [said.split('\n'), golden.split('\n')];
  const differs = now.findIndex((line, at) => line !== then[at]);
  expect(said === golden, `the page says "${now[differs] ?? ''}" where the picture has "${then[differs] ?? ''}" (line ${differs + 1}); take it anew with PICTURES=write`);
  const taken = fs.readFileSync(file(IMAGES, picture, 'webp'));
  expect(taken.length <= BYTES_MAX, `${taken.length} bytes`);
  expect(String(sizeOf(taken)) === `${WIDTH},${HEIGHT}`, `it is ${sizeOf(taken)}`);
}

/** Every picture is shown somewhere, with words for those who do not see it, and no other is. */
function eachIsShown() {
  const texts = [path.join(REPOSITORY, 'README.md'), ...fs.readdirSync(path.join(REPOSITORY, 'docs')).filter((each) => each.endsWith('.md')).map((each) => path.join(REPOSITORY, 'docs', each))];
  const shown = texts.flatMap((each) => [...fs.readFileSync(each, 'utf8').matchAll(/!\[([^\]]*)\]\(([^)]*)\)/g)].map(([, words, href]) => ({ words, file: path.resolve(path.dirname(each), href) })));
  for (const { words, file: each } of shown) expect(fs.existsSync(each) && words.length > 10, `${each} is missing, or has no words for it`);
  const used = [...new Set(shown.map((each) => path.relative(IMAGES, each.file)))].sort().join();
  const there = fs.readdirSync(IMAGES).sort().join();
  expect(there === Object.keys(PICTURES).map((each) => `${each}.webp`).sort().join(), `docs/images has ${there}`);
  expect(used === there, `shown are ${used}; there are ${there}`);
}

/** The documentation of the gateway itself shows them. */
async function docsShowThem(rig, { gateway }) {
  await rig.visiting(gateway.origin, { language: 'en', scheme: 'dark', width: 390 }, async (visitor) => {
    const { page } = visitor;
    await page.goto('/docs/#quick-start');
    const images = page.locator('article img');
    await images.first().waitFor();
    for (const image of await images.all()) {
      await image.scrollIntoViewIfNeeded();
      await waitUntil('it is loaded', 10, async () => image.evaluate((element) => element.naturalWidth > 0));
    }
    await visitor.expectGood('docs-picture-390');
  });
}

export async function run(rig) {
  const there = await prepared(rig);
  for (const picture of Object.keys(PICTURES)) await rig.law(`the picture "${picture}" shows what the page says`, () => isWhatThePageSays(rig, picture, there));
  await rig.law('every picture is shown somewhere, with words for it', async () => eachIsShown());
  await rig.law('the documentation shows its pictures', () => docsShowThem(rig, there));
}

import { execFile } from 'node:child_process';
import fs from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

import { LOOKS, lookName } from '../browser.mjs';
import { expect } from '../laws.mjs';
import { PLAIN } from '../provider.mjs';
import { asked, callsOf, open } from '../steps.mjs';

export const name = 'handing out keys';

const PRICE = { Provider: 'openai', InputText: 2.5, OutputText: 10 };
// Names that a shell, Python or TOML would trip over when they are put into a text as they are.
const CLAUDE = `claude-it's "new"`;
const PRICES = { ChatPricing: { house: PRICE, [CLAUDE]: { ...PRICE, Provider: 'anthropic' } } };
const UPSTREAM = 'sk-up-0123456789abcdefghijklmn';
const PROCESS_MILLISECONDS_MAX = 30_000;
const runFile = promisify(execFile);

/** Types a model, once the list has come: its first would else be put where the typing has begun. */
async function choose(page, model) {
  await page.getByText(/^Models to choose from: \d+$/).waitFor();
  await page.getByLabel('Model', { exact: true }).fill(model);
}

async function prepared(rig) {
  const provider = await rig.provider(['house', CLAUDE]);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES) });
  await gateway.addKey(UPSTREAM, provider.url, { Name: 'up' });
  const reseller = await gateway.addAccount('reseller', 100);
  const poor = await gateway.addAccount('poor', 3);
  return { provider, gateway, reseller, poor };
}

const secretOf = async (page) => page.locator('.secret code').innerText();

async function fill(page, fields) {
  for (const [label, text] of Object.entries(fields)) await page.getByLabel(label, { exact: true }).fill(text);
}

/** From the form to a key that works: a refusal loses nothing, and the key is on no page afterwards. */
async function handsOutOne(rig, { gateway, reseller }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /4\d\d/);
    await open(page, reseller, '/console/#hand-out');
    await fill(page, { Name: 'ann', 'E-mail': 'ann@example.com', 'Credit ($)': '12' });
    await page.getByRole('button', { name: 'Create with $12.00' }).click();
    await page.getByRole('alert').first().waitFor();
    await visitor.expectGood('hand-out-refused');
    expect((await page.getByLabel('E-mail', { exact: true }).inputValue()) === 'ann@example.com', 'what was typed is still there');
    await fill(page, { Name: 'anna-lee' });
    await page.getByRole('button', { name: 'Create with $12.00' }).click();
    await page.getByRole('heading', { name: 'Created: anna-lee' }).waitFor();
    await page.getByText('You have $88.00 left').waitFor();
    const secret = await secretOf(page);
    expect((await gateway.call('GET', '/dashboard/info', undefined, secret)).name === 'anna-lee', 'the key is the new account\'s');
    await visitor.expectGood('hand-out-made');
    await page.getByRole('button', { name: 'Hand out another' }).click();
    await page.getByLabel('Name', { exact: true }).waitFor();
    expect(!(await page.content()).includes(secret), 'the key is still on the page');
  });
}

const tab = (page, title) => page.getByRole('tab', { name: title, exact: true });

/** The texts of all tabs for one model, by the name of the tab. */
async function snippetsFor(page, model) {
  await choose(page, model);
  const texts = {};
  for (const title of await page.getByRole('tab').allInnerTexts()) {
    await tab(page, title).click();
    texts[title] = await page.locator('[role=tabpanel] pre').textContent();
  }
  return texts;
}

const shell = async (text, env = {}) => (await runFile('sh', ['-c', text], { env: { PATH: process.env.PATH, ...env }, timeout: PROCESS_MILLISECONDS_MAX })).stdout;

/** Node finds the SDK where the tests' packages are. */
async function node(rig, text) {
  const file = path.join(rig.nodeDir, 'snippet.mjs');
  await fs.writeFile(file, text);
  try {
    return (await runFile(process.execPath, [file], { timeout: PROCESS_MILLISECONDS_MAX })).stdout.trim();
  } finally {
    await fs.rm(file);
  }
}

/** Each text names this gateway and the key; those that can be run here are run, and are answered. */
async function textsWork(rig, { gateway }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, gateway.rootKey, '/console/#hand-out');
    await fill(page, { Name: 'texts', 'E-mail': 'texts@example.com' });
    await page.getByRole('button', { name: 'Create with $10.00' }).click();
    const secret = await secretOf(page);
    const texts = await snippetsFor(page, CLAUDE);
    const titles = Object.keys(texts);
    expect(titles.length === 7, titles);
    for (const [title, text] of Object.entries(texts)) {
      expect(text.includes(gateway.origin) && text.includes(secret), `${title} does not name the gateway and the key:\n${text}`);
      const bases = text.match(/https?:\/\/[\w.:-]+/g).filter((base) => base !== gateway.origin);
      expect(bases.length === 0, `${title} names ${bases}`);
    }
    const curl = JSON.parse(await shell(texts.curl));
    expect(curl.choices?.[0].message.content === PLAIN && curl.model === CLAUDE, curl);
    const said = await node(rig, texts['OpenAI Node']);
    expect(said === PLAIN, said);
    const variables = await shell(`${texts['Claude Code'].replace(/\nclaude$/, '')}\nprintf '%s\\n' "$ANTHROPIC_BASE_URL" "$ANTHROPIC_AUTH_TOKEN" "$ANTHROPIC_MODEL" "\${ANTHROPIC_API_KEY-none}"`, { ANTHROPIC_API_KEY: 'another' });
    expect(variables === `${gateway.origin}\n${secret}\n${CLAUDE}\nnone\n`, variables);
    for (const title of ['OpenAI Python', 'Codex CLI', 'Cline']) expect(texts[title].includes(`${gateway.origin}/v1`), texts[title]);
    expect(!texts['Anthropic Python'].includes('/v1'), 'that SDK adds /v1 itself');
    await visitor.expectGood('hand-out-snippets');
  });
}

/** The button asks the provider once, shows the answer, and what the call cost. */
async function triesOnce(rig, { provider, gateway, reseller }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, reseller, '/console/#hand-out');
    await fill(page, { Name: 'tried', 'E-mail': 'tried@example.com' });
    await page.getByRole('button', { name: 'Create with $10.00' }).click();
    const secret = await secretOf(page);
    await choose(page, 'house');
    const before = provider.asked.get(UPSTREAM);
    await page.getByRole('button', { name: 'Make a call' }).click();
    await page.getByRole('status').getByText(PLAIN).waitFor();
    await page.getByText(/^Answered in .*, cost \$0\.\d+$/).waitFor();
    expect(provider.asked.get(UPSTREAM) === before + 1, `${provider.asked.get(UPSTREAM) - before} calls`);
    expect((await callsOf(gateway, secret)).length === 1, 'the account has one call');
    await visitor.expectGood('hand-out-tried');
  });
}

const LINES = [
  'name, e-mail, credit', 'carl@example.com', 'dora <dora@example.com> 25', 'emil\temil@example.com\t$5', 'reseller, again@example.com, 5', 'no mail here',
];

/** Lines in whatever form become accounts; what fails says why in its own row and is mended there. */
async function handsOutMany(rig, { gateway }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /4\d\d/);
    const questions = asked(page);
    await open(page, gateway.rootKey, '/console/#hand-out?many=1');
    const lines = page.getByLabel('One account a line: name, e-mail, credit');
    await lines.fill(LINES.join('\n'));
    await page.getByText('The e-mail is missing.').waitFor();
    await page.getByText('Lines to mend: 1').waitFor();
    expect(await page.getByRole('button', { name: /^Create 5/ }).isDisabled(), 'nothing is created while a line is wrong');
    await visitor.expectGood('hand-out-lines');
    await lines.fill(LINES.slice(0, -1).join('\n'));
    await page.getByRole('button', { name: 'Create 4 with $45.00 together' }).click();
    await page.getByText('3 of 4 created, 1 failed').waitFor();
    expect(questions.length === 1 && questions[0].includes('$45.00'), questions);
    const row = (text) => page.locator('tbody tr.opens').filter({ hasText: text });
    const refusal = await row('again@example.com').innerText();
    expect(/reseller/.test(refusal) && /taken|exists|already/i.test(refusal), refusal);
    const key = (await row('dora@example.com').innerText()).match(/sk-Xvs\w+/)[0];
    const dora = await gateway.call('GET', '/dashboard/info', undefined, key);
    expect(dora.name === 'dora' && dora.balance === 25, dora);
    await visitor.expectGood('hand-out-many');
    await row('again@example.com').getByRole('button').click();
    await page.locator('td.detail').getByLabel('Name', { exact: true }).fill('second-reseller');
    await page.locator('td.detail').getByRole('button', { name: 'Try again' }).click();
    await page.getByText('4 of 4 created, 0 failed').waitFor();
    const download = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Save as CSV' }).click();
    const saved = (await fs.readFile(await (await download).path(), 'utf8')).trim().split(/\r?\n/);
    expect(saved.length === 5 && saved.filter((line) => /sk-Xvs\w{45}/.test(line)).length === 4, saved);
    await row('carl@example.com').getByRole('button').click();
    await page.locator('td.detail').getByRole('button', { name: 'Make a call' }).click();
    await page.locator('td.detail').getByText(PLAIN).waitFor();
  });
}

/** Whoever has too little to manage accounts is told the limit, in place of a form that would be refused. */
async function saysWhoMay(rig, { gateway, poor }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    await open(visitor.page, poor, '/console/#hand-out');
    await visitor.page.getByRole('note').getByText(/at least \$20\.00; yours is \$3\.00/).waitFor();
    await visitor.expectGood('hand-out-denied');
  });
}

async function isGoodIn(look, rig, { gateway }) {
  const zh = look.language === 'zh';
  await rig.visiting(gateway.origin, look, async (visitor) => {
    const { page } = visitor;
    const press = (label) => page.getByRole('button', { name: label }).first().click();
    await open(page, gateway.rootKey, '/console/#hand-out');
    await page.locator('form input').first().waitFor();
    await visitor.expectGood(`hand-out-${lookName(look)}`);
    await page.locator('input[name=Name]').fill(`look-${lookName(look)}`);
    await page.locator('input[name=Email]').fill(`${lookName(look)}@example.com`);
    await page.locator('form button.main').click();
    await page.locator('.secret').waitFor();
    await press(zh ? '发起一次调用' : 'Make a call');
    await page.getByText(PLAIN).waitFor();
    await page.locator('.note.good .small').filter({ hasText: '$' }).waitFor();
    await visitor.shot(`hand-out-key-${lookName(look)}`, true);
    await visitor.expectGood();
    await open(page, gateway.rootKey, '/console/#hand-out?many=1');
    await page.locator('textarea').fill(LINES.join('\n'));
    await page.locator('tbody tr').nth(4).waitFor();
    await visitor.expectGood(`hand-out-many-${lookName(look)}`);
  });
}

export async function run(rig) {
  const there = await prepared(rig);
  await rig.law('one account is handed out with a key that works, and a refusal loses nothing', () => handsOutOne(rig, there));
  await rig.law('the ready texts name this gateway, and those that run here are answered', () => textsWork(rig, there));
  await rig.law('trying a key is one call, with its answer and its cost', () => triesOnce(rig, there));
  await rig.law('pasted lines become accounts, and what fails is mended in its row', () => handsOutMany(rig, there));
  await rig.law('whoever may not hand out is told the limit', () => saysWhoMay(rig, there));
  for (const look of LOOKS) await rig.law(`handing out is good in ${lookName(look)}`, () => isGoodIn(look, rig, there));
}

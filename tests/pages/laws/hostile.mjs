// Texts that nobody means well, wherever somebody else can put them, on all pages.

import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';
import { MARKUP } from '../provider.mjs';
import { callsOf, open } from '../steps.mjs';

export const name = 'hostile texts';

const IMG = '<img src=x onerror="window.owned=1">';
const SCRIPT = `</script><script>window.owned=1</script>'"><svg onload=window.owned=1>{{7*7}}\${7*7}`;
const TURNED = '\u202egnp.exe\u202c \u2067turned\u2069 שלום';
const WIDE = 'W'.repeat(255);
const VICTIM = `it's 'all' mine; \${x} {{x}} %3Cb%3E`.replaceAll(/[<>&"]/g, '');
const LONG = `${IMG} ${'long'.repeat(2490)} ${SCRIPT}`.slice(0, 10_000);
const MODELS = [IMG, SCRIPT, TURNED, WIDE];
const NAME = 'W'.repeat(63);
const MAIL = `${'m'.repeat(60)}@${'d'.repeat(60)}.example.com`;
const ROW_SECONDS_MAX = 15;

// Each page of the console with an account, a key or a row open where it has such; what has to be shown there, if it is certain.
const PLACES = [
  ['#calls', SCRIPT], ['#calls?list=refused'], ['#calls?model=*'], ['#hand-out'], ['#hand-out?many=1'], ['#spend'], ['#spend?by=model'], ['#spend?by=tag'], ['#playground'],
  ['#keys'], ['#keys?do=paste'], ['#keys?do=add'], ['#accounts', NAME], ['#accounts?open=2', VICTIM], ['#accounts?open=3&edit=1'], ['#money?user=2'], ['#money'],
  ['#prices', IMG], ['#prices?tab=unpriced'], ['#prices?tab=changes'], ['#prices?tab=load'], ['#prices?tab=rerate'], [`#routing?model=${encodeURIComponent(IMG)}&user=2`, IMG],
  ['#fleet'], ['#limits'], ['#audit'], ['#audit?action=add_news'], ['#settings'], ['#news', LONG.slice(0, 100)],
];

/** The names that the gateway refuses are not here; what it admits is as bad as it may be. */
async function prepared(rig) {
  const provider = await rig.provider(['house', ...MODELS]);
  const price = { Provider: SCRIPT, InputText: 2.5, OutputText: 10 };
  const gateway = await rig.gateway({ UNPRICED: 'serve', PRICING: JSON.stringify({ ChatPricing: { house: price, [IMG]: price, [TURNED]: price } }) });
  const victim = await gateway.addAccount(VICTIM, 100, { Email: 'a.b+c@example.com', Alias: `'${'A'.repeat(250)}`, ModelMapper: `${IMG.replaceAll('=', '')}=house` });
  const wide = await gateway.addAccount(NAME, 50, { Email: MAIL });
  const key = await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: `it's ${'K'.repeat(250)}` });
  await gateway.addKey('sk-dead-0123456789abcdefghijk', `${provider.url}/${'p'.repeat(200)}`, { Name: 'dead', Level: 1, Config: { models: MODELS, model_names: { house: SCRIPT } } });
  expect(key.Key.ID === 1, 'the first key has the id 1');
  await gateway.call('PUT', '/x-config', { MODEL_MAPPER: `${TURNED}=house,${"it's <b>"}=house` });
  for (const title of [IMG, SCRIPT.slice(0, 190)]) await gateway.call('POST', '/x-news', { title, content: LONG });
  await gateway.call('POST', `/x-news/${encodeURIComponent(NAME)}`, { title: 'W'.repeat(200), content: 'W'.repeat(9_000) });
  for (const model of MODELS) {
    const answer = await gateway.chat(victim, model, 'markup', { user: IMG.slice(0, 60), max_tokens: 50 });
    expect(answer.status === 200, answer.text);
  }
  for (const user of [SCRIPT.slice(0, 64), 'W'.repeat(64)]) await gateway.chat(wide, 'house', 'hi', { user, max_tokens: 50 });
  await gateway.chat(victim, 'house', 'please fail-400', { max_tokens: 50 });
  await gateway.chat(victim, `${IMG}${'x'.repeat(300)}`, 'hi');
  await gateway.ask('POST', `/v1/${encodeURIComponent(IMG)}`, { model: IMG }, victim);
  await gateway.ask('PUT', '/x-users/3', { CreditGranted: 5 });
  await callsOf(gateway, victim, 5);
  return { gateway, victim, wide };
}

/** Nothing of a text became an element, ran, or made the page wider than the window. */
async function expectHarmless(visitor, place) {
  const { page } = visitor;
  const found = await page.evaluate(() => ({
    owned: window.owned ?? null,
    made: [...document.querySelectorAll('body :is(script, img, iframe, object, embed, svg[onload], [onerror], [onclick], [onload])')].map((each) => each.outerHTML.slice(0, 80)),
    links: [...document.querySelectorAll('a[href]')].map((each) => each.protocol).filter((each) => !/^https?:$/.test(each)),
  }));
  expect(found.owned === null && found.made.length === 0 && found.links.length === 0, `${place}: ${JSON.stringify(found)}`);
  const faults = await visitor.faults();
  expect(faults.length === 0, `${place}: ${faults.join('\n')}`);
}

async function shown(page, text, place) {
  const squeezed = text.replaceAll(/\s+/g, ' ');
  const all = async () => (await page.locator('body').evaluate((body) => [body.textContent, ...[...body.querySelectorAll('input, textarea')].map((field) => field.value)].join(' '))).replaceAll(/\s+/g, ' ');
  await waitUntil(`${place} shows ${text.slice(0, 60)}`, ROW_SECONDS_MAX, async () => (await all()).includes(squeezed));
}

/** Rows are opened, the first few of a page, so that what is inside is looked at as well. */
async function opensRows(visitor, place) {
  const { page } = visitor;
  await closesDialog(page);
  const rows = page.locator('main tbody tr.opens > td:first-child button');
  for (let at = 0; at < Math.min(3, await rows.count()); at += 1) {
    await rows.nth(at).click();
    await page.waitForTimeout(150);
    await page.waitForLoadState('networkidle');
    await expectHarmless(visitor, `${place}, row ${at + 1}`);
    await closesDialog(page);
  }
}

async function closesDialog(page) {
  if (!(await page.getByRole('dialog').count())) return;
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
}

async function consoleIsHarmless(rig, { gateway }, look) {
  await rig.visiting(gateway.origin, look, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /status of 4\d\d/);
    for (const [place, text] of PLACES) {
      await open(page, gateway.rootKey, `/console/${place}`);
      await page.reload();
      await page.locator('main h1').waitFor();
      await page.waitForLoadState('networkidle');
      if (text) await shown(page, text, place);
      await expectHarmless(visitor, place);
      await opensRows(visitor, place);
    }
    await visitor.shot(`hostile-${lookName(look)}`);
  });
}

/** The pages of those whom such texts are about. */
async function othersAreHarmless(rig, { gateway, victim, wide }, look) {
  await rig.visiting(gateway.origin, look, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /status of 4\d\d/);
    await page.goto('/billing/');
    await page.locator('textarea').fill(`<img src=x onerror="window.owned=1"> ${victim} ${wide} sk-${'W'.repeat(190)}`);
    await page.locator('form button.main').click();
    await shown(page, NAME, '/billing/');
    await expectHarmless(visitor, '/billing/');
    await opensRows(visitor, '/billing/');
    await visitor.shot(`hostile-billing-${lookName(look)}`);
    await open(page, gateway.rootKey, '/user/');
    await shown(page, NAME, '/user/');
    await expectHarmless(visitor, '/user/');
    await opensRows(visitor, '/user/');
    await open(page, wide, '/');
    await page.goto('/user/?x=<script>window.owned=1</script>#<img src=x onerror=window.owned=1>');
    await page.waitForLoadState('networkidle');
    await expectHarmless(visitor, 'a hostile address');
    await page.goto(`/docs/#${encodeURIComponent(IMG)}`);
    await page.getByRole('alert').waitFor();
    await expectHarmless(visitor, '/docs/');
  });
}

/** What a provider answers, whole or as an error, stays text where it is tried and chatted with. */
async function answersAreHarmless(rig, { gateway, victim }, look) {
  await rig.visiting(gateway.origin, look, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /status of 4\d\d/);
    await open(page, victim, `/console/#playground?model=${encodeURIComponent(IMG)}`);
    const field = page.locator('.chat textarea');
    for (const text of ['markup', 'please fail-400', `${IMG} ${TURNED} ${'W'.repeat(2000)}`]) {
      await field.fill(text);
      await field.press('Enter');
      await page.locator('.chat button.main').waitFor();
    }
    await shown(page, MARKUP, 'the playground');
    await shown(page, `${MARKUP} as asked`, 'the playground');
    await expectHarmless(visitor, 'the playground');
    await visitor.shot(`hostile-playground-${lookName(look)}`);
  });
}

export async function run(rig) {
  const there = await prepared(rig);
  const phone = { language: 'en', scheme: 'light', width: 390 };
  for (const look of [phone, { language: 'zh', scheme: 'dark', width: 1280 }]) {
    await rig.law(`no text becomes markup, runs or breaks a page of the console: ${lookName(look)}`, () => consoleIsHarmless(rig, there, look), 240);
  }
  for (const look of LOOKS.filter(({ language, scheme }) => language === 'en' && scheme === 'light')) {
    await rig.law(`nor on the pages of others: ${lookName(look)}`, () => othersAreHarmless(rig, there, look), 120);
    await rig.law(`nor does what a provider answers: ${lookName(look)}`, () => answersAreHarmless(rig, there, look));
  }
}

// Each job by keyboard alone: what can be pressed is reached by Tab, what opened is closed by Escape, and the focus goes back.

import { expect, waitUntil } from '../laws.mjs';
import { PLAIN } from '../provider.mjs';
import { asked, callsOf, open } from '../steps.mjs';

export const name = 'the keyboard';

const PRICES = { ChatPricing: { house: { Provider: 'openai', InputText: 2.5, OutputText: 10 } } };
const TABS_MAX = 120;
const CONSOLE = ['calls', 'hand-out', 'spend', 'playground', 'keys', 'accounts', 'money', 'prices', 'routing', 'fleet', 'limits', 'audit', 'settings', 'news'];

async function prepared(rig) {
  const provider = await rig.provider(['house']);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES) });
  await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: 'up' });
  const alice = await gateway.addAccount('alice', 50);
  await gateway.chat(alice, 'house', 'hi');
  await callsOf(gateway, alice);
  return { gateway, alice };
}

/** What has the focus, as those hear it who do not see it. */
const focused = (page) => page.evaluate(() => {
  const element = document.activeElement;
  const label = element.labels?.[0]?.textContent ?? element.getAttribute('aria-label') ?? element.textContent;
  return `${element.tagName.toLowerCase()} ${label.trim().replaceAll(/\s+/g, ' ').slice(0, 80)}`;
});

/** Presses Tab until what is wanted has the focus. */
async function tabTo(page, wanted) {
  const passed = [];
  for (let step = 0; step < TABS_MAX; step += 1) {
    await page.keyboard.press('Tab');
    const now = await focused(page);
    if (now === wanted) return;
    passed.push(now);
  }
  expect(false, `${wanted} is not reached by Tab; passed were ${[...new Set(passed)].join(', ')}`);
}

const type = async (page, field, text) => {
  await tabTo(page, field);
  await page.keyboard.type(text);
};

async function createsAnAccount(rig, { gateway }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    await page.goto('/');
    await page.locator('form input').first().waitFor();
    await type(page, 'input Client key or root key', gateway.rootKey);
    await page.keyboard.press('Enter');
    await page.waitForURL('**/console/**');
    await page.locator('tr.opens').first().waitFor();
    await page.keyboard.press('Tab');
    expect((await focused(page)).startsWith('a Skip'), `the first stop is ${await focused(page)}`);
    await tabTo(page, 'a Hand out a key');
    await page.keyboard.press('Enter');
    await page.getByLabel('Name', { exact: true }).waitFor();
    await type(page, 'input Name', 'by-keyboard');
    await type(page, 'input E-mail', 'keys@example.com');
    await page.keyboard.press('Enter');
    await page.locator('.secret').waitFor();
    await tabTo(page, 'button curl');
    await page.keyboard.press('ArrowRight');
    expect((await focused(page)) === 'button OpenAI Python', await focused(page));
    expect((await page.locator('[role=tabpanel] pre').textContent()).includes('from openai import OpenAI'), 'the text of that tab is shown');
  });
}

/** A row opens below itself and closes again with the focus on it. */
async function opensARow(rig, { gateway }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    await open(page, gateway.rootKey, '/console/#calls');
    const row = page.locator('tr.opens button').first();
    await row.waitFor();
    const said = (await row.innerText()).trim().replaceAll(/\s+/g, ' ');
    await tabTo(page, `button ${said}`);
    await page.keyboard.press('Enter');
    await page.locator('td.detail').waitFor();
    expect((await row.getAttribute('aria-expanded')) === 'true', 'it says that it is open');
    expect((await focused(page)) === `button ${said}`, `the focus is on ${await focused(page)}`);
    await page.keyboard.press('Enter');
    await page.locator('td.detail').waitFor({ state: 'detached' });
    expect((await focused(page)) === `button ${said}`, `the focus is on ${await focused(page)}`);
  });
}

// A dialog each: where, the stop that opens it, and whether it is a row.
const DIALOGS = [
  ['/console/#accounts', 'button alice'], ['/console/#keys', 'button Add a key'], ['/console/#keys', 'button Paste many'], ['/user/', 'button New account'], ['/user/', 'button alice'],
];

/** A dialog takes the focus, keeps it, and gives it back to what opened it. */
async function closesDialogs(rig, { gateway }) {
  for (const [place, opener] of DIALOGS) {
    await rig.visiting(gateway.origin, undefined, async ({ page }) => {
      await open(page, gateway.rootKey, place);
      await page.locator('tr.opens').first().waitFor();
      await tabTo(page, opener);
      await page.keyboard.press('Enter');
      const dialog = page.getByRole('dialog');
      await dialog.waitFor();
      await dialog.locator('input, textarea, button').nth(1).waitFor();
      for (let step = 0; step < 5; step += 1) {
        expect(await page.evaluate(() => Boolean(document.activeElement.closest('dialog')) || document.activeElement === document.body), `${place}: the focus left for ${await focused(page)}`);
        await page.keyboard.press('Tab');
      }
      await page.keyboard.press('Escape');
      await dialog.waitFor({ state: 'detached' });
      await waitUntil(`${place}: the focus is back on ${opener}`, 5, async () => (await focused(page)) === opener);
    });
  }
}

async function worksOnOthers(rig, { gateway, alice }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    const questions = asked(page);
    await page.goto('/billing/');
    await page.locator('textarea').waitFor();
    await type(page, 'textarea One key or many', alice);
    await tabTo(page, 'button Look up');
    await page.keyboard.press('Enter');
    await page.getByText('The last 30 days').waitFor();
    await open(page, gateway.rootKey, '/user/');
    await page.locator('tr.opens').first().waitFor();
    await tabTo(page, 'button alice');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').getByText('Switch off or delete').waitFor();
    await type(page, 'input Amount ($)', '5');
    await tabTo(page, 'button Top up');
    await page.keyboard.press('Enter');
    await page.getByRole('status').getByText('Topped up by $5.00').waitFor();
    expect(questions.length === 1, questions);
  });
}

async function chats(rig, { gateway, alice }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    await open(page, alice, '/console/#playground');
    await page.locator('.turns .empty').waitFor();
    await type(page, 'textarea Message', 'slow please');
    await page.keyboard.press('Enter');
    await page.locator('.turn:not(.user)').getByText('Hello').waitFor();
    await tabTo(page, 'button Stop');
    await page.keyboard.press('Enter');
    await page.getByText('Stopped by you.').waitFor();
    await type(page, 'textarea Message', 'hi');
    await page.keyboard.press('Enter');
    await page.locator('.said').getByText(PLAIN).waitFor();
  });
}

/** On no page is the focus lost or held: Tab goes round, and each stop is seen to have it. */
async function goesRound(rig, { gateway }) {
  for (const place of ['/', '/billing/', '/user/', '/docs/', ...CONSOLE.map((each) => `/console/#${each}`)]) {
    await rig.visiting(gateway.origin, undefined, async ({ page }) => {
      await open(page, gateway.rootKey, place);
      await page.locator('h1').first().waitFor();
      await page.waitForLoadState('networkidle');
      const stops = new Set();
      for (let step = 0; step < TABS_MAX; step += 1) {
        await page.keyboard.press('Tab');
        const stop = await page.evaluate(() => {
          const element = document.activeElement;
          if (element === document.body) return null;
          const style = getComputedStyle(element);
          const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
          return { at: [...document.querySelectorAll('*')].indexOf(element), ring, name: element.outerHTML.slice(0, 100) };
        });
        if (!stop || stops.has(stop.at)) break;
        expect(stop.ring, `${place}: nothing shows that this has the focus: ${stop.name}`);
        stops.add(stop.at);
      }
      expect(stops.size >= 5, `${place} has ${stops.size} stops`);
    });
  }
}

export async function run(rig) {
  const there = await prepared(rig);
  await rig.law('signing in and handing out need no pointer', () => createsAnAccount(rig, there));
  await rig.law('a row opens and closes with the focus on it', () => opensARow(rig, there));
  await rig.law('Escape closes a dialog, and the focus goes back to what opened it', () => closesDialogs(rig, there));
  await rig.law('balances and sub-accounts need no pointer', () => worksOnOthers(rig, there));
  await rig.law('chatting and stopping need no pointer', () => chats(rig, there));
  await rig.law('Tab goes round every page, and shows where it is', () => goesRound(rig, there), 180);
}

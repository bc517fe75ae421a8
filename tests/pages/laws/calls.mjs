import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';
import { LONG, MARKUP } from '../provider.mjs';

export const name = 'the front page, signing in, and the list of calls';

const PRICES = { ChatPricing: { house: { Provider: 'openai', InputText: 2.5, OutputText: 10 }, 'house-mini': { Provider: 'openai', InputText: 1, OutputText: 2 } } };

/** A gateway with calls of several accounts and kinds, one of them with names that nobody means well. */
async function prepared(rig) {
  const provider = await rig.provider(['house', 'house-mini']);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES), UNPRICED: 'serve' });
  await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: 'up' });
  const alice = await gateway.addAccount('alice', 50);
  const bob = await gateway.addAccount('bobby', 10, {}, alice);
  const hostile = MARKUP.slice(0, 100);
  for (const [key, model, words] of [
    [alice, 'house', 'one'], [bob, 'house-mini', 'two'], [alice, 'house', 'a long one'], [alice, hostile, 'three'],
  ]) await gateway.chat(key, model, words);
  await gateway.chat(alice, `m${LONG.replaceAll(' ', '').slice(0, 240)}`, 'four');
  await waitUntil('usage is posted', 15, async () => (await gateway.call('GET', '/x-calls')).calls.length === 5);
  return { gateway, alice, bob, hostile };
}

async function signIn(page, key) {
  await page.goto('/');
  await page.getByLabel('Client key or root key').fill(key);
  await page.keyboard.press('Enter');
  await page.waitForURL('**/console/**');
}

const rows = (page) => page.locator('tbody tr.opens');

async function signsIn(rig, { gateway }) {
  await rig.visiting(gateway.origin, undefined, async ({ page, watch, expectGood: _ }) => {
    watch.allow('console error', /401/);
    await page.goto('/');
    await page.getByLabel('Client key or root key').fill('sk-Xvs-wrong');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').waitFor();
    await page.getByLabel('Client key or root key').fill(gateway.rootKey);
    await page.keyboard.press('Enter');
    await page.waitForURL('**/console/**');
    await rows(page).first().waitFor();
    const kept = await page.evaluate(() => [sessionStorage.length, Object.keys(localStorage).filter((name) => name.endsWith('key')).length]);
    expect(kept[0] === 1 && kept[1] === 0, `the key is kept in ${kept}`);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Client key or root key').waitFor();
    expect((await page.evaluate(() => sessionStorage.length)) === 0, 'the key is still there');
  });
}

async function remembers(rig, { gateway }) {
  await rig.visiting(gateway.origin, undefined, async ({ page, context }) => {
    await page.goto('/');
    await page.getByLabel('Client key or root key').fill(gateway.rootKey);
    await page.getByLabel('Remember on this device').check();
    await page.keyboard.press('Enter');
    await page.waitForURL('**/console/**');
    const other = await context.newPage();
    await other.goto('/console/');
    await rows(other).first().waitFor();
  });
}

/** A row opens to a bill whose lines add up to the cost, and the address leads back to it. */
async function opensABill(rig, { gateway }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await signIn(page, gateway.rootKey);
    await page.getByLabel('Model').fill('house');
    await waitUntil('the filter is in the address', 5, async () => page.url().includes('model=house'));
    await waitUntil('two calls are left', 5, async () => (await rows(page).count()) === 2);
    await rows(page).last().getByRole('button').focus();
    await page.keyboard.press('Enter');
    const bill = page.getByRole('region', { name: 'The bill of this call' });
    await bill.waitFor();
    const { calls } = await gateway.call('GET', '/x-calls?model=house');
    const [call] = calls.slice(-1);
    const amounts = call.Bill.reduce((sum, line) => sum + line.Amount, 0);
    expect(Math.abs(amounts - call.Cost) < 1e-9, `the lines make ${amounts}, the cost is ${call.Cost}`);
    for (const line of call.Bill) expect((await bill.innerText()).includes(String(line.Quantity)), await bill.innerText());
    expect(await page.getByText(call.RequestID).isVisible(), 'the request id is shown');
    await visitor.expectGood('calls-bill');
    await page.reload();
    await bill.waitFor();
  });
}

async function followsLive(rig, { gateway, alice }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    await signIn(page, gateway.rootKey);
    await rows(page).first().waitFor();
    const before = await rows(page).count();
    await page.getByLabel('Live').check();
    await gateway.chat(alice, 'house', 'another');
    await waitUntil('the new call is seen', 10, async () => (await rows(page).count()) === before + 1);
    await page.getByLabel('Live').uncheck();
  });
}

/** Whoever is in the middle of the tree sees itself and what is below, and nothing of root's. */
async function seesItsOwn(rig, { gateway, bob }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    await signIn(page, bob);
    await rows(page).first().waitFor();
    expect((await rows(page).count()) === 1, 'one call is its own');
    expect((await page.getByLabel('Upstream key (ID)').count()) === 0, 'upstream keys are root\'s');
    await rows(page).first().click();
    await page.getByRole('region', { name: 'The bill of this call' }).waitFor();
    expect((await page.getByText('Cost to you').count()) === 0, 'what calls cost root is root\'s');
  });
}

async function saysTheNextStep(rig) {
  const gateway = await rig.gateway();
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    await signIn(visitor.page, gateway.rootKey);
    await visitor.page.getByRole('heading', { name: 'No calls yet' }).waitFor();
    expect((await visitor.page.getByText(`curl ${gateway.origin}/v1/chat/completions`).count()) === 1, 'a command with this address');
    await visitor.expectGood('calls-empty');
  });
}

async function isGoodIn(look, rig, { gateway, hostile }) {
  await rig.visiting(gateway.origin, look, async (visitor) => {
    const { page } = visitor;
    await page.goto('/');
    await page.locator('form').waitFor();
    await visitor.expectGood(`front-${lookName(look)}`);
    await page.evaluate((key) => sessionStorage.setItem('proxyxai.key', key), gateway.rootKey);
    await page.goto('/console/');
    await rows(page).first().waitFor();
    expect((await page.getByText(hostile.slice(0, 30)).count()) > 0, 'markup is shown as text');
    await rows(page).last().click();
    await page.locator('td.detail').waitFor();
    await visitor.expectGood(`calls-${lookName(look)}`);
  });
}

export async function run(rig) {
  const there = await prepared(rig);
  await rig.law('a key signs in, is kept for the tab alone, and is gone after signing out', () => signsIn(rig, there));
  await rig.law('a key is remembered where its owner says so', () => remembers(rig, there));
  await rig.law('a call opens to a bill whose lines add up, under an address of its own', () => opensABill(rig, there));
  await rig.law('new calls are seen as they come', () => followsLive(rig, there));
  await rig.law('an account sees its own calls and nothing that is root\'s', () => seesItsOwn(rig, there));
  await rig.law('a new gateway says the next step', () => saysTheNextStep(rig));
  for (const look of LOOKS) await rig.law(`front page and calls are good in ${lookName(look)}`, () => isGoodIn(look, rig, there));
}

import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';
import { asked, callsOf, open } from '../steps.mjs';

export const name = 'further client keys';

const PRICES = { ChatPricing: { house: { Provider: 'openai', InputText: 250, OutputText: 1000 } } };

/** An account with a further key of a small limit, and a call with each of its keys. */
async function prepared(rig) {
  const provider = await rig.provider(['house']);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES) });
  await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: 'up' });
  const alice = await gateway.addAccount('alice', 50);
  const { Key: further } = await gateway.call('POST', '/x-users/alice/keys', { Name: 'nightly', CreditLimit: 2, RPM: 30, Days: 20, AllowModels: 'house*' });
  for (const key of [alice, further.SecretKey]) await gateway.chat(key, 'house', 'one', { max_tokens: 50 });
  await callsOf(gateway, alice, 2);
  return { gateway, alice, further };
}

const drawer = (page) => page.getByRole('dialog');
const row = (page, key) => drawer(page).getByRole('row', { name: key });
const keyOf = async (gateway, wanted) => (await gateway.call('GET', '/x-users/alice/keys')).find((key) => key.Name === wanted);

async function madeChangedEnded(rig, { gateway }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    asked(page);
    await open(page, gateway.rootKey, '/console/#accounts?open=2');
    await drawer(page).getByRole('button', { name: 'New client key' }).click();
    const form = drawer(page).locator('form');
    await form.getByLabel('Name').fill('ci');
    await form.getByLabel('Models').fill('house, other');
    await form.getByRole('button', { name: 'Create' }).click();
    const secret = drawer(page).locator('.secret code');
    await secret.waitFor();
    await row(page, 'ci').getByRole('button', { name: 'Edit' }).click();
    await form.getByLabel('Most it may spend').fill('3');
    await form.getByLabel('Models').fill('house, third');
    await form.getByRole('button', { name: 'Save' }).click();
    await form.waitFor({ state: 'detached' });
    const changed = await keyOf(gateway, 'ci');
    expect(changed.CreditLimit === 3 && changed.AllowModels.split(',').sort().join() === 'house,third' && changed.ExpiresAt === null, JSON.stringify(changed));
    expect((await secret.count()) === 1, 'a key that still works keeps its secret on the page');
    await row(page, 'ci').getByRole('button', { name: 'Edit' }).click();
    for (const field of ['Most it may spend', 'Models']) await form.getByLabel(field).fill('');
    await form.getByRole('button', { name: 'Save' }).click();
    await form.waitFor({ state: 'detached' });
    const lifted = await keyOf(gateway, 'ci');
    expect(lifted.CreditLimit === 0 && lifted.AllowModels === '*', JSON.stringify(lifted));
    await row(page, 'ci').getByRole('button', { name: 'Switch off' }).click();
    await secret.waitFor({ state: 'detached' });
    await row(page, 'ci').getByRole('button', { name: 'Delete' }).click();
    await row(page, 'ci').waitFor({ state: 'detached' });
  });
}

async function leadsToItsCalls(rig, { gateway }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, gateway.rootKey, '/console/#accounts?open=2');
    await row(page, 'nightly').getByRole('link', { name: 'Its calls' }).click();
    await waitUntil('its call is shown', 10, async () => (await page.locator('tr.opens').count()) === 1);
    await page.locator('tr.opens').getByRole('button').click();
    await page.locator('td.detail').getByText('nightly').waitFor();
    await visitor.expectGood('client-keys-calls');
  });
}

/** Both keys of an account have their rows; its balance counts once. */
async function hasItsOwnBalance(rig, { gateway, alice, further }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await page.goto('/billing/');
    await page.locator('textarea').fill(`${alice} ${further.SecretKey}`);
    await page.locator('form button.main').click();
    const line = (key) => page.locator('tbody tr.opens').filter({ hasText: key.slice(-6) });
    await line(further.SecretKey).getByText('nightly').waitFor();
    const { balance, client_key: own } = await gateway.call('GET', '/dashboard/info', undefined, further.SecretKey);
    const said = await line(further.SecretKey).innerText();
    expect(said.includes(`$${(own.CreditLimit - own.CreditUsed).toFixed(2)}`) && said.includes('of $2.00'), said);
    await page.locator('.tile').filter({ hasText: 'Balance together' }).getByText(`$${balance.toFixed(2)}`).waitFor();
    await line(further.SecretKey).getByRole('button').click();
    await page.locator('td.detail').getByText('A further client key of alice').waitFor();
    await visitor.expectGood('client-keys-billing');
  });
}

async function signsInToMakeCalls(rig, { gateway, further }) {
  const { client_key: isTold } = await gateway.call('GET', '/dashboard/status', undefined, further.SecretKey);
  expect(isTold === true, 'its status says what it is');
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, further.SecretKey, '/console/#calls');
    await page.getByRole('heading', { name: 'Playground', exact: true }).waitFor();
    await page.getByText('This is a further client key').waitFor();
    await page.locator('.bench').waitFor();
    expect((await page.getByRole('navigation', { name: 'Menu' }).getByRole('link').allInnerTexts()).join() === 'Playground,Balance', 'the menu has what it may do');
    await visitor.expectGood('client-keys-console');
    await page.goto('/user/');
    await page.getByText('This is a further client key').waitFor();
    await visitor.expectGood('client-keys-user');
  });
}

async function isGoodIn(look, rig, { gateway }) {
  await rig.visiting(gateway.origin, look, async (visitor) => {
    const { page } = visitor;
    await open(page, gateway.rootKey, '/console/#accounts?open=2');
    const table = drawer(page).locator('.client-key').first();
    await table.scrollIntoViewIfNeeded();
    await visitor.expectGood(`client-keys-${lookName(look)}`);
    if (look.width === 390) return;
    const region = drawer(page).locator('.table').filter({ has: page.locator('.client-key') });
    const [inside, seen] = await region.evaluate((each) => [each.scrollWidth, each.clientWidth]);
    expect(inside <= seen, `the table has ${inside} px in ${seen}`);
  });
}

export async function run(rig) {
  const there = await prepared(rig);
  await rig.law('a client key is made, changed and ended, and its secret is shown while it works', () => madeChangedEnded(rig, there));
  await rig.law('a client key leads to its calls, and a call names its key', () => leadsToItsCalls(rig, there));
  await rig.law('a client key has its own balance, and the account counts once', () => hasItsOwnBalance(rig, there));
  await rig.law('a client key that signs in sees what it may do', () => signsInToMakeCalls(rig, there));
  for (const look of LOOKS) await rig.law(`client keys are good in ${lookName(look)}`, () => isGoodIn(look, rig, there));
}

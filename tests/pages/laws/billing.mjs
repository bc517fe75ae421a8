import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';
import { callsOf } from '../steps.mjs';

export const name = 'balances of keys';

const PRICES = { ChatPricing: { house: { Provider: 'openai', InputText: 250, OutputText: 1000 }, 'house-mini': { Provider: 'openai', InputText: 100, OutputText: 200 } } };
const WRONG = `sk-Xvs${'wrong'.repeat(9)}`;

async function prepared(rig) {
  const provider = await rig.provider(['house', 'house-mini']);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES) });
  await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: 'up' });
  const alice = await gateway.addAccount('alice', 50, { HardLimit: 40, RPM: 30 });
  const bob = await gateway.addAccount('bobby', 10);
  const poor = await gateway.addAccount('poor', 5);
  for (const [key, model] of [[alice, 'house'], [alice, 'house-mini'], [bob, 'house']]) await gateway.chat(key, model, 'one', { max_tokens: 50 });
  await callsOf(gateway, alice, 2);
  await callsOf(gateway, bob);
  await gateway.call('PUT', '/x-users/poor', { Status: false });
  return { gateway, alice, bob, poor };
}

/** Keys as they come to people: in a mail, in a table, in quotes, one of them twice. */
const pasted = ({ alice, bob, poor }) => `Dear all,\n your key is "${alice}", Bob's: ${bob};\n| old | ${WRONG} |\nexport KEY='${alice}'\n${poor}, regards`;

const row = (page, key) => page.locator('tbody tr.opens').filter({ hasText: key.slice(-6) });
const infoOf = (gateway, key) => gateway.call('GET', '/dashboard/info', undefined, key);

async function look(page, text) {
  await page.locator('textarea').fill(text);
  await page.locator('form button.main').click();
}

async function aRowForEach(rig, there) {
  const { gateway, alice, bob, poor } = there;
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /401/);
    await page.goto('/billing/');
    await page.getByText('No key yet').waitFor();
    await visitor.expectGood('billing-none');
    await look(page, pasted(there));
    await row(page, alice).getByText('alice').waitFor();
    await waitUntil('each has its row', 10, async () => (await page.locator('tbody tr.opens').count()) === 4);
    const known = await infoOf(gateway, alice);
    const said = await row(page, alice).innerText();
    expect(said.includes(`$${known.balance.toFixed(2)}`), `${said}; the balance is ${known.balance}`);
    for (const [key, words] of [[WRONG, /key/i], [poor, /./]]) {
      const error = row(page, key).locator('.error-text');
      await error.waitFor();
      expect(words.test(await error.innerText()), await error.innerText());
    }
    expect((await row(page, bob).locator('.error-text').count()) === 0, 'an error of one is none of another');
    const sum = known.balance + (await infoOf(gateway, bob)).balance;
    await page.locator('.tile').filter({ hasText: 'Balance together' }).getByText(`$${sum.toFixed(2)}`).waitFor();
    expect(!(await page.content()).includes(alice), 'the keys are not shown in full');
    await visitor.expectGood('billing-many');
  });
}

async function opensToDetails(rig, { gateway, alice }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await page.goto('/billing/');
    await look(page, alice);
    const detail = page.locator('td.detail');
    await detail.getByText('The last 30 days').waitFor();
    const known = await infoOf(gateway, alice);
    await detail.getByText(`$${known.monthly_usage.CreditUsed} of $40.00`).waitFor();
    for (const model of ['house', 'house-mini']) await detail.getByText(model, { exact: true }).waitFor();
    await detail.getByRole('cell', { name: '$50.00' }).waitFor();
    await visitor.expectGood('billing-detail');
    await detail.getByRole('link', { name: 'Its calls in the console' }).click();
    await page.getByRole('heading', { name: 'Calls', exact: true }).waitFor();
    await waitUntil('its calls are shown', 10, async () => (await page.locator('tr.opens').count()) === 2);
  });
}

/** Keys stay with the tab, or on the device if that is asked for, until they are forgotten. */
async function remembersAndForgets(rig, { gateway, alice, bob }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, context } = visitor;
    await page.goto('/billing/');
    await look(page, 'nothing like a key');
    await page.getByText('There is no key in this text').waitFor();
    await look(page, `${alice} ${bob}`);
    await row(page, bob).getByText('bobby').waitFor();
    await page.reload();
    await row(page, bob).getByText('bobby').waitFor();
    expect((await page.evaluate(() => Object.keys(localStorage).filter((each) => each.includes('keys')).length)) === 0, 'a key is on the device unasked');
    await page.getByLabel('Remember on this device').check();
    const other = await context.newPage();
    await other.goto('/billing/');
    await row(other, alice).getByText('alice').waitFor();
    await page.getByRole('button', { name: 'Forget all keys' }).click();
    await page.getByText('No key yet').waitFor();
    expect((await page.evaluate(() => sessionStorage.length + Object.keys(localStorage).filter((each) => each.includes('keys')).length)) === 0, 'a key is still kept');
  });
}

async function isGoodIn(look_, rig, there) {
  await rig.visiting(there.gateway.origin, look_, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /401/);
    await page.goto('/billing/');
    await page.locator('.empty').waitFor();
    await visitor.expectGood(`billing-none-${lookName(look_)}`);
    await look(page, pasted(there));
    await row(page, there.bob).getByText('bobby').waitFor();
    await row(page, WRONG).locator('.error-text').waitFor();
    await row(page, there.alice).getByRole('button').click();
    await page.locator('svg.bars').waitFor();
    await visitor.expectGood(`billing-${lookName(look_)}`);
  });
}

export async function run(rig) {
  const there = await prepared(rig);
  await rig.law('keys in any text have a row each, and a wrong one its error there', () => aRowForEach(rig, there));
  await rig.law('a key opens to its credit and its days, and leads to its calls', () => opensToDetails(rig, there));
  await rig.law('keys are kept as asked, and forgotten', () => remembersAndForgets(rig, there));
  for (const each of LOOKS) await rig.law(`balances are good in ${lookName(each)}`, () => isGoodIn(each, rig, there));
}

import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';
import { PLAIN } from '../provider.mjs';
import { asked, open } from '../steps.mjs';

export const name = 'sub-accounts';

const PRICES = { ChatPricing: { house: { Provider: 'openai', InputText: 2.5, OutputText: 10 } } };

async function prepared(rig) {
  const provider = await rig.provider(['house']);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES) });
  await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: 'up' });
  const reseller = await gateway.addAccount('reseller', 200, { AllowModels: 'house*' });
  return { gateway, reseller };
}

const dialog = (page) => page.getByRole('dialog');
const row = (page, text) => page.locator('tbody tr.opens').filter({ hasText: text });
const infoOf = async (gateway, user) => gateway.call('GET', `/x-info?user=${user}`);

async function signIn(page, key) {
  await page.goto('/user/');
  await page.getByLabel('Client key or root key').fill(key);
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'New account' }).first().waitFor();
}

/** The first account of a reseller: from an empty page to a key that works, and a row in the list. */
async function creates(rig, { gateway, reseller }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /4\d\d/);
    await signIn(page, reseller);
    await page.getByText('No sub-accounts yet').waitFor();
    await visitor.expectGood('user-none');
    await page.getByRole('button', { name: 'New account' }).last().click();
    const form = dialog(page);
    for (const [label, text] of [['Name', 'first-one'], ['E-mail', 'first@example.com'], ['Credit ($)', '500']]) await form.getByLabel(label, { exact: true }).fill(text);
    await form.getByRole('button', { name: 'Create with $500.00' }).click();
    await form.getByRole('alert').waitFor();
    expect((await form.getByLabel('Name', { exact: true }).inputValue()) === 'first-one', 'what was typed is still there');
    await visitor.expectGood('user-refused');
    await form.getByLabel('Credit ($)', { exact: true }).fill('50');
    await form.getByRole('button', { name: 'Create with $50.00' }).click();
    const key = await form.locator('.secret code').innerText();
    await form.getByRole('button', { name: 'Make a call' }).click();
    await form.getByText(PLAIN).waitFor();
    await form.locator('.secret').getByRole('button', { name: 'Copy' }).click();
    const toast = page.locator('.toast');
    await toast.waitFor();
    const isOnTop = await toast.evaluate((element) => {
      const box = element.getBoundingClientRect();
      return element.matches(':popover-open') && box.bottom <= innerHeight && box.width > 0;
    });
    expect(isOnTop, 'what is told is above the dialog');
    await visitor.expectGood('user-made');
    expect((await gateway.call('GET', '/dashboard/info', undefined, key)).name === 'first-one', 'the key is the account\'s');
    await page.keyboard.press('Escape');
    await row(page, 'first@example.com').waitFor();
    await page.getByText('balance $150.00').waitFor();
    await visitor.expectGood('user-list');
  });
}

/** Top up and deduct move what they say, after a yes; a refused field keeps what was typed. */
async function changes(rig, { gateway, reseller }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /4\d\d/);
    const questions = asked(page);
    await open(page, reseller, '/user/');
    await row(page, 'first-one').getByRole('button').click();
    const drawer = dialog(page);
    const press = (label) => drawer.getByRole('button', { name: label, exact: true }).click();
    const credit = async () => (await infoOf(gateway, 'first-one')).Balance;
    const before = await credit();
    await drawer.getByLabel('Amount ($)').fill('20');
    await press('Top up');
    await waitUntil('it has more', 10, async () => Math.abs((await credit()) - before - 20) < 1e-9);
    await drawer.getByLabel('Amount ($)').fill('5');
    await press('Deduct');
    await waitUntil('it has less', 10, async () => Math.abs((await credit()) - before - 15) < 1e-9);
    expect(questions.length === 2 && questions[0].includes('$20.00') && questions[1].includes('$0.20'), questions);
    await drawer.getByLabel('Price factor (Rates)').fill('0.5');
    await drawer.getByLabel('Requests a minute').fill('40');
    await press('Save');
    await drawer.getByRole('alert').waitFor();
    expect((await drawer.getByLabel('Requests a minute').inputValue()) === '40', 'what was typed is still there');
    await visitor.expectGood('user-drawer-refused');
    await drawer.getByLabel('Price factor (Rates)').fill('2');
    await drawer.getByLabel('Models allowed').fill('house, house-mini');
    expect((await drawer.getByLabel('Tokens a day').inputValue()) === '', 'no limit is an empty field, not a row of sixes');
    await drawer.getByLabel('Tokens a day').fill('many');
    await press('Save');
    await drawer.getByRole('alert').filter({ hasText: 'number' }).waitFor();
    expect((await infoOf(gateway, 'first-one')).RPM !== 40, 'nothing is saved while one is wrong');
    await drawer.getByLabel('Tokens a day').fill('');
    await drawer.getByLabel('Name', { exact: true }).fill('first-renamed');
    await press('Save');
    await waitUntil('it is saved', 10, async () => (await infoOf(gateway, 'first@example.com')).Name === 'first-renamed');
    const saved = await infoOf(gateway, 'first-renamed');
    expect(saved.RPM === 40 && saved.Rates === 2 && saved.AllowModels.replaceAll(' ', '') === 'house,house-mini', saved);
    await drawer.getByRole('heading', { name: 'first-renamed' }).waitFor();
    await visitor.expectGood('user-drawer');
    await press('Switch off');
    await drawer.getByRole('button', { name: 'Switch on' }).waitFor();
    expect(!(await infoOf(gateway, 'first-renamed')).Status, 'it is off');
    await press('Switch on');
    await drawer.getByRole('button', { name: 'Switch off' }).waitFor();
    expect((await drawer.getByRole('button', { name: 'New key', exact: true }).count()) === 0, 'a new key for others is root\'s to give');
    await page.keyboard.press('Escape');
    await row(page, 'first-renamed').waitFor();
  });
}

/** One account is found without listing all, and deleting it brings back what is left. */
async function findsAndDeletes(rig, { gateway, reseller }) {
  await gateway.addAccount('second-one', 20, {}, reseller);
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /404/);
    const questions = asked(page);
    await open(page, reseller, '/user/');
    await page.getByLabel('Name, e-mail or ID').fill('nobody');
    await page.getByRole('button', { name: 'Find' }).click();
    await page.getByText('No account matches').waitFor();
    await page.getByLabel('Name, e-mail or ID').fill('second-one@example.com');
    await page.keyboard.press('Enter');
    await row(page, 'second-one').waitFor();
    expect((await page.locator('tr.opens').count()) === 1, 'one alone is found');
    await row(page, 'second-one').getByRole('button').click();
    await dialog(page).getByRole('button', { name: 'Delete', exact: true }).click();
    await page.getByRole('status').getByText('Deleted; $19.80 came back').waitFor();
    expect(questions.length === 1 && questions[0].includes('second-one') && questions[0].includes('$20.00'), questions);
    await dialog(page).waitFor({ state: 'detached' });
    expect((await gateway.ask('GET', '/x-info?user=second-one')).status === 404, 'it is gone');
  });
}

/** A renewed key is shown once; its holder goes on with it, and the one before is refused. */
async function renewsKeys(rig, { gateway, reseller }) {
  const refused = async (key) => (await gateway.ask('GET', '/dashboard/status', undefined, key)).status === 401;
  let renewed = '';
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    const questions = asked(page);
    await open(page, reseller, '/user/');
    await page.getByRole('button', { name: 'New key for yourself' }).click();
    renewed = await page.locator('.secret code').innerText();
    expect(questions.length === 1 && renewed !== reseller && (await refused(reseller)), 'the key before is refused');
    await visitor.expectGood('user-renewed');
    await row(page, 'first-renamed').getByRole('button').click();
    await dialog(page).getByRole('button', { name: 'Delete', exact: true }).waitFor();
    await page.goto('/console/#accounts?open=2');
    await dialog(page).getByRole('button', { name: 'New key', exact: true }).click();
    const again = await dialog(page).locator('.secret code').innerText();
    expect(again !== renewed && (await refused(renewed)), 'the console shows the newest');
    await page.reload();
    await dialog(page).getByRole('heading', { name: 'reseller' }).waitFor();
    renewed = again;
  });
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    asked(page);
    await open(page, gateway.rootKey, '/user/');
    await row(page, 'reseller').getByRole('button').click();
    await dialog(page).getByRole('button', { name: 'New key', exact: true }).click();
    const given = await dialog(page).locator('.secret code').innerText();
    expect((await refused(renewed)) && (await gateway.call('GET', '/dashboard/status', undefined, given)).name === 'reseller', 'root gives a new one');
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'New key for yourself' }).click();
    const root = await page.locator('.secret code').innerText();
    expect((await refused(gateway.rootKey)) && root !== gateway.rootKey, 'root renews its own');
    gateway.rootKey = root;
  });
}

async function isGoodIn(look, rig, { gateway }) {
  await rig.visiting(gateway.origin, look, async (visitor) => {
    const { page } = visitor;
    await page.goto('/user/');
    await page.locator('form input').first().waitFor();
    await visitor.expectGood(`user-sign-in-${lookName(look)}`);
    await page.locator('input[type=password]').fill(gateway.rootKey);
    await page.keyboard.press('Enter');
    await row(page, 'reseller').waitFor();
    await visitor.expectGood(`user-${lookName(look)}`);
    await page.locator('.finding button.main').click();
    await dialog(page).locator('input').first().waitFor();
    await visitor.expectGood(`user-new-${lookName(look)}`);
    await page.keyboard.press('Escape');
    await row(page, 'reseller').getByRole('button').click();
    await dialog(page).locator('input').first().waitFor();
    await visitor.expectGood(`user-drawer-${lookName(look)}`);
  });
}

export async function run(rig) {
  const there = await prepared(rig);
  await rig.law('an account is created with a key that works, and a refusal loses nothing', () => creates(rig, there));
  await rig.law('credit and fields change as was typed, after a yes', () => changes(rig, there));
  await rig.law('an account is found alone, and deleting says what came back', () => findsAndDeletes(rig, there));
  await rig.law('a renewed key is shown once, and its holder goes on with it', () => renewsKeys(rig, there));
  for (const look of LOOKS) await rig.law(`sub-accounts are good in ${lookName(look)}`, () => isGoodIn(look, rig, there));
}

import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';
import { LONG, MARKUP } from '../provider.mjs';

export const name = 'accounts, limits and the audit log';

const PRICES = { ChatPricing: { house: { Provider: 'openai', InputText: 2.5, OutputText: 10 } } };

/** A reseller with two accounts below it, one of them with a name that is as long as one may be. */
async function prepared(rig) {
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES) });
  const reseller = await gateway.addAccount('reseller', 100, { RPM: 50, AllowModels: 'house*' });
  await gateway.addAccount('below-one', 10, { HardLimit: 5 }, reseller);
  await gateway.addAccount('n'.repeat(63), 10, {}, reseller);
  const alias = "It's the account of ".repeat(3).trim();
  await gateway.call('PUT', '/x-users/3', { Alias: alias, ModelMapper: 'claude=house' });
  return { gateway, reseller, alias };
}

async function open(page, gateway, place, key = gateway.rootKey) {
  await page.addInitScript((text) => sessionStorage.setItem('proxyxai.key', text), key);
  await page.goto(`/console/#${place}`);
}

const drawer = (page) => page.getByRole('dialog');
const line = (page, field) => drawer(page).getByRole('row', { name: field });

async function showsOwnAndInherited(rig, { gateway, alias }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, gateway, 'accounts');
    await page.getByRole('button', { name: 'below-one' }).focus();
    await page.keyboard.press('Enter');
    await drawer(page).getByText(alias).waitFor();
    expect(page.url().includes('open=3'), `the drawer has an address: ${page.url()}`);
    const limit = await line(page, 'Requests a minute').innerText();
    expect(limit.includes('50') && limit.includes('reseller'), limit);
    expect((await line(page, 'Models').innerText()).includes('house*'), 'the list of those above is shown');
    expect((await line(page, 'Model map').innerText()).includes('claude=house'), 'its own map is shown');
    await visitor.expectGood('accounts-drawer');
    await drawer(page).getByRole('link', { name: 'reseller' }).click();
    await drawer(page).getByRole('heading', { name: 'reseller' }).waitFor();
    await page.keyboard.press('Escape');
    await drawer(page).waitFor({ state: 'detached' });
    await waitUntil('a closed drawer has no address', 5, async () => !page.url().includes('open='));
  });
}

const infoOf = async (gateway, id) => gateway.call('GET', `/x-info?user=${id}`);

async function changesWhatIsTyped(rig, { gateway }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /400/);
    await open(page, gateway, 'accounts?open=3&edit=1');
    await drawer(page).getByLabel('Requests a minute').fill('40');
    await drawer(page).getByLabel('Models').fill('house, house-mini');
    await drawer(page).getByLabel('Rates').fill('0.5');
    await drawer(page).getByRole('button', { name: 'Save changes' }).click();
    await drawer(page).getByText(/^Rates: /).waitFor();
    expect((await drawer(page).getByLabel('Requests a minute').inputValue()) === '40', 'what was typed is still there');
    expect((await infoOf(gateway, 3)).RPM !== 40, 'a refused change changes nothing');
    await visitor.expectGood('accounts-refused');
    await drawer(page).getByLabel('Rates').fill('1');
    await drawer(page).getByRole('button', { name: 'Save changes' }).click();
    await drawer(page).getByRole('button', { name: 'Edit' }).waitFor();
    const changed = await infoOf(gateway, 3);
    expect(changed.RPM === 40 && changed.AllowModels === 'house,house-mini', JSON.stringify(changed));
    await drawer(page).getByRole('button', { name: 'Edit' }).click();
    await drawer(page).getByLabel('Models').fill('house-mini, other');
    await drawer(page).getByRole('button', { name: 'Save changes' }).click();
    await drawer(page).getByRole('button', { name: 'Edit' }).waitFor();
    const list = (await infoOf(gateway, 3)).AllowModels;
    expect(list === 'house-mini,other', `the list is ${list}`);
  });
}

/** Of windows that something was taken of, the nearest to its limit comes first. */
async function showsWindows(rig, { gateway, reseller }) {
  const provider = await rig.provider(['house']);
  await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: 'up' });
  await gateway.call('PUT', '/x-users/2', { RPD: 8 });
  const { status, text } = await gateway.chat(reseller, 'house', 'hi');
  expect(status === 200, `a call is answered: ${status} ${text}`);
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, gateway, 'limits');
    const windows = page.getByRole('region', { name: 'Windows of requests and tokens' });
    const row = windows.getByRole('row', { name: 'Requests a day' });
    await row.waitFor();
    const told = (await gateway.call('GET', '/x-windows')).filter(({ Window }) => Window === 'RPD')[0];
    const text = await row.innerText();
    expect(text.includes('reseller') && told.Limit === 8 && text.includes(`${told.Taken}`), text);
    const shares = (await gateway.call('GET', '/x-windows')).map(({ Taken, Limit }) => Taken / Limit);
    expect(shares.every((share, at) => at === 0 || share <= shares[at - 1]), `nearest first: ${shares}`);
    await visitor.expectGood('limits-windows');
  });
}

/** A stopped account is told from the list, and so is its balance. */
async function listsWhoIsStopped(rig, { gateway }) {
  await gateway.call('PUT', '/x-users/3', { Suspended: true });
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    await open(visitor.page, gateway, 'accounts');
    const row = visitor.page.getByRole('row', { name: 'below-one' });
    await row.getByText('Suspended').waitFor();
    expect((await row.innerText()).includes('$10.00'), 'its balance is in the row');
  });
  await gateway.call('PUT', '/x-users/3', { Suspended: false });
}

/** A lost key is replaced after a question, and the new one is shown once; the one before is no longer good. */
async function givesANewKey(rig, { gateway }) {
  const lost = await gateway.addAccount('loser', 10);
  const { ID } = await gateway.call('GET', '/x-info?user=loser');
  for (const [place, screen] of [[`/console/#accounts?open=${ID}`, 'accounts-new-key'], [`/user/#?open=${ID}`, 'user-new-key']]) {
    const asked = [];
    await rig.visiting(gateway.origin, undefined, async (visitor) => {
      const { page } = visitor;
      page.on('dialog', (dialog) => {
        asked.push(dialog.message());
        return dialog.accept();
      });
      await page.addInitScript((text) => sessionStorage.setItem('proxyxai.key', text), gateway.rootKey);
      await page.goto(place);
      await drawer(page).getByRole('button', { name: 'New key', exact: true }).click();
      const shown = await drawer(page).locator('.secret code').innerText();
      expect(asked.length === 1 && asked[0].includes('loser'), asked);
      expect((await gateway.ask('GET', '/dashboard/info', undefined, shown)).status === 200, 'the new key is good');
      expect((await gateway.ask('GET', '/dashboard/info', undefined, lost)).status === 401, 'the lost one is not');
      await visitor.expectGood(screen);
    });
  }
}

async function suspendsAndDeletes(rig, { gateway, reseller }) {
  const asked = [];
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    page.on('dialog', (dialog) => {
      asked.push(dialog.message());
      return asked.length === 1 ? dialog.dismiss() : dialog.accept();
    });
    await open(page, gateway, 'accounts?open=3', reseller);
    const press = (label) => drawer(page).getByRole('button', { name: label, exact: true }).click();
    await press('Suspend');
    await page.waitForTimeout(300);
    expect(!(await infoOf(gateway, 3)).Suspended, 'a question that is answered with no changes nothing');
    await press('Suspend');
    await drawer(page).getByRole('button', { name: 'Resume' }).waitFor();
    expect((await infoOf(gateway, 3)).Suspended, 'it is suspended');
    await press('Resume');
    await drawer(page).getByRole('button', { name: 'Suspend' }).waitFor();
    await press('Delete');
    await page.getByRole('status').getByText('below-one is deleted; $9.80 came back').waitFor();
    expect(asked.at(-1).includes('$10.00') && asked.at(-1).includes('$0.20'), asked.at(-1));
    expect((await gateway.ask('GET', '/x-info?user=3')).status === 404, 'it is gone');
  });
}

/** A listing costs whoever is not root something, and is asked for first; a filter is free. */
async function asksBeforeItCosts(rig, { gateway, reseller }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    await open(page, gateway, 'accounts', reseller);
    const before = (await gateway.call('GET', '/x-info', undefined, reseller)).Balance;
    await page.getByLabel('Level').fill('0');
    await page.getByRole('table').waitFor();
    expect((await gateway.call('GET', '/x-info', undefined, reseller)).Balance === before, 'a filter is free');
    await page.getByRole('button', { name: 'Clear' }).click();
    await page.getByRole('button', { name: 'List all ($0.002)' }).click();
    await page.getByRole('table').waitFor();
    const after = (await gateway.call('GET', '/x-info', undefined, reseller)).Balance;
    expect(Math.abs(before - after - 0.002) < 1e-9, `it cost ${before - after}`);
  });
}

async function tellsBeforeAndAfter(rig, { gateway }) {
  await gateway.call('PUT', '/x-users/2', { RPM: 45 });
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, gateway, 'audit?target_id=2');
    await page.getByLabel('Action').selectOption('update_user');
    await waitUntil('the filter is in the address', 5, async () => page.url().includes('action=update_user'));
    await page.locator('tbody tr.opens').first().getByRole('button').click();
    const change = await page.locator('td.detail').getByRole('row', { name: 'Requests a minute' }).innerText();
    expect(change.includes('50') && change.includes('45'), change);
    await visitor.expectGood('audit-detail');
  });
}

async function isGoodIn(look, rig, { gateway }) {
  for (const place of ['accounts', 'accounts?open=2', 'accounts?open=2&edit=1', 'limits', 'audit']) {
    await rig.visiting(gateway.origin, look, async (visitor) => {
      await open(visitor.page, gateway, place);
      await visitor.page.locator(place.includes('open') ? 'dialog fieldset, dialog table' : 'main table, main .empty, main p.card').first().waitFor();
      await visitor.page.waitForLoadState('networkidle');
      await visitor.expectGood(`${place.replace(/\W+/g, '-')}-${lookName(look)}`);
    });
  }
}

/** Names in news and mails are no markup, whoever chose them. */
async function showsTextAsText(rig, { gateway }) {
  await gateway.call('POST', '/x-news', { title: MARKUP.replaceAll(/[\u202a-\u202e]/g, '').slice(0, 150), content: LONG.slice(0, 9000) });
  await rig.visiting(gateway.origin, { language: 'en', scheme: 'light', width: 390 }, async (visitor) => {
    for (const place of ['news', 'audit?action=add_news']) {
      await open(visitor.page, gateway, place);
      await visitor.page.reload();
      await visitor.page.locator('main article, main tbody tr').first().waitFor();
      await visitor.expectGood();
    }
    await visitor.page.locator('tbody tr.opens').first().getByRole('button').click();
    await visitor.page.getByText('<script>').first().waitFor();
    await visitor.expectGood('audit-markup');
  });
}

export async function run(rig) {
  const there = await prepared(rig);
  await rig.law('an account shows what is its own beside what those above it give', () => showsOwnAndInherited(rig, there));
  await rig.law('a change sends what was typed, and a refusal stands beside its field', () => changesWhatIsTyped(rig, there));
  await rig.law('a listing that costs something is asked for first', () => asksBeforeItCosts(rig, there));
  await rig.law('the audit log tells before and after of each field', () => tellsBeforeAndAfter(rig, there));
  await rig.law('news and the audit log show text as text', () => showsTextAsText(rig, there));
  for (const look of LOOKS) await rig.law(`accounts, limits and audit are good in ${lookName(look)}`, () => isGoodIn(look, rig, there), 120);
  await rig.law('windows say who is near which limit', () => showsWindows(rig, there));
  await rig.law('a list says who is stopped', () => listsWhoIsStopped(rig, there));
  await rig.law('a lost key is replaced after a question and shown once', () => givesANewKey(rig, there));
  await rig.law('suspending and deleting ask first, and deleting says what it refunds', () => suspendsAndDeletes(rig, there));
}

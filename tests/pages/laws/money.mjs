import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';

export const name = 'money, spend and news';

const PRICES = { ChatPricing: { house: { Provider: 'openai', InputText: 2.5, OutputText: 10 }, 'house-mini': { Provider: 'openai', InputText: 1, OutputText: 2 } } };

async function prepared(rig) {
  const provider = await rig.provider(['house', 'house-mini']);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES) });
  await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: 'up', Config: { price: { Factor: 0.5 } } });
  const reseller = await gateway.addAccount('reseller', 100);
  const [one, dear] = [await gateway.addAccount('below-one', 10, {}, reseller), await gateway.addAccount('dear-one', 10, { Rates: 2 }, reseller)];
  for (const [key, model] of [[reseller, 'house'], [one, 'house'], [one, 'house-mini'], [dear, 'house']]) await gateway.chat(key, model, 'a long one');
  await waitUntil('usage is posted', 15, async () => (await gateway.call('GET', '/x-earnings?by=day')).Total.Requests === 4);
  return { gateway, reseller };
}

async function open(page, gateway, place, key = gateway.rootKey) {
  await page.addInitScript((text) => sessionStorage.setItem('proxyxai.key', text), key);
  await page.goto(`/console/#${place}`);
}

const balanceOf = async (gateway, id) => (await gateway.call('GET', `/x-info?user=${id}`)).Balance;
const near = (one, other) => Math.abs(one - other) < 1e-6;

async function movesMoney(rig, { gateway, reseller }) {
  const asked = [];
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /40\d/);
    page.on('dialog', (dialog) => {
      asked.push(dialog.message());
      return dialog.accept();
    });
    await open(page, gateway, 'money?user=3', reseller);
    const form = page.locator('form').filter({ has: page.getByLabel('Amount') });
    const [low, dear] = [await balanceOf(gateway, 3), await balanceOf(gateway, 4)];
    await form.getByLabel('Amount').fill('100000');
    await form.getByRole('button', { name: 'Top up' }).click();
    await form.getByRole('alert').waitFor();
    expect((await form.getByLabel('Amount').inputValue()) === '100000', 'what was typed is still there');
    await form.getByLabel('Amount').fill('5');
    await form.getByRole('button', { name: 'Top up' }).click();
    await waitUntil('it is topped up', 10, async () => near(await balanceOf(gateway, 3), low + 5));
    await page.getByRole('button', { name: 'Transfer' }).first().click();
    await form.getByLabel('Amount').fill('2');
    await form.getByLabel('To account').fill('dear-one');
    await form.getByRole('button', { name: 'Transfer' }).click();
    await waitUntil('it is moved', 10, async () => near(await balanceOf(gateway, 4), dear + 4));
    expect(near(await balanceOf(gateway, 3), low + 3), 'it came from the other');
    expect(asked.at(-1).includes('$2.00') && asked.at(-1).includes('dear-one') && asked.at(-1).includes('$0.20'), asked.at(-1));
    await visitor.expectGood('money');
  });
}

/** The lines of the ledger add up to what is on the cards, and is told in words. */
async function showsTheLedger(rig, { gateway }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    await open(page, gateway, 'money?user=3&reason=grant');
    const ledger = page.getByRole('region', { name: 'Ledger' });
    await ledger.waitFor();
    const text = await ledger.innerText();
    expect(text.includes('Credit granted') && text.includes('+$5.00'), text);
  });
}

/** Root has no book of its own: it sees all of them, with whose they are. */
async function showsAllBooksToRoot(rig, { gateway }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    await open(page, gateway, 'money?reason=grant');
    const ledger = page.getByRole('region', { name: 'Ledger' });
    await ledger.waitFor();
    const text = await ledger.innerText();
    expect(['Account', 'reseller', 'below-one', 'dear-one'].every((word) => text.includes(word)), text);
  });
}

/** What the table says is what the gateway counts, for root in dollars and for others in their own bill. */
async function showsSpend(rig, { gateway, reseller }) {
  const { Total, Rows } = await gateway.call('GET', '/x-earnings?by=model');
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, gateway, 'spend');
    const models = page.getByRole('region', { name: 'Model', exact: true });
    await models.waitFor();
    for (const row of Rows) expect((await models.innerText()).includes(row.Value), `${row.Value} is in the table`);
    expect(near(Total.Margin, Total.Cost - Total.Expense), 'the margin is what is left');
    expect((await page.locator('.tile').filter({ hasText: 'Margin' }).innerText()).includes('50%'), 'half of it is margin');
    await page.locator('canvas').waitFor();
    for (const by of ['account', 'key', 'provider']) {
      await page.getByLabel('Split by').selectOption(by);
      await waitUntil('the choice is in the address', 5, async () => page.url().includes(`by=${by}`));
      await page.locator('[aria-busy=false] canvas').waitFor();
    }
    await page.getByRole('button', { name: '2 days by hour' }).click();
    const hours = page.getByRole('region', { name: 'Hour by hour' });
    await hours.waitFor();
    const asked = await gateway.call('GET', '/x-spend?per=hour&days=2');
    expect(near(asked.Total.Points.Cost.reduce((sum, cost) => sum + cost, 0), Total.Cost), 'the hours are all of it');
    expect((await hours.locator('tbody tr').count()) === asked.Total.Points.Requests.filter(Boolean).length, 'a row for each hour with calls');
    await page.locator('[aria-busy=false] canvas').waitFor();
    await visitor.expectGood('spend-hours');
    const saved = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Earnings (CSV)' }).click();
    expect((await saved).suggestedFilename().startsWith('earnings-'), 'a file is saved');
    await visitor.expectGood('spend');
  });
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    await open(visitor.page, gateway, 'spend?by=account', reseller);
    const accounts = visitor.page.getByRole('region', { name: 'Account', exact: true });
    await accounts.waitFor();
    for (const each of ['reseller', 'below-one', 'dear-one']) expect((await accounts.innerText()).includes(each), `${each} is in the table`);
    expect((await visitor.page.getByText('Cost to you').count()) === 0, 'what calls cost root is root\'s');
    await visitor.expectGood('spend-reseller');
  });
}

async function postsNews(rig, { gateway, reseller }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    page.on('dialog', (dialog) => dialog.accept());
    await open(page, gateway, 'news');
    await page.getByLabel('To', { exact: true }).selectOption('below');
    await page.getByLabel('Account').fill('reseller');
    await page.getByLabel('Title').fill('Sunday');
    await page.getByLabel('Text').fill('We restart <b>at two</b>.');
    await page.getByRole('button', { name: 'Post', exact: true }).click();
    await page.getByRole('status').getByText('Posted').waitFor();
  });
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    await open(visitor.page, gateway, 'news', reseller);
    await visitor.page.getByText('We restart <b>at two</b>.').waitFor();
    await visitor.expectGood('news');
  });
}

/** Who posted news sees for whom they are, and takes back one of them. */
async function takesNewsBack(rig, { gateway, reseller }) {
  await gateway.call('POST', '/x-news', { title: 'Stays', content: 'for all' });
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    page.on('dialog', (dialog) => dialog.accept());
    await open(page, gateway, 'news');
    const posted = page.getByRole('region', { name: 'Posted', exact: true });
    const sunday = posted.getByRole('row', { name: 'Sunday' });
    await sunday.getByText('reseller and all below it').waitFor();
    await visitor.expectGood('news-posted');
    await sunday.getByRole('button', { name: 'Delete' }).click();
    await sunday.waitFor({ state: 'detached' });
    await posted.getByRole('row', { name: 'Stays' }).waitFor();
  });
  const board = await gateway.call('GET', '/dashboard/news', undefined, reseller);
  expect(board.dna_news.length === 0 && board.system_news.length === 1, JSON.stringify(board));
}

async function isGoodIn(look, rig, { gateway }) {
  for (const place of ['money?user=4', 'spend', 'news']) {
    await rig.visiting(gateway.origin, look, async (visitor) => {
      await open(visitor.page, gateway, place);
      await visitor.page.locator('main table, main article, main textarea').first().waitFor();
      await visitor.page.waitForLoadState('networkidle');
      await visitor.expectGood(`${place.replace(/\W+/g, '-')}-${lookName(look)}`);
    });
  }
}

export async function run(rig) {
  const there = await prepared(rig);
  await rig.law('credit is topped up and transferred after a question, and a refusal keeps what was typed', () => movesMoney(rig, there));
  await rig.law('the ledger stands beside the cards', () => showsTheLedger(rig, there));
  await rig.law('the ledger of root is of all accounts', () => showsAllBooksToRoot(rig, there));
  await rig.law('spend is the gateway\'s own count, by all that it is split by', () => showsSpend(rig, there));
  await rig.law('news reach whom they are for, as text', () => postsNews(rig, there));
  await rig.law('news that were posted are listed and taken back one by one', () => takesNewsBack(rig, there));
  for (const look of LOOKS) await rig.law(`money, spend and news are good in ${lookName(look)}`, () => isGoodIn(look, rig, there), 120);
}

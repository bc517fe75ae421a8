// Pages of the years before, on an origin of their own: what they ask, and what they do with the answers, works as it did.

import { Failure, expect, waitUntil } from '../laws.mjs';
import { callsOf } from '../steps.mjs';

export const name = 'pages of the years before';

const PRICES = { ChatPricing: { house: { Provider: 'openai', InputText: 250, OutputText: 1000 } } };
const PAGE = '/sites/original/index.html';
const GENERATIONS = ['2023', '2024-05', '2024-07', '2024-11', '2025-06', '2025-07'];
const WRONG = `sk-Xvs${'w'.repeat(45)}`;
const STEP_MILLISECONDS_MAX = 15_000;

async function prepared(rig) {
  const provider = await rig.provider(['house']);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES) });
  await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: 'up', Level: 1 });
  const reseller = await gateway.addAccount('reseller', 400, { RPM: 50, Level: 1, Gear: 1 });
  const child = await gateway.addAccount('child-one', 20, {}, reseller);
  await gateway.chat(child, 'house', 'one');
  await gateway.chat(reseller, 'house', 'two');
  await callsOf(gateway, child);
  const site = await rig.site();
  site.policy(PAGE, "default-src 'none'; script-src 'self'; connect-src *");
  return { gateway, reseller, child, site };
}

/**
 * A page of a generation in a browser that nothing stands in for: interception would answer preflights in place of the
 * gateway.
 */
async function visiting(rig, { gateway, site }, generation, visit) {
  const context = await rig.browser.browser.newContext({ locale: 'en-GB' });
  context.setDefaultTimeout(STEP_MILLISECONDS_MAX);
  const thrown = [];
  context.on('weberror', (error) => thrown.push(error.error().message));
  try {
    const page = await context.newPage();
    await page.goto(`${site.origin}${PAGE}?api=${gateway.origin}&generation=${generation}`);
    await visit(page);
    expect(thrown.length === 0, thrown.join('\n'));
  } finally {
    await context.close();
  }
}

/** What the page tells after a press. */
async function told(page, form, deed) {
  await page.evaluate(() => document.querySelector('#result').replaceChildren());
  await page.locator(`#${form} button`).filter({ hasText: deed }).click();
  const result = page.locator('#result');
  await waitUntil(`${deed} tells something`, 15, async () => (await result.textContent()) !== '');
  const text = await result.textContent();
  if (text.startsWith('failed: ')) throw new Failure(`${deed} ${text}`);
  return text;
}

/** A row for each key; a wrong key has an error in its row, and the others theirs all the same. */
async function drawsBalances(rig, there) {
  const { child } = there;
  for (const generation of GENERATIONS) {
    await visiting(rig, there, generation, async (page) => {
      await page.getByLabel('Keys').fill(`mine: ${child}; an old one: ${WRONG}`);
      expect((await told(page, 'balances', 'Look')) === 'drawn', generation);
      const rows = await page.locator('#rows tr').allInnerTexts();
      expect(rows.length === 2, `${generation}: ${rows}`);
      expect(/child-one child-one@example\.com 20\d\d \| \$20\.00 \$19\.\d\d 20\d\d \| \$0\.\d\d \$19\.\d\d \| \$0\.\d\d \$0\.\d\d \| 1 1 \| /.test(rows[0]), `${generation}: ${rows[0]}`);
      expect(!/undefined|NaN|null/.test(rows[0]), `${generation}: ${rows[0]}`);
      expect(rows[1].includes('no such key'), `${generation}: ${rows[1]}`);
    });
  }
}

/** Each deed of the user page, with the key bare in the header. */
async function keepsAccounts(rig, there) {
  const { gateway, reseller } = there;
  await visiting(rig, there, '2024-11', async (page) => {
    const deed = async (which, name, fields = {}) => {
      await page.getByLabel('Key', { exact: true }).fill(reseller);
      await page.getByLabel('Name', { exact: true }).fill(name);
      await page.getByLabel('Fields').fill(JSON.stringify(fields));
      return JSON.parse(await told(page, 'account', which));
    };
    const made = await deed('Create', 'older1', { Email: 'older@example.com', CreditGranted: 30, Rates: 1.5 });
    expect(/^sk-Xvs\w{45}$/.test(made.User.SecretKey), made);
    const key = made.User.SecretKey;
    const id = made.User.ID;
    expect((await deed('Recharge', 'older1', { CreditGranted: 10, Email: 'older@example.com' })).Action === 'update', 'it is an update');
    const updated = await deed('Update', `${id}`, {
      Level: 1, Gear: 1, RPM: 40, RPH: 400, RPD: 4000, TPM: 50000, TPH: 500000, TPD: 5000000, HardLimit: 200, ChildLimit: 5, AllowIPs: '127.0.0.1',
      AllowModels: 'house*', AllowLevels: '1', Resources: '/v1/chat/completions', ModelMapper: 'quick=house', LevelMapper: 'house=1', BillingEmail: 'bills@example.com',
      QRCode: 'https://example.com/qr.png', Status: true,
    });
    expect(updated.User.Name === 'older1', `an update by id renames nothing: ${updated.User.Name}`);
    const info = await gateway.call('GET', `/x-info?user=${id}`);
    expect(info.RPM === 40 && info.ModelMapper === 'quick=house' && info.BillingEmail === 'bills@example.com' && info.HardLimit === 200, info);
    const [seen] = await deed('View', 'older1');
    expect(seen.ID === id && seen.SecretKey === '***' && seen.PartialKey === key.slice(-20), seen);
    const all = await deed('View', '');
    expect(all.length === 2, `${all.length} are below`);
    expect((await deed('Delete', 'older1')).Action === 'delete', 'it is deleted');
    expect((await gateway.ask('GET', `/x-info?user=${id}`)).status === 404, 'it is gone');
    await page.getByLabel('Key', { exact: true }).fill(WRONG);
    expect((await told(page, 'account', 'View')) === 'signed out', 'a wrong key signs out');
  });
}

/** A refusal is told in words, by the member that those pages read. */
async function tellsRefusals(rig, there) {
  await visiting(rig, there, '2025-06', async (page) => {
    await page.getByLabel('Key', { exact: true }).fill(there.reseller);
    await page.getByLabel('Name', { exact: true }).fill('child-one');
    await page.getByLabel('Fields').fill('{"Email":"again@example.com","CreditGranted":5}');
    const refusal = await told(page, 'account', 'Create').catch((error) => error.message);
    expect(/failed: .*child-one/.test(refusal) && !refusal.includes('[object'), refusal);
  });
}

/** The manager lets in whoever has a key, and adds up what was used today, on a day, in a span. */
async function manages(rig, there) {
  for (const generation of ['2025-06', '2025-07']) {
    await visiting(rig, there, generation, async (page) => {
      await page.getByLabel("Manager's key").fill(there.reseller);
      const entered = await told(page, 'manager', 'Enter');
      expect(/^reseller \$\d{3}\.\d\d$/.test(entered), entered);
      const today = new Date().toISOString().slice(0, 10);
      const before = new Date(Date.now() - 7 * 86_400_000).toISOString().slice(0, 10);
      for (const query of ['', `date=${today}`, `start=${before}&end=${today}`]) {
        await page.getByLabel('Query of the bill').fill(query);
        const { total, models, days } = JSON.parse(await told(page, 'manager', 'Bill'));
        expect(total.every((each) => typeof each === 'number') && total[1] === 1, `${query}: ${total}`);
        expect(models.length === 1 && /^house 1 \d+ \d+ \$0\.\d\d 100\.00%$/.test(models[0]), `${query}: ${models}`);
        expect(days.some((day) => day.startsWith(`${today} 1 $0.`) && day.includes('house 0.')), `${query}: ${days}`);
      }
      await page.getByLabel("Manager's key").fill(WRONG);
      const refused = await told(page, 'manager', 'Enter').catch((error) => error.message);
      expect(/refused|failed/.test(refused), refused);
    });
  }
}

export async function run(rig) {
  const there = await prepared(rig);
  await rig.law('each generation draws a row for each key, and an error for a wrong one', () => drawsBalances(rig, there));
  await rig.law('accounts are created, topped up, changed, seen and deleted with a bare key', () => keepsAccounts(rig, there));
  await rig.law('a refusal is told in words', () => tellsRefusals(rig, there));
  await rig.law('the manager lets in, and adds up what was used', () => manages(rig, there));
}

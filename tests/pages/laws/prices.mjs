import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';

export const name = 'prices';

const PRICES = { ChatPricing: { house: { Provider: 'openai', InputText: 2.5, OutputText: 10 } } };

async function prepared(rig) {
  const provider = await rig.provider(['house', 'nameless']);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES), UNPRICED: 'serve' });
  await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: 'up' });
  const client = await gateway.addAccount('alice', 10);
  for (const model of ['house', 'nameless', '<b>nameless</b>']) await gateway.chat(client, model, 'a long one');
  await waitUntil('usage is posted', 15, async () => (await gateway.call('GET', '/x-calls')).calls.length === 3);
  return gateway;
}

async function open(page, gateway, place) {
  await page.addInitScript((key) => sessionStorage.setItem('proxyxai.key', key), gateway.rootKey);
  await page.goto(`/console/#${place}`);
}

const rows = (page) => page.locator('tbody tr');
const asFile = (value) => ({ name: 'prices.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify(value)) });

async function shows(rig, gateway) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, gateway, 'prices');
    await page.getByLabel('Model').fill('house');
    await waitUntil('one model is left', 10, async () => (await page.locator('tr.opens').count()) === 1);
    await page.getByRole('button', { name: 'house' }).click();
    await page.locator('td.detail').getByText('$10.00').waitFor();
    await page.locator('td.detail').getByText('The setting PRICING sets').waitFor();
    expect(page.url().includes('search=house'), page.url());
    await visitor.expectGood('prices-table');
  });
}

/** A table takes the place of another only after its differences were seen and its owner said yes. */
async function loads(rig, gateway) {
  const present = await gateway.call('GET', '/x-prices');
  const table = structuredClone(present.Table);
  table.ChatPricing['gpt-4o'].InputText = 3;
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    let answer = false;
    page.on('dialog', (dialog) => (answer ? dialog.accept() : dialog.dismiss()));
    await open(page, gateway, 'prices?tab=load');
    const paste = page.getByLabel('Or paste the JSON here');
    await paste.fill('{"ChatPricing": ');
    await page.getByRole('button', { name: 'Compare' }).click();
    await page.getByText('That is no JSON').waitFor();
    expect((await paste.inputValue()) === '{"ChatPricing": ', 'what was typed is still there');
    await page.getByLabel('A JSON file').setInputFiles(asFile(table));
    await page.getByText(/prices\.json: /).waitFor();
    await page.getByRole('button', { name: 'Compare' }).click();
    await rows(page).filter({ hasText: 'InputText' }).filter({ hasText: '$3.00' }).waitFor();
    await page.getByLabel('Note').fill('dearer by <half>');
    await visitor.expectGood('prices-diff');
    await page.getByRole('button', { name: 'Load this table' }).click();
    expect((await gateway.call('GET', '/x-prices')).Version.Version === present.Version.Version, 'a no loads nothing');
    answer = true;
    await page.getByRole('button', { name: 'Load this table' }).click();
    await rows(page).filter({ hasText: 'dearer by <half>' }).waitFor();
    expect((await gateway.call('GET', '/x-prices')).Table.ChatPricing['gpt-4o'].InputText === 3, 'the table counts');
    await visitor.expectGood('prices-versions');
  });
}

const LITELLM = { 'gpt-4o': { litellm_provider: 'openai', mode: 'chat', input_cost_per_token: 4e-6, output_cost_per_token: 1e-5, max_input_tokens: 128000 } };

async function imports(rig, gateway) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, gateway, 'prices?tab=load');
    await page.getByLabel('What it is').selectOption('list');
    await page.getByLabel('Or paste the JSON here').fill(JSON.stringify(LITELLM));
    await page.getByRole('button', { name: 'Compare' }).click();
    await rows(page).filter({ hasText: 'gpt-4o' }).filter({ hasText: '$4.00' }).first().waitFor();
    await visitor.expectGood('prices-import');
  });
}

/** Pricing anew is computed first; balances move only after a yes, and not twice. */
async function rerates(rig, gateway) {
  const balance = async () => (await gateway.call('GET', '/x-info?user=alice')).Balance;
  const dearer = { ChatPricing: { house: { ...PRICES.ChatPricing.house, InputText: 25, OutputText: 100 } } };
  await gateway.call('PUT', '/x-config', { PRICING: JSON.stringify(dearer) });
  const { Version } = (await gateway.call('GET', '/x-prices')).Version;
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    page.on('dialog', (dialog) => dialog.accept());
    await open(page, gateway, 'prices?tab=rerate');
    await page.getByLabel('Version').selectOption(Version);
    const before = await balance();
    await page.getByRole('button', { name: 'Compute' }).click();
    await page.getByText('What would be posted').waitFor();
    expect((await balance()) === before, 'computing moves nothing');
    await visitor.expectGood('prices-rerate');
    await page.getByRole('button', { name: 'Post these corrections' }).click();
    await page.getByRole('heading', { name: 'Posted' }).waitFor();
    await waitUntil('the balance has moved', 10, async () => (await balance()) < before);
  });
}

async function tellsTheUnpriced(rig, gateway) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, gateway, 'prices?tab=unpriced');
    await rows(page).filter({ hasText: '<b>nameless</b>' }).waitFor();
    await visitor.expectGood('prices-unpriced');
    await rows(page).filter({ hasText: '<b>nameless</b>' }).getByRole('link', { name: 'Its calls' }).click();
    await page.getByRole('heading', { name: 'Calls', exact: true }).waitFor();
    await waitUntil('its call alone is shown', 10, async () => (await page.locator('tr.opens').count()) === 1);
  });
}

async function inEachLook(rig, gateway) {
  for (const look of LOOKS) {
    await rig.visiting(gateway.origin, look, async (visitor) => {
      await open(visitor.page, gateway, 'prices?search=gpt-4o');
      await visitor.page.locator('tr.opens').first().waitFor();
      await visitor.expectGood(`prices-${lookName(look)}`);
    });
  }
}

export async function run(rig) {
  const gateway = await prepared(rig);
  await rig.law('the table is searched, and a model opens to all its prices', () => shows(rig, gateway));
  await rig.law('a table is compared before it is loaded, and loaded after a yes', () => loads(rig, gateway));
  await rig.law("LiteLLM's list is laid over the table before anything is loaded", () => imports(rig, gateway));
  await rig.law('pricing anew is computed before it is posted', () => rerates(rig, gateway));
  await rig.law('a model that was called without a price is told, with its calls', () => tellsTheUnpriced(rig, gateway));
  await rig.law('prices are good in each language, colours and width', () => inEachLook(rig, gateway));
}

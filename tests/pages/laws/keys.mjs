import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';

export const name = 'upstream keys';

const PRICES = { ChatPricing: { house: { Provider: 'openai', InputText: 2.5, OutputText: 10 } } };
const SECRET = 'sk-up-0123456789abcdefghijklmn';

async function prepared(rig) {
  const provider = await rig.provider(['house']);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES) });
  return { provider, gateway };
}

async function open(page, gateway, place) {
  await page.addInitScript((key) => sessionStorage.setItem('proxyxai.key', key), gateway.rootKey);
  await page.goto(`/console/#${place}`);
}

const row = (page, name) => page.locator('tbody tr.opens').filter({ has: page.getByRole('button', { name, exact: true }) });
const keyNamed = async (gateway, name) => (await gateway.call('GET', '/x-keys')).find((key) => key.Name === name);

/** A server that asks for no key has one made up, which goes again with another provider; what was typed stays. */
async function makesUpAKey(rig, { gateway }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    await open(page, gateway, 'keys?do=add&preset=Ollama');
    const form = page.getByRole('dialog');
    const [secret, provider] = [form.getByLabel('Key', { exact: true }), form.getByLabel('Provider', { exact: true })];
    await form.getByText('asks for no key').waitFor();
    expect((await secret.inputValue()).length >= 20, 'it is too short');
    await provider.selectOption('Groq');
    expect((await secret.inputValue()) === '', 'a provider that asks for one gets none that is made up');
    await secret.fill(SECRET);
    await provider.selectOption('vLLM');
    expect((await secret.inputValue()) === SECRET, 'what was typed is still there');
  });
}

/** From nothing to a key in the pool: what was typed survives a refusal, and the secret is nowhere afterwards. */
async function addsTheFirst(rig, { gateway, provider }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /400/);
    await open(page, gateway, 'keys');
    await page.getByRole('heading', { name: 'No upstream key yet' }).waitFor();
    await visitor.expectGood('keys-none');
    await page.getByRole('button', { name: 'Add a key' }).click();
    const form = page.getByRole('dialog');
    await form.getByLabel('Base address').fill(provider.url);
    await form.getByLabel('Key', { exact: true }).fill('short');
    await form.getByLabel('Name', { exact: true }).fill('first');
    await form.getByRole('button', { name: 'Add this key' }).click();
    await form.getByRole('alert').filter({ hasText: '20 characters' }).waitFor();
    expect((await form.getByLabel('Name', { exact: true }).inputValue()) === 'first', 'what was typed is still there');
    await form.getByLabel('Key', { exact: true }).fill(SECRET);
    await form.getByText('Models, shares').click();
    await form.getByLabel('Models that it serves').fill('house\nhouse-*');
    await form.getByLabel('What it costs you').selectOption('factor');
    await form.getByLabel('Factor').fill('0.5');
    await form.getByRole('button', { name: 'Add this key' }).click();
    await row(page, 'first').waitFor();
    const key = await keyNamed(gateway, 'first');
    expect(key.Config.models.join() === 'house,house-*' && key.Config.price.Factor === 0.5 && key.Provider.startsWith(provider.url), key);
    expect(!(await page.content()).includes(SECRET), 'the secret is not on the page');
    await visitor.expectGood('keys-one');
  });
}

async function pastesMany(rig, { gateway, provider }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /4\d\d/);
    await open(page, gateway, 'keys?do=paste');
    const form = page.getByRole('dialog');
    const lines = ['sk-alpha-0123456789abcdef', `beta two sk-beta-0123456789abcdef ${provider.url} 3`, 'short', `sk-gamma-dead-0123456789 ${provider.url}`, `sk-gamma-dead-0123456789 ${provider.url}`];
    await form.getByLabel('Keys, one a line').fill(lines.join('\n'));
    await form.getByLabel('Address, where a line has none').fill(provider.url);
    await form.getByLabel('Ask each provider at once').uncheck();
    expect((await form.getByText('Can be added').count()) === 3, 'three of five can be added');
    expect((await form.getByText('Already in a line above').count()) === 1, 'the doubled one is told');
    await visitor.expectGood('keys-paste');
    await form.getByRole('button', { name: 'Add 3' }).click();
    await waitUntil('three have an outcome', 15, async () => (await form.getByText(/^Added as \d+$/).count()) === 3);
    const left = await form.getByLabel('Keys, one a line').inputValue();
    expect(left.startsWith('short') && !left.includes('alpha'), `what was added is gone from the field: ${left}`);
    const beta = await keyNamed(gateway, 'beta two');
    expect(beta?.Level === 3, beta);
  });
}

/** A key that its provider refuses is shown so, with the reason; it can be woken, switched off and taken out. */
async function looksAfterOne(rig, { gateway, provider }) {
  await gateway.addKey('sk-dead-0123456789abcdefgh', provider.url, { Name: 'refused', Level: 1 });
  await gateway.call('PUT', '/x-config', { LEVEL_MAPPER: 'house=1', SWITCH_OVER: '1=0' });
  const client = await gateway.addAccount('alice', 10, { Gear: 2 });
  await waitUntil('a call is answered', 10, async () => (await gateway.chat(client, 'house', 'hi')).status === 200);
  await waitUntil('the refusal is known', 15, async () => (await gateway.call('GET', '/x-conf')).DisabledKeys.some((key) => key.Name === 'refused'));
  await waitUntil('what it earned is posted', 15, async () => (await gateway.call('GET', '/x-earnings?by=key')).Total.Requests > 0);
  const asked = [];
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    page.on('dialog', (dialog) => {
      asked.push(dialog.message());
      return dialog.accept();
    });
    await open(page, gateway, 'keys?state=quarantined');
    await row(page, 'refused').getByText('the key is not accepted').waitFor();
    expect((await row(page, 'first').count()) === 0, 'the filter of the address counts');
    const ready = page.locator('.tile').filter({ hasText: 'Ready' });
    const all = (await gateway.call('GET', '/x-keys')).length;
    expect((await ready.innerText()).includes(`/ ${all}`), 'tiles count all keys, whichever are looked for');
    await page.getByRole('button', { name: 'refused', exact: true }).click();
    await page.getByRole('button', { name: 'Wake now' }).click();
    await page.getByText('No key matches').waitFor();
    await page.getByRole('button', { name: 'Clear' }).first().click();
    await page.getByRole('button', { name: 'refused', exact: true }).click();
    await page.getByRole('button', { name: 'Switch off' }).click();
    await row(page, 'refused').getByText('Switched off').waitFor();
    expect((await keyNamed(gateway, 'refused')).Status === false, 'it is off');
    await page.getByRole('button', { name: 'Delete' }).click();
    await waitUntil('it is gone', 10, async () => !(await keyNamed(gateway, 'refused')));
    expect(asked.length === 1 && asked[0].includes('refused'), asked);
    const [earned] = (await gateway.call('GET', '/x-earnings?by=key')).Rows;
    await page.goto(`/console/#keys?open=${earned.Value}`);
    await page.getByText(/1 requests · charged \$/).waitFor();
    await visitor.expectGood('keys-detail');
  });
}

/** Changing one thing leaves the rest of `Config` as it was. */
async function edits(rig, { gateway }) {
  const before = await keyNamed(gateway, 'first');
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /400/);
    await open(page, gateway, `keys?do=edit&open=${before.ID}`);
    const form = page.getByRole('dialog');
    await form.getByLabel('Weight').fill('5000');
    await form.getByRole('button', { name: 'Save' }).click();
    await form.getByRole('alert').filter({ hasText: '1 to 1000' }).waitFor();
    await form.getByLabel('Weight').fill('7');
    await visitor.expectGood('keys-edit');
    await form.getByRole('button', { name: 'Save' }).click();
    await waitUntil('it is saved', 10, async () => (await keyNamed(gateway, 'first')).Config.weight === 7);
    const after = await keyNamed(gateway, 'first');
    expect(JSON.stringify({ ...after.Config, weight: before.Config.weight }) === JSON.stringify(before.Config), after.Config);
  });
}

async function inEachLook(rig, { gateway }) {
  for (const look of LOOKS) {
    await rig.visiting(gateway.origin, look, async (visitor) => {
      await open(visitor.page, gateway, 'keys?open=1');
      await visitor.page.locator('td.detail').waitFor();
      await visitor.expectGood(`keys-${lookName(look)}`);
    });
  }
}

export async function run(rig) {
  const given = await prepared(rig);
  await rig.law('a server that asks for no key gets one that is made up', () => makesUpAKey(rig, given));
  await rig.law('a new gateway leads to its first key, and a refusal loses nothing', () => addsTheFirst(rig, given));
  await rig.law('many keys are pasted at once, each with its own outcome', () => pastesMany(rig, given));
  await rig.law('a refused key is shown with its reason, woken, switched off and deleted', () => looksAfterOne(rig, given));
  await rig.law('an edited key keeps what was not edited', () => edits(rig, given));
  await rig.law('the pool is good in each language, colours and width', () => inEachLook(rig, given));
}

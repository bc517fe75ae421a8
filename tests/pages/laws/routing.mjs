import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';

export const name = 'routing and settings';

const PRICES = { ChatPricing: { house: { Provider: 'openai', InputText: 2.5, OutputText: 10 } } };

async function prepared(rig) {
  const provider = await rig.provider(['house']);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES) });
  await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: 'on-zero' });
  await gateway.addKey('sk-up-one-456789abcdefghijklmn', provider.url, { Name: 'on-one', Level: 1 });
  await gateway.addAccount('alice', 10, { Gear: 2 });
  return gateway;
}

async function open(page, gateway, place) {
  await page.addInitScript((key) => sessionStorage.setItem('proxyxai.key', key), gateway.rootKey);
  await page.goto(`/console/#${place}`);
}

const configs = async (gateway) => (await gateway.call('GET', '/x-config')).configs;

/** Asked, mapped, mapped by level: each step is there with whose rule it is, and a saved rule shows at once. */
async function explains(rig, gateway) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /40\d/);
    await open(page, gateway, 'routing');
    await page.getByLabel('Model that is asked for').fill('quick');
    await page.getByLabel('Account').fill('alice');
    await page.getByRole('button', { name: 'Explain' }).click();
    await page.getByText('This call would be refused').waitFor();
    await page.getByLabel('MODEL_MAPPER').fill('quick=house');
    await page.getByLabel('LEVEL_MAPPER').fill('house=99');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('"99" is no level from 0 to 10').waitFor();
    expect((await configs(gateway)).MODEL_MAPPER === '', 'nothing is saved while one is wrong');
    await page.getByLabel('LEVEL_MAPPER').fill('house=1');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('The call would go to on-one for house, level 1.').waitFor();
    await page.getByText('mapped from quick · system rule').waitFor();
    await visitor.expectGood('routing');
    expect(page.url().includes('model=quick') && page.url().includes('user=alice'), page.url());
    await page.getByLabel('Account').fill('nobody');
    await page.getByRole('button', { name: 'Explain' }).click();
    await page.locator('form').getByRole('alert').waitFor();
  });
}

async function inEachLook(rig, gateway) {
  for (const look of LOOKS) {
    await rig.visiting(gateway.origin, look, async (visitor) => {
      await open(visitor.page, gateway, 'routing?model=quick&user=alice');
      await visitor.page.locator('.path li').first().waitFor();
      await visitor.expectGood(`routing-${lookName(look)}`);
    });
  }
}

/** What would change is told before it does; a secret is stars before and after. */
async function changesSettings(rig, gateway) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /400/);
    page.on('dialog', (dialog) => dialog.accept());
    await open(page, gateway, 'settings');
    await page.getByLabel('ADMIN_RPM').fill('many');
    await page.getByLabel('EMAIL_PASS').fill('<b>secret</b>');
    const changes = page.getByRole('region', { name: 'What would change' });
    await changes.getByText('many').waitFor();
    expect(!(await changes.textContent()).includes('secret'), 'a secret is not shown');
    await page.getByRole('button', { name: 'Save' }).click();
    await changes.getByRole('alert').waitFor();
    expect((await page.getByLabel('EMAIL_PASS').inputValue()) === '<b>secret</b>', 'what was typed is still there');
    await visitor.expectGood('settings-refused');
    await page.getByLabel('ADMIN_RPM').fill('600');
    await page.getByRole('button', { name: 'Save' }).click();
    await waitUntil('it is saved', 10, async () => (await configs(gateway)).ADMIN_RPM === '600');
    await waitUntil('the secret is stars', 10, async () => (await page.getByLabel('EMAIL_PASS').inputValue()) === '***');
    await page.getByLabel('Name or meaning').fill('ADMIN_RPM');
    await page.getByLabel('EMAIL_PASS').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Reset' }).click();
    await waitUntil('the default counts again', 10, async () => (await configs(gateway)).ADMIN_RPM === '1200');
  });
}

/** A setting that the gateway has and the page does not know would be under "Others", without a word on it. */
async function knowsEach(rig, gateway) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    await open(page, gateway, 'settings');
    await page.getByLabel('ADMIN_RPM').waitFor();
    for (const setting of Object.keys(await configs(gateway))) {
      expect((await page.getByLabel(setting, { exact: true }).count()) === 1, `${setting} is on the page`);
    }
    expect((await page.getByRole('heading', { name: 'Others' }).count()) === 0, 'each has its group');
  });
}

async function settingsInEachLook(rig, gateway) {
  for (const look of LOOKS) {
    await rig.visiting(gateway.origin, look, async (visitor) => {
      await open(visitor.page, gateway, 'settings');
      await visitor.page.getByLabel('ADMIN_RPM').waitFor();
      await visitor.expectGood(`settings-${lookName(look)}`);
    });
  }
}

export async function run(rig) {
  const gateway = await prepared(rig);
  await rig.law('a route is explained, and a rule that is saved shows in it', () => explains(rig, gateway));
  await rig.law('the route is good in each language, colours and width', () => inEachLook(rig, gateway));
  await rig.law('settings tell what would change, and a refusal loses nothing', () => changesSettings(rig, gateway));
  await rig.law('each setting of the gateway is on the page with its meaning', () => knowsEach(rig, gateway));
  await rig.law('settings are good in each language, colours and width', () => settingsInEachLook(rig, gateway));
}

import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';

export const name = 'the fleet, and probes of keys';

async function prepared(rig) {
  const provider = await rig.provider(['gpt-4o-mini']);
  const gateway = await rig.gateway({ NODE_NAME: 'node-one' });
  await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: 'good' });
  await gateway.addKey('sk-dead-0123456789abcdefghijk', provider.url, { Name: 'refused' });
  return gateway;
}

async function open(page, gateway, place) {
  await page.addInitScript((key) => sessionStorage.setItem('proxyxai.key', key), gateway.rootKey);
  await page.goto(`/console/#${place}`);
}

/** The page follows: a change of the configuration is a revision that shows without a press of anything. */
async function follows(rig, gateway) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, gateway, 'fleet?open=node-one');
    const row = page.locator('tr.opens').filter({ hasText: 'node-one' });
    await row.getByText('Up to date').waitFor();
    await page.getByText('The node that answers this page').waitFor();
    await page.getByText('0 records in memory, 0 on disk').waitFor();
    const revision = async () => Number((await row.locator('td').nth(3).textContent()).replaceAll(',', ''));
    const before = await revision();
    await gateway.call('PUT', '/x-config', { ADMIN_RPM: '601' });
    await waitUntil('the new revision is shown', 10, async () => (await revision()) > before);
    await visitor.expectGood('fleet');
  });
}

async function inEachLook(rig, gateway) {
  for (const look of LOOKS) {
    await rig.visiting(gateway.origin, look, async (visitor) => {
      await open(visitor.page, gateway, 'fleet?open=node-one');
      await visitor.page.locator('td.detail').waitFor();
      await visitor.expectGood(`fleet-${lookName(look)}`);
    });
  }
}

async function probes(rig, gateway) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, gateway, 'keys?open=1');
    const model = page.getByLabel('Probe with a model');
    await model.fill('gpt-4o-mini');
    await page.getByRole('button', { name: 'Probe', exact: true }).click();
    await page.locator('td.detail .note.good').getByText('Accepted', { exact: true }).waitFor();
    expect((await model.inputValue()) === 'gpt-4o-mini', 'the model is still there');
    await page.getByRole('button', { name: 'refused', exact: true }).click();
    await page.getByRole('button', { name: 'Probe', exact: true }).click();
    await page.locator('td.detail .note.bad').getByText('Not accepted').waitFor();
    await visitor.expectGood('keys-probe');
  });
}

export async function run(rig) {
  const gateway = await prepared(rig);
  await rig.law('the fleet shows a new revision by itself', () => follows(rig, gateway));
  await rig.law('the fleet is good in each language, colours and width', () => inEachLook(rig, gateway));
  await rig.law('a key is probed with a model, and a refusal is told', () => probes(rig, gateway));
}

import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';

export const name = 'vendored parts, under the strict policy';

const READY_SECONDS_MAX = 20;
// Telemetry is collected for five seconds before it is sent.
const TELEMETRY_MILLISECONDS = 8000;

async function parts(rig, site) {
  await rig.visiting(site.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await page.goto('/sites/vendor.html');
    await page.locator('html[data-ready]').waitFor();
    const output = page.locator('output');
    expect((await output.textContent()) === '0 twice 0 clicks 0', await output.textContent());
    await page.getByRole('button', { name: 'Count' }).click();
    await page.getByRole('button', { name: 'Count' }).press('Enter');
    await waitUntil('two clicks show', 5, async () => (await output.textContent()) === '2 twice 4 clicks 2');
    expect((await page.locator('#counter p').textContent()) === '<b>text</b>', 'markup in a text became elements');
    const kinds = await page.locator('#tokens').textContent();
    expect(kinds === 'heading paragraph table html', `the tokens are ${kinds}`);
    expect(await drawn(page), 'the chart is blank');
    await visitor.expectGood();
  });
}

/** Whether the chart has a point in the colour of its line. */
async function drawn(page) {
  return page.locator('#chart canvas').evaluate((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < data.length; at += 4) {
      if (data[at] === 0 && data[at + 1] === 128 && data[at + 2] === 128 && data[at + 3] === 255) return true;
    }
    return false;
  });
}

async function openReference(visitor) {
  const { page } = visitor;
  await page.goto('/sites/redoc.html');
  await page.getByText('The pool.').waitFor({ timeout: READY_SECONDS_MAX * 1000 });
}

async function reference(visitor, look) {
  const { page } = visitor;
  await openReference(visitor);
  await page.getByRole('button', { name: 'Show' }).first().click();
  await page.getByText('How it is called.').first().waitFor();
  const known = await page.evaluate(() => document.documentElement.outerHTML.match(/https?:\/\/[^"'<> ]*redoc[^"'<> ]*/g) ?? []);
  const others = known.filter((address) => address !== 'https://redocly.com/redoc/');
  expect(others.length === 0, `the page names ${others.join(' ')}`);
  await visitor.expectGood(`vendor-reference-${lookName(look)}`);
}

async function search(visitor) {
  const { page } = visitor;
  await openReference(visitor);
  await page.keyboard.press('Control+k');
  await page.getByPlaceholder('Search docs...').fill('upstream');
  await page.getByTestId('search-dialog').getByText('Add an').waitFor();
  await visitor.expectGood();
}

async function silence({ page, watch }) {
  await openReference({ page });
  await page.getByRole('button', { name: 'Show' }).first().click();
  await page.waitForTimeout(TELEMETRY_MILLISECONDS);
  watch.expectQuiet();
}

export async function run(rig) {
  const site = await rig.site();
  await rig.law('Preact, htm and signals render and react, uPlot draws, marked gives tokens', () => parts(rig, site));
  for (const look of LOOKS.filter(({ language }) => language === 'en')) {
    await rig.law(`Redoc shows a document: ${lookName(look)}`, () =>
      rig.visiting(site.origin, look, (visitor) => reference(visitor, look)),
    );
  }
  await rig.law('Redoc tells nobody that it is used', () => rig.visiting(site.origin, undefined, silence));
  await rig.law('Redoc searches without a server and without evaluating text', () => rig.visiting(site.origin, undefined, search));
}

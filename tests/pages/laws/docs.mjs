import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';
import { PAGES, REPOSITORY } from '../rig.mjs';

export const name = 'documentation';

const DOCS = path.join(REPOSITORY, 'docs');
// Of these there are pictures, and they are looked at in every look.
const PICTURED = ['quick-start', 'errors', 'reverse-proxy'];
const PAGE = '/pages/docs/index.html';
// A document that nobody means well.
const HOSTILE = [
  '# <img src=x onerror=alert(1)> & "quotes"', '', '<script>alert(1)</script>', '',
  'A [link](javascript:alert(1)), [another](data:text/html,x), <b>bold</b> &lt;i&gt; \u202Eright to left.', '',
  `## ${'long'.repeat(2500)}`, '', '| a | b |', '|---|--:|', `| \`${'x'.repeat(10000)}\` | <iframe src=//example.com> |`,
  '', '```sh', `echo ${'y'.repeat(10000)}`, '```', '',
].join('\n');

const contents = () => JSON.parse(fs.readFileSync(path.join(DOCS, 'contents.json'), 'utf8'));
const documents = () => contents().flatMap((group) => group.documents);
const text = (file) => fs.readFileSync(path.join(DOCS, file), 'utf8');

/** What the program itself serves: the same texts, the pages by their folders. */
async function programServes(rig) {
  const gateway = await rig.gateway();
  for (const [place, file] of [['/docs/text/contents.json', 'docs/contents.json'], ['/docs/text/rest.md', 'docs/rest.md'], ['/docs/', 'pages/docs/index.html'], ['/docs/api/', 'pages/docs/api/index.html']]) {
    const { status, text: served } = await gateway.ask('GET', place);
    expect(status === 200, `${place} answers ${status}`);
    expect(served === fs.readFileSync(path.join(REPOSITORY, file), 'utf8'), `${place} is not ${file}`);
  }
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    await visitor.page.goto('/docs/api/');
    await visitor.page.getByText('ProxyXAI').first().waitFor();
    await visitor.page.getByText('/x-users', { exact: true }).first().waitFor();
    await visitor.expectGood('docs-api-program');
    for (const [group, said] of [['Accounts', 'Direct children of the caller'], ['Calls', 'Relayed, and paid by the model']]) {
      await visitor.page.getByText(group, { exact: true }).first().click();
      await visitor.page.getByText(said).first().waitFor();
    }
  });
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    await visitor.page.goto('/docs/');
    await visitor.page.locator('article h1', { hasText: 'Quick start' }).waitFor();
    await visitor.expectGood('docs');
  });
}

/** A server of the pages and the documents that says it is a gateway. */
async function siteOf(rig) {
  const site = await rig.site();
  site.folder('/docs/text/', DOCS);
  site.text('/healthz', 'ok\n', '.md');
  return site;
}

function everyDocumentIsInTheContents() {
  const files = fs.readdirSync(DOCS).filter((file) => file.endsWith('.md')).sort();
  const named = documents().filter((each) => !each.page).map((each) => `${each.name}.md`).sort();
  expect(JSON.stringify(files) === JSON.stringify(named), `docs/ has ${files}\ncontents.json names ${named}`);
  for (const { title, name: document } of documents()) expect(title.en && title.zh, `${document} lacks a title`);
}

function* linksOf(tokens) {
  for (const token of tokens ?? []) {
    if (token.type === 'link') yield token.href;
    yield* linksOf(token.tokens);
    for (const item of token.items ?? []) yield* linksOf([item]);
    for (const cell of [token.header ?? [], ...(token.rows ?? [])].flat()) yield* linksOf(cell.tokens);
  }
}

const saidBy = (tokens) => tokens.map((token) => (token.tokens ? saidBy(token.tokens) : token.text)).join('');

/** The anchors of a document by the rule of code hosts, written down a second time. */
function anchorsOf(tokens) {
  const seen = new Map();
  return new Set(tokens.filter((token) => token.type === 'heading').map((token) => {
    const slug = saidBy(token.tokens).trim().toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-');
    seen.set(slug, (seen.get(slug) ?? 0) + 1);
    return seen.get(slug) === 1 ? slug : `${slug}-${seen.get(slug) - 1}`;
  }));
}

async function everyLinkLeadsSomewhere() {
  const { lexer } = await import(pathToFileURL(path.join(PAGES, 'vendor/marked.js')));
  const read = (file) => lexer(fs.readFileSync(file, 'utf8'));
  const files = [...documents().filter((each) => !each.page).map((each) => path.join(DOCS, `${each.name}.md`)), path.join(REPOSITORY, 'README.md')];
  for (const file of files) {
    for (const href of linksOf(read(file))) {
      if (/^https?:/.test(href)) continue;
      const [place, anchor] = href.split('#', 2);
      const aim = place ? path.resolve(path.dirname(file), place) : file;
      const from = path.relative(REPOSITORY, file);
      expect(fs.existsSync(aim), `${from}: ${href} leads nowhere`);
      expect(!anchor || anchorsOf(read(aim)).has(anchor), `${from}: ${href} names no section`);
    }
  }
}

/** A blank line cuts a table: its other half is a paragraph, and begins with a bar. */
async function everyTableIsWhole() {
  const { lexer } = await import(pathToFileURL(path.join(PAGES, 'vendor/marked.js')));
  const files = [...documents().filter((each) => !each.page).map((each) => path.join(DOCS, `${each.name}.md`)), path.join(REPOSITORY, 'README.md')];
  for (const file of files) {
    const torn = lexer(fs.readFileSync(file, 'utf8')).find((token) => token.type === 'paragraph' && token.text.startsWith('|'));
    expect(!torn, `${path.relative(REPOSITORY, file)}: ${torn?.text.slice(0, 80)} is in no table`);
  }
}

async function show(visitor, look, chosen) {
  const { page } = visitor;
  for (const document of chosen) {
    await page.goto(`${PAGE}#${document}`);
    const first = /^# (.*)$/m.exec(text(`${document}.md`))[1];
    await page.locator('article h1', { hasText: first.replaceAll('`', '') }).waitFor();
    await visitor.expectGood(PICTURED.includes(document) && `docs-${document}-${lookName(look)}`);
  }
}

async function nothingBecomesMarkup(visitor) {
  const { page } = visitor;
  await page.goto(`${PAGE}#hostile`);
  await page.locator('article h1').waitFor();
  const shown = await page.locator('article').textContent();
  for (const piece of ['<script>alert(1)</script>', '<b>', '<i>', '<iframe src=//example.com>']) expect(shown.includes(piece), `${piece} is not shown`);
  const made = await page.locator('article :is(script, img, iframe, b, i)').count();
  expect(made === 0, `${made} elements were made of the text`);
  const leads = await page.locator('article a').evaluateAll((links) => links.map((link) => link.getAttribute('href')));
  expect(leads.every((href) => href.startsWith('#')), `links lead to ${leads}`);
  await visitor.expectGood('docs-hostile-390');
}

async function deepLinks(visitor) {
  const { page } = visitor;
  await page.goto(`${PAGE}#rest/upstream-keys`);
  const heading = page.locator('#upstream-keys');
  await heading.waitFor();
  const isAtTop = async () => { const box = await heading.boundingBox(); return box && box.y >= 0 && box.y < 200; };
  await waitUntil('the section is at the top', 5, isAtTop);
  await page.getByRole('link', { name: 'earnings' }).first().click();
  await page.waitForURL(/#earnings/);
  await page.locator('article h1', { hasText: 'What calls earn' }).waitFor();
  await page.goBack();
  await waitUntil('back at the section', 5, isAtTop);
  await page.goto(`${PAGE}#no-such`);
  visitor.watch.allow('console error', /404/);
  await page.getByRole('alert').filter({ hasText: 'no-such' }).waitFor();
}

async function searchByKeyboard(visitor) {
  const { page } = visitor;
  await page.goto(PAGE);
  await page.locator('article h1').waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type('TRUSTED_PROXIES nginx');
  await page.locator('.found a').first().waitFor();
  await page.waitForURL(/#search\?q=TRUSTED_PROXIES/);
  await visitor.expectGood('docs-search');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await page.waitForURL(/#reverse-proxy/);
  await page.goto(`${PAGE}#search?q=qqqqq`);
  await page.getByRole('status').filter({ hasText: 'qqqqq' }).waitFor();
  expect((await page.locator('.found a').count()) === 0, 'something was found that is nowhere');
}

async function copies(visitor) {
  const { page, context } = visitor;
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.goto(`${PAGE}#quick-start`);
  await page.getByRole('button', { name: 'Copy' }).first().click();
  await page.getByRole('status').filter({ hasText: 'Copied' }).waitFor();
  expect((await page.evaluate(() => navigator.clipboard.readText())) === 'cargo run --release', 'another text was copied');
}

async function menuOfAPhone(visitor) {
  const { page } = visitor;
  await page.goto(`${PAGE}#usage`);
  await page.locator('article h1').waitFor();
  await page.getByRole('button', { name: 'Contents' }).click();
  await visitor.expectGood('docs-menu-390');
  await page.getByRole('navigation', { name: 'Contents' }).getByRole('link', { name: 'Backup and restore' }).click();
  await page.locator('article h1', { hasText: 'Backup and restore' }).waitFor();
  expect(!(await page.getByRole('navigation', { name: 'Contents' }).isVisible()), 'the menu stays open');
}

async function referenceIsThereOrSaysWhy(rig, site) {
  const phone = { language: 'en', scheme: 'light', width: 390 };
  await rig.visiting(site.origin, phone, async (visitor) => {
    visitor.watch.allow('console error', /404/);
    await visitor.page.goto('/pages/docs/api/index.html');
    await visitor.page.getByText('offers no OpenAPI document').waitFor();
    await visitor.expectGood();
  });
  site.text('/openapi.json', fs.readFileSync(path.join(REPOSITORY, 'tests/pages/sites/openapi.json')), '.json');
  await rig.visiting(site.origin, undefined, async (visitor) => {
    await visitor.page.goto('/pages/docs/api/index.html');
    await visitor.page.getByText('Small gateway').first().waitFor();
    await visitor.expectGood('docs-api');
  });
}

export async function run(rig) {
  const site = await siteOf(rig);
  const law = (text, look, visit) => rig.law(text, () => rig.visiting(site.origin, look, visit), 120);
  const phone = { language: 'en', scheme: 'light', width: 390 };
  await rig.law('every document is in the contents, with a title in both languages', async () => everyDocumentIsInTheContents());
  await rig.law('every link between documents leads to a section', everyLinkLeadsSomewhere);
  await rig.law('no table of a document is cut', everyTableIsWhole);
  const all = documents().filter((each) => !each.page).map((each) => each.name);
  for (const look of [LOOKS[0], LOOKS.at(-1)]) await law(`every document shows: ${lookName(look)}`, look, (visitor) => show(visitor, look, all));
  for (const look of LOOKS.slice(1, -1)) await law(`documents show: ${lookName(look)}`, look, (visitor) => show(visitor, look, PICTURED));
  await law('a link to a section shows it, links between documents work, back leads back', undefined, deepLinks);
  await law('search finds by keyboard alone', undefined, searchByKeyboard);
  await law('a code block is copied as it is', undefined, copies);
  await law('a phone has the contents as a menu', phone, menuOfAPhone);
  await rig.law('the API reference shows the document, or says that there is none', () => referenceIsThereOrSaysWhy(rig, site));
  await rig.law('the program serves what is in the folders', () => programServes(rig));
  site.text('/docs/text/hostile.md', HOSTILE, '.md');
  await law('nothing of a text becomes markup', phone, nothingBecomesMarkup);
}

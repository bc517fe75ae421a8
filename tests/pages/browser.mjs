// Debian's Chromium, driven by Playwright: a context for each language, colour scheme and width.

import fs from 'node:fs/promises';
import path from 'node:path';

import { Failure } from './laws.mjs';
import { Watch, inaccessible, overflowOf } from './watch.mjs';

const PROGRAM = '/usr/bin/chromium';
const ARGUMENTS = [
  '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
  // A page that asks for another host is caught, and does not get there either.
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
];
const LOCALES = { en: 'en-GB', zh: 'zh-CN' };
const HEIGHTS = { 1280: 800, 390: 844 };
const STEP_SECONDS_MAX = 15;

/** Every look that a page is tested in. */
export const LOOKS = ['en', 'zh'].flatMap((language) =>
  ['light', 'dark'].flatMap((scheme) => [1280, 390].map((width) => ({ language, scheme, width }))),
);

export const lookName = ({ language, scheme, width }) => `${language}-${scheme}-${width}`;

export class Browser {
  static async launch({ chromium, axeSource }, shots) {
    // Playwright's own notion of headless is another program; the argument above asks for the real one.
    const browser = await chromium.launch({ executablePath: PROGRAM, headless: false, args: ARGUMENTS });
    return new Browser(browser, axeSource, shots);
  }

  constructor(browser, axeSource, shots) {
    this.browser = browser;
    this.axeSource = axeSource;
    this.shots = shots;
  }

  /** A new profile that sees one origin, and a page in it. */
  async visitor(origin, look = { language: 'en', scheme: 'light', width: 1280 }) {
    const context = await this.browser.newContext({
      locale: LOCALES[look.language],
      colorScheme: look.scheme,
      viewport: { width: look.width, height: HEIGHTS[look.width] },
      serviceWorkers: 'block',
      reducedMotion: 'reduce',
      baseURL: origin,
    });
    context.setDefaultTimeout(STEP_SECONDS_MAX * 1000);
    const watch = new Watch(context, origin);
    await watch.attach();
    return new Visitor(this, context, watch, await context.newPage());
  }

  /** One visit: `visit(visitor)`, after which nothing may have gone wrong on the way. */
  async visiting(origin, look, visit) {
    const visitor = await this.visitor(origin, look);
    try {
      const result = await visit(visitor);
      visitor.watch.expectQuiet();
      return result;
    } catch (error) {
      throw await visitor.told(error);
    } finally {
      await visitor.context.close();
    }
  }

  async close() {
    await this.browser.close();
  }
}

class Visitor {
  constructor(browser, context, watch, page) {
    Object.assign(this, { browser, context, watch, page });
  }

  /** Keeps a picture of the window, or of the whole page. */
  async shot(name, fullPage = false) {
    await fs.mkdir(this.browser.shots, { recursive: true });
    await this.page.screenshot({ path: path.join(this.browser.shots, `${name}.png`), fullPage });
  }

  /** What is wrong with the page as it stands: its width, its accessibility, and whatever happened until now. */
  async faults(rootSelector) {
    const wide = await overflowOf(this.page);
    const findings = await inaccessible(this.page, this.browser.axeSource, rootSelector);
    const seen = this.watch.faults().map(({ kind, words }) => `${kind}: ${words}`);
    return [...(wide ? [`overflow: ${wide}`] : []), ...findings, ...seen];
  }

  /** The page as it stands is good; a picture is kept under the name if there is one. */
  async expectGood(name) {
    if (name) await this.shot(name);
    const faults = await this.faults();
    if (faults.length) throw new Failure(faults.join('\n'));
  }

  /** An error with what the watchers have seen, which is often its cause. */
  async told(error) {
    const seen = this.watch.faults().map(({ kind, words }) => `${kind}: ${words}`);
    const unsaid = seen.filter((line) => !error.message.includes(line));
    if (!unsaid.length) return error;
    return new Failure(`${error instanceof Failure ? error.message : error.stack}\nand on the page:\n${unsaid.join('\n')}`);
  }
}

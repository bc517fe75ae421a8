// What must never happen on a page, whatever the test is about.

import { Failure } from './laws.mjs';

const LOUD = new Set(['error', 'warning']);
const REPORT = '__reportViolation';

/** Runs in each document before anything of its own. */
function tellViolations(report) {
  document.addEventListener('securitypolicyviolation', (event) => {
    window[report](`${event.effectiveDirective} forbids ${event.blockedURI} at ${event.sourceFile}:${event.lineNumber}`);
  });
}

function leaves(url, origin) {
  const { protocol, origin: target } = new URL(url);
  return !['data:', 'blob:', 'about:'].includes(protocol) && target !== origin;
}

/** Listens to all pages of one browser context. */
export class Watch {
  #seen = [];
  #allowed = [];

  constructor(context, origin) {
    this.context = context;
    this.origin = origin;
  }

  async attach() {
    const { context, origin } = this;
    context.on('console', (said) => {
      if (LOUD.has(said.type())) this.#note(`console ${said.type()}`, `${said.text()} (${said.location().url})`);
    });
    context.on('weberror', (thrown) => this.#note('uncaught exception', thrown.error().stack ?? `${thrown.error()}`));
    context.on('request', (request) => {
      if (leaves(request.url(), origin)) this.#note('request to another origin', request.url());
    });
    context.on('page', (page) => {
      page.on('crash', () => this.#note('crash', page.url()));
      page.on('websocket', (socket) => {
        if (leaves(socket.url().replace(/^ws/, 'http'), origin)) this.#note('request to another origin', socket.url());
      });
    });
    await context.exposeBinding(REPORT, (_, words) => this.#note('CSP violation', words));
    await context.addInitScript(tellViolations, REPORT);
    // Seen and told above; here it is kept from happening.
    await context.route((url) => leaves(url.href, origin), (route) => route.abort());
  }

  #note(kind, words) {
    this.#seen.push({ kind, words });
  }

  /** From now on this is no fault: what a test brings about on purpose, as the console's line on a 401. */
  allow(kind, pattern) {
    this.#allowed.push({ kind, pattern });
  }

  faults() {
    return this.#seen.filter(
      ({ kind, words }) => !this.#allowed.some((each) => each.kind === kind && each.pattern.test(words)),
    );
  }

  expectQuiet() {
    const lines = this.faults().map(({ kind, words }) => `${kind}: ${words}`);
    if (lines.length) throw new Failure(lines.join('\n'));
  }
}

/** What makes the document wider than the window. */
export async function overflowOf(page) {
  return page.evaluate(() => {
    const root = document.documentElement;
    if (root.scrollWidth <= root.clientWidth) return null;
    const outside = [...document.querySelectorAll('body *')]
      .filter((element) => element.getBoundingClientRect().right > root.clientWidth + 0.5)
      .slice(0, 5)
      .map((element) => `<${element.tagName.toLowerCase()} class="${element.getAttribute('class') ?? ''}">`);
    return `the document is ${root.scrollWidth} px wide in a window of ${root.clientWidth}: ${outside.join(' ')}`;
  });
}

/** The serious and critical findings of axe-core, one line each. */
export async function inaccessible(page, axeSource, rootSelector) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(async (selector) => {
    const { violations } = await window.axe.run(selector ?? document, { resultTypes: ['violations'] });
    return violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, at: nodes.map((node) => node.html) }));
  }, rootSelector);
  return found
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, impact, help, at }) => `axe ${impact} ${id}: ${help}: ${at.length} × ${at[0].slice(0, 300)}`);
}

// From the first look at a gateway to an answer, by what the screen offers alone.

import { LOOKS, lookName } from '../browser.mjs';
import { expect } from '../laws.mjs';
import { PLAIN } from '../provider.mjs';

export const name = "a newcomer's two minutes";

const SECRET = 'sk-up-0123456789abcdefghijklmn';
const CLICKS_MAX = 8;
// A person types and reads; the page's own share of two minutes has to be small.
const SECONDS_MAX = 30;

/** Presses and fills what can be seen, and counts; nothing is reached by an address. */
class Hand {
  clicks = 0;
  fields = 0;

  constructor(page) {
    this.page = page;
  }

  async press(role, text) {
    this.clicks += 1;
    await this.page.getByRole(role, { name: text, exact: true }).first().click();
  }

  async fill(label, text) {
    this.fields += 1;
    await this.page.getByLabel(label, { exact: true }).first().fill(text);
  }
}

const WORDS = {
  en: {
    key: 'Client key or root key', enter: 'Sign in', addKey: 'Add an upstream key', base: 'Base address', secret: 'Key', save: 'Add this key', handOut: 'Hand out a key',
    name: 'Name', mail: 'E-mail', create: 'Create with $10.00', chat: 'Chat with it in the playground', message: 'Message', send: 'Send',
  },
};

async function fromNothingToAnAnswer(rig, shots) {
  // A model that the gateway knows the price of by itself.
  const provider = await rig.provider(['gpt-4o-mini']);
  const gateway = await rig.gateway();
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    const hand = new Hand(page);
    const words = WORDS.en;
    const look = async (step) => (shots ? visitor.expectGood(`newcomer-${step}`) : undefined);
    await page.goto('/');
    const began = Date.now();
    await look(1);
    await hand.fill(words.key, gateway.rootKey);
    await hand.press('button', words.enter);
    await page.waitForURL('**/console/**');
    await page.getByRole('link', { name: words.addKey }).waitFor();
    await look(2);
    await hand.press('link', words.addKey);
    await page.getByRole('dialog').waitFor();
    await look(3);
    await hand.fill(words.base, provider.url);
    await hand.fill(words.secret, SECRET);
    await hand.press('button', words.save);
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await look(4);
    await hand.press('link', words.handOut);
    await hand.fill(words.name, 'alice');
    await hand.fill(words.mail, 'alice@example.com');
    await look(5);
    await hand.press('button', words.create);
    await page.locator('.secret').waitFor();
    await look(6);
    await hand.press('link', words.chat);
    await hand.fill(words.message, 'Say hello');
    await hand.press('button', words.send);
    await page.getByText(PLAIN).first().waitFor();
    await page.getByText(/\$0\.\d+ · key/).waitFor();
    const seconds = (Date.now() - began) / 1000;
    console.log(`      ${hand.clicks} clicks, ${hand.fields} fields, ${seconds.toFixed(1)} s`);
    await look(7);
    expect(hand.clicks <= CLICKS_MAX, `${hand.clicks} clicks`);
    if (!shots) expect(seconds <= SECONDS_MAX, `${seconds} s`);
  });
}

/** What an empty gateway shows, page by page, says what to do next. */
async function saysTheNextStepIn(look, rig, gateway) {
  await rig.visiting(gateway.origin, look, async (visitor) => {
    const { page } = visitor;
    await page.goto('/');
    await page.locator('form input').first().waitFor();
    await visitor.expectGood(`front-${lookName(look)}`);
    await page.locator('input[type=password]').fill(gateway.rootKey);
    await page.keyboard.press('Enter');
    await page.waitForURL('**/console/**');
    await page.locator('main .empty').first().waitFor();
    await visitor.expectGood(`newcomer-${lookName(look)}`);
  });
}

export async function run(rig) {
  await rig.law('by what the screen offers, a root key becomes an answer', () => fromNothingToAnAnswer(rig, false));
  await rig.law('each step of it is good to look at', () => fromNothingToAnAnswer(rig, true));
  const gateway = await rig.gateway();
  for (const look of LOOKS) await rig.law(`a first look is good in ${lookName(look)}`, () => saysTheNextStepIn(look, rig, gateway));
}

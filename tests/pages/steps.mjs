// Steps that several laws take.

import { waitUntil } from './laws.mjs';

const POSTED_SECONDS_MAX = 15;

/** Opens a page as the holder of a key, as if it had signed in before. */
export async function open(page, key, place) {
  await page.addInitScript((text) => sessionStorage.getItem('proxyxai.key') ?? sessionStorage.setItem('proxyxai.key', text), key);
  await page.goto(place);
}

/** The questions that a page asks, all of which are answered with yes. */
export function asked(page) {
  const questions = [];
  page.on('dialog', (dialog) => {
    questions.push(dialog.message());
    return dialog.accept();
  });
  return questions;
}

/** The calls of an account, newest first, as soon as there are any. */
export async function callsOf(gateway, key, least = 1) {
  let calls = [];
  await waitUntil('calls are posted', POSTED_SECONDS_MAX, async () => {
    ({ calls } = await gateway.call('GET', '/x-calls', undefined, key));
    return calls.length >= least;
  });
  return calls;
}

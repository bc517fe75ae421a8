import { LOOKS, lookName } from '../browser.mjs';
import { expect, waitUntil } from '../laws.mjs';
import { MARKUP, PLAIN } from '../provider.mjs';
import { callsOf, open } from '../steps.mjs';

export const name = 'the playground';

const PRICES = { ChatPricing: { house: { Provider: 'openai', InputText: 2.5, OutputText: 10 }, 'claude-house': { Provider: 'anthropic', InputText: 3, OutputText: 15 } } };

async function prepared(rig) {
  const provider = await rig.provider(['house', 'claude-house']);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES) });
  // The first of two keys is overloaded, so that a first call takes two tries.
  await gateway.addKey('sk-down-0123456789abcdefghij', provider.url, { Name: 'down', Level: 1 });
  await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: 'upstairs', Level: 2 });
  await gateway.call('PUT', '/x-config', { LEVEL_MAPPER: 'house=1,claude-house=2', SWITCH_OVER: '1=2' });
  const alice = await gateway.addAccount('alice', 10, { Gear: 2 });
  return { provider, gateway, alice };
}

const message = (page) => page.getByRole('textbox', { name: 'Message' });
const answer = (page) => page.locator('.turn:not(.user)').last();

async function say(page, text) {
  await message(page).fill(text);
  await message(page).press('Enter');
}

async function facts(page) {
  await answer(page).getByRole('link', { name: 'the bill' }).waitFor();
  return answer(page).locator('p.small').last().innerText();
}

/** Under an answer stands what its record says: who served it, in how many tries, for how much. */
async function tellsWhatItTook(rig, { gateway, alice }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, gateway.rootKey, '/console/#playground?model=house');
    await page.getByLabel('Key', { exact: true }).selectOption('other');
    await page.getByLabel('Paste a client key').fill(alice);
    await page.getByRole('button', { name: 'Use', exact: true }).click();
    await page.getByText(`In use: the key that ends in ${alice.slice(-6)}`).waitFor();
    await say(page, 'hi');
    await answer(page).getByText(PLAIN).waitFor();
    const said = await facts(page);
    const [call] = await callsOf(gateway, alice);
    const record = (await gateway.call('GET', `/x-usage?request_id=${call.RequestID}`, undefined, alice))[0];
    expect(record.Tries > 1, record);
    expect(said.includes(`key upstairs (${record.Key}), level 2, tries ${record.Tries}`), said);
    expect(said.includes(`$${record.Cost}`), `${said}; the cost is ${record.Cost}`);
    expect(/first token \d+/.test(said) && /in all/.test(said), said);
    expect(said.includes(`${record.Tokens.Input} in, ${record.Tokens.Output} out`), said);
    await visitor.expectGood('playground-answer');
    await answer(page).getByRole('link', { name: 'the bill' }).click();
    await page.getByRole('heading', { name: 'Calls', exact: true }).waitFor();
    await waitUntil('the one call is shown', 10, async () => (await page.locator('tr.opens').count()) === 1);
    await page.goBack();
    await answer(page).getByText(PLAIN).waitFor();
  });
}

/** An answer is shown as it comes, not when it is over. */
async function showsItAsItComes(rig, { gateway, alice }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    await open(page, alice, '/console/#playground?model=house');
    await say(page, 'slow please');
    await answer(page).getByText('Hello').waitFor();
    expect(!(await answer(page).innerText()).includes('few words'), 'all of it came at once');
    await answer(page).getByText(PLAIN).waitFor();
    const seen = await facts(page);
    const [, first, all] = /first token (\d+) ms · ([\d.]+) s in all/.exec(seen) ?? [];
    expect(Number(first) > 200 && Number(all) > 1.5, seen);
  });
}

async function stops(rig, { gateway, alice }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page } = visitor;
    await open(page, alice, '/console/#playground?model=house');
    await say(page, 'slow please');
    await answer(page).getByText('Hello').waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await answer(page).getByText('Stopped by you.').waitFor();
    const kept = await answer(page).locator('.said').innerText();
    expect(kept.startsWith('Hello') && kept.length < PLAIN.length, kept);
    await visitor.expectGood('playground-stopped');
    expect(await message(page).isEnabled(), 'the next message can be written');
    await message(page).fill('next');
    expect(await page.getByRole('button', { name: 'Send' }).isEnabled(), 'and sent');
  });
}

/** An error stands where the answer would, as text, and what was typed comes back. */
async function showsErrors(rig, { gateway, alice }) {
  await rig.visiting(gateway.origin, undefined, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /400|ERR_INCOMPLETE_CHUNKED/);
    await open(page, alice, '/console/#playground?model=house');
    await say(page, 'please fail-400');
    const refusal = answer(page).getByRole('alert');
    await refusal.waitFor();
    expect((await refusal.textContent()).includes(MARKUP), await refusal.textContent());
    await waitUntil('the message is back', 5, async () => (await message(page).inputValue()) === 'please fail-400');
    await visitor.expectGood('playground-refused');
    await say(page, 'slow hang-up');
    await answer(page).getByRole('alert').waitFor();
    expect((await answer(page).locator('.said').innerText()).startsWith('Hello'), 'what came is still to be read');
    await visitor.expectGood('playground-broken-off');
    await page.getByRole('button', { name: 'New chat' }).click();
    await page.getByText('Ask a model something').waitFor();
  });
}

/** The other dialect, with a system prompt, and the turns before it: what is sent is what was seen. */
async function speaksBothDialects(rig, { gateway, alice }) {
  await rig.visiting(gateway.origin, undefined, async ({ page }) => {
    const sent = [];
    page.on('request', (request) => request.method() === 'POST' && sent.push([new URL(request.url()).pathname, request.postDataJSON()]));
    await open(page, alice, '/console/#playground?model=claude-house');
    await page.getByLabel('System prompt').fill('Be brief.');
    await say(page, 'with markup');
    await waitUntil('the whole answer is there', 10, async () => (await answer(page).locator('.said').textContent()) === MARKUP);
    await facts(page);
    await page.getByLabel('API').selectOption('chat');
    await say(page, 'and again');
    await answer(page).getByText(PLAIN).waitFor();
    const [[messages, first], [chat, second]] = sent;
    expect(messages === '/v1/messages' && first.system === 'Be brief.' && first.stream, sent);
    expect(chat === '/v1/chat/completions' && second.messages.map(({ role }) => role).join() === 'system,user,assistant,user', sent);
    expect(second.messages[2].content === MARKUP, second.messages);
  });
}

async function isGoodIn(look, rig, { gateway, alice }) {
  await rig.visiting(gateway.origin, look, async (visitor) => {
    const { page, watch } = visitor;
    watch.allow('console error', /400/);
    await open(page, alice, '/console/#playground?model=house');
    await page.locator('.turns .empty').waitFor();
    await visitor.expectGood(`playground-empty-${lookName(look)}`);
    const field = page.locator('.chat textarea');
    for (const text of ['hi', 'a long one', 'please fail-400']) {
      await field.fill(text);
      await field.press('Enter');
      await page.locator('.chat button.main').waitFor();
      await waitUntil('its facts are there', 15, async () => (await page.locator('.turn:not(.user)').last().locator('a, .note.bad').count()) > 0);
    }
    await visitor.expectGood(`playground-${lookName(look)}`);
  });
}

export async function run(rig) {
  const there = await prepared(rig);
  await rig.law('an answer tells its key, tries, tokens, cost and first token, as its record does', () => tellsWhatItTook(rig, there));
  await rig.law('an answer is shown as it comes', () => showsItAsItComes(rig, there));
  await rig.law('stopping keeps what came and frees the next message', () => stops(rig, there));
  await rig.law('an error stands in the place of the answer and loses no message', () => showsErrors(rig, there));
  await rig.law('both dialects are spoken, with the turns that were seen', () => speaksBothDialects(rig, there));
  for (const look of LOOKS) await rig.law(`the playground is good in ${lookName(look)}`, () => isGoodIn(look, rig, there));
}

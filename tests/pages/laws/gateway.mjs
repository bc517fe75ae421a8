import { expect, waitUntil } from '../laws.mjs';
import { LONG, MARKUP, PLAIN } from '../provider.mjs';

export const name = 'what stands behind the pages: a gateway with a made-up provider';

const PRICES = { ChatPricing: { house: { Provider: 'openai', InputText: 1, OutputText: 2 } } };

const message = (content, more = {}) => ({ model: 'house', max_tokens: 9000, messages: [{ role: 'user', content }], ...more });

async function dialects(gateway, key) {
  const chat = JSON.parse((await gateway.chat(key, 'house', 'hi')).text);
  expect(chat.choices?.[0].message.content === PLAIN, chat);
  const answer = await gateway.ask('POST', '/v1/messages', message('with markup'), key);
  expect(JSON.parse(answer.text).content?.[0].text === MARKUP, answer.text);
}

async function streams(gateway, key) {
  const { text } = await gateway.chat(key, 'house', 'a long one', { stream: true });
  const datas = text.split('\n').filter((line) => line.startsWith('data: {')).map((line) => JSON.parse(line.slice(6)));
  expect(datas.map((data) => data.choices[0]?.delta.content ?? '').join('') === LONG, text.slice(0, 500));
  const anthropic = await gateway.ask('POST', '/v1/messages', message('hi', { stream: true }), key);
  expect(anthropic.text.includes('event: message_stop'), anthropic.text);
}

async function failures(gateway, key) {
  const refused = await gateway.chat(key, 'house', 'please fail-400');
  expect(refused.status === 400 && refused.text.includes('as asked'), `${refused.status}: ${refused.text}`);
}

export async function run(rig) {
  const provider = await rig.provider(['house']);
  const gateway = await rig.gateway({ PRICING: JSON.stringify(PRICES) });
  await gateway.addKey('sk-up-0123456789abcdefghijklmn', provider.url, { Name: 'up' });
  const key = await gateway.addAccount('alice', 10);
  await rig.law('it answers in both dialects', () => dialects(gateway, key));
  await rig.law('it streams in both', () => streams(gateway, key));
  await rig.law('a call fails as its message asks', () => failures(gateway, key));
  await rig.law('what was used is counted', async () => {
    const settled = async () => (await gateway.call('GET', '/dashboard/info', undefined, key)).credit_used > 0;
    await waitUntil('usage is posted', 10, settled);
  });
  await rig.law('it ends with 0 and starts again with what it had', async () => {
    const status = await gateway.stop();
    expect(status === 0, `it ended with ${status}`);
    await gateway.begin();
    const again = await gateway.chat(key, 'house', 'hi');
    expect(again.status === 200, `${again.status}: ${again.text}`);
  });
}

// A made-up provider that speaks OpenAI's and Anthropic's dialects: answers, streams, usage, and errors on demand.
//
// The last message decides what comes, by a word in it: `fail-429` the status 429 (and so for every other), `hang-up`
// a connection that ends in the middle, `slow` a quarter of a second between two pieces, `markup` and `long` answers
// that try a page's patience. A key with `dead` in its name is refused with 401, one with `down` with 503.

import http from 'node:http';

const BODY_BYTES_MAX = 8 << 20;
const SLOW_MILLISECONDS = 250;
export const PLAIN = 'Hello from the provider, in a few words.';
export const MARKUP = '<script>alert("x")</script> <b onclick=\'x\'>bold</b> "quotes" \u202eright to left\u202c & more';
export const LONG = 'long '.repeat(2000);

const words = (text) => text.match(/\S+\s*/g) ?? [];

function plainText(content) {
  if (typeof content === 'string') return content;
  return (content ?? []).map((part) => part.text ?? '').join(' ');
}

/** What a call asks for: decided by its last message and its key. */
export function planOf(body, key) {
  if (key.includes('dead')) return { status: 401, code: 'invalid_api_key', message: 'Incorrect API key provided.' };
  if (key.includes('down')) return { status: 503, code: null, message: 'The server is overloaded.' };
  const said = plainText(body.messages?.at(-1)?.content ?? body.input);
  const failure = /\bfail-(\d{3})\b/.exec(said);
  if (failure) return { status: Number(failure[1]), code: 'made_up', message: `${MARKUP} as asked` };
  const text = said.includes('markup') ? MARKUP : said.includes('long') ? LONG : PLAIN;
  const usage = { input: 3 + words(said).length, output: words(text).length };
  return { status: 200, text, usage, slow: said.includes('slow'), hangUp: said.includes('hang-up') };
}

const openAiUsage = ({ input, output }) => ({
  prompt_tokens: input, completion_tokens: output, total_tokens: input + output,
});

export const OPENAI = {
  whole: (model, { text, usage }) => ({
    id: 'chatcmpl-1', object: 'chat.completion', created: 1, model,
    choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }],
    usage: openAiUsage(usage),
  }),
  *events(model, { text, usage }, body) {
    const chunk = (rest) => `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model, ...rest })}\n\n`;
    const choice = (delta, finish_reason = null) => chunk({ choices: [{ index: 0, delta, finish_reason }] });
    yield choice({ role: 'assistant', content: '' });
    for (const content of words(text)) yield choice({ content });
    yield choice({}, 'stop');
    if (body.stream_options?.include_usage) yield chunk({ choices: [], usage: openAiUsage(usage) });
    yield 'data: [DONE]\n\n';
  },
  error: ({ code, message }) => ({ error: { message, type: 'invalid_request_error', param: null, code } }),
};

export const ANTHROPIC = {
  whole: (model, { text, usage }) => ({
    id: 'msg_1', type: 'message', role: 'assistant', model, content: [{ type: 'text', text }],
    stop_reason: 'end_turn', stop_sequence: null, usage: { input_tokens: usage.input, output_tokens: usage.output },
  }),
  *events(model, { text, usage }) {
    const event = (type, rest) => `event: ${type}\ndata: ${JSON.stringify({ type, ...rest })}\n\n`;
    const begun = { input_tokens: usage.input, output_tokens: 1 };
    const message = { id: 'msg_1', type: 'message', role: 'assistant', model, content: [], stop_reason: null, usage: begun };
    yield event('message_start', { message });
    yield event('content_block_start', { index: 0, content_block: { type: 'text', text: '' } });
    for (const piece of words(text)) yield event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: piece } });
    yield event('content_block_stop', { index: 0 });
    yield event('message_delta', { delta: { stop_reason: 'end_turn' }, usage: { output_tokens: usage.output } });
    yield event('message_stop', {});
  },
  error: ({ message }) => ({ type: 'error', error: { type: 'invalid_request_error', message } }),
};

const DIALECTS = { '/v1/chat/completions': OPENAI, '/v1/messages': ANTHROPIC };

async function bodyOf(request) {
  const pieces = [];
  let size = 0;
  for await (const piece of request) {
    size += piece.length;
    if (size > BODY_BYTES_MAX) throw new Error('the body is too long');
    pieces.push(piece);
  }
  return size ? JSON.parse(Buffer.concat(pieces).toString('utf8')) : {};
}

function answerJson(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

async function stream(response, plan, events) {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  let sent = 0;
  for (const event of events) {
    if (plan.hangUp && sent === 3) {
      response.destroy();
      return;
    }
    response.write(event);
    sent += 1;
    if (plan.slow) await new Promise((resolve) => setTimeout(resolve, SLOW_MILLISECONDS));
  }
  response.end();
}

export class Provider {
  /** Calls that were answered, by the key they came with. */
  asked = new Map();

  static async start(models) {
    const provider = new Provider();
    provider.models = models;
    provider.server = http.createServer((request, response) => {
      provider.#answer(request, response).catch(() => response.destroy());
    });
    await new Promise((resolve) => provider.server.listen(0, '127.0.0.1', resolve));
    provider.url = `http://127.0.0.1:${provider.server.address().port}`;
    return provider;
  }

  async #answer(request, response) {
    const key = request.headers['x-api-key'] ?? (request.headers.authorization ?? '').replace(/^Bearer /, '');
    const place = new URL(request.url, this.url).pathname;
    const body = await bodyOf(request);
    if (place === '/v1/models' && request.method === 'GET') {
      const plan = planOf({}, key);
      const data = this.models.map((id) => ({ id, object: 'model', created: 1, owned_by: 'made-up' }));
      if (plan.status === 200) answerJson(response, 200, { object: 'list', data });
      else answerJson(response, plan.status, OPENAI.error(plan));
      return;
    }
    const dialect = DIALECTS[place];
    if (!dialect || request.method !== 'POST') {
      answerJson(response, 404, OPENAI.error({ code: null, message: `No ${request.method} ${place} here.` }));
      return;
    }
    this.asked.set(key, (this.asked.get(key) ?? 0) + 1);
    const plan = planOf(body, key);
    if (plan.status !== 200) answerJson(response, plan.status, dialect.error(plan));
    else if (body.stream) await stream(response, plan, dialect.events(body.model, plan, body));
    else if (plan.hangUp) response.destroy();
    else {
      if (plan.slow) await new Promise((resolve) => setTimeout(resolve, SLOW_MILLISECONDS));
      answerJson(response, 200, dialect.whole(body.model, plan));
    }
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

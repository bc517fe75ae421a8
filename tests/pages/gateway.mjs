// One gateway under test: its process, its root key, and the calls that prepare what a page shows.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';

import { Failure, waitUntil, within } from './laws.mjs';

const START_SECONDS_MAX = 20;
const STOP_SECONDS_MAX = 20;
const CALL_SECONDS_MAX = 30;
const LOG_LINES = 30;
// Nothing of the caller's settings, so that a run means the same everywhere.
const KEPT = ['PATH', 'HOME', 'LANG', 'TMPDIR'];

async function freePort() {
  const probe = net.createServer();
  await new Promise((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

export class Gateway {
  static async start(program, folder, variables = {}) {
    const gateway = new Gateway(program, folder);
    const [port, grpcPort] = [await freePort(), await freePort()];
    gateway.origin = `http://127.0.0.1:${port}`;
    const kept = Object.fromEntries(KEPT.filter((name) => name in process.env).map((name) => [name, process.env[name]]));
    gateway.env = {
      ...kept, PORT: `${port}`, GRPC_PORT: `${grpcPort}`, DATA_DIR: path.join(folder, 'data'), TZ: 'UTC', ...variables,
    };
    try {
      await gateway.begin();
    } catch (error) {
      await gateway.stop();
      throw error;
    }
    return gateway;
  }

  constructor(program, folder) {
    this.program = program;
    this.log = path.join(folder, 'gateway.log');
  }

  /** Starts the process, also again after `stop`. */
  async begin() {
    const out = fs.openSync(this.log, 'a');
    this.child = spawn(this.program, [], { env: this.env, stdio: ['ignore', out, out] });
    fs.closeSync(out);
    this.ended = new Promise((resolve) => {
      this.child.once('exit', (code, signal) => resolve(code ?? signal));
      this.child.once('error', (error) => resolve(error.message));
    });
    let ended = null;
    this.ended.then((how) => (ended = how));
    await waitUntil('GET /readyz answers 200', START_SECONDS_MAX, async () => {
      if (ended !== null) throw new Failure(`the gateway ended with ${ended}:\n${this.tail()}`);
      return (await fetch(`${this.origin}/readyz`).catch(() => null))?.ok ?? false;
    });
    this.rootKey = fs.readFileSync(path.join(this.env.DATA_DIR, 'root.key'), 'utf8').trim();
  }

  tail() {
    return fs.existsSync(this.log) ? fs.readFileSync(this.log, 'utf8').split('\n').slice(-LOG_LINES).join('\n') : '';
  }

  /** A call as it is, by root unless another key is given: status, headers and text. */
  async ask(method, place, body, key = this.rootKey) {
    const answer = await fetch(this.origin + place, {
      method,
      headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(CALL_SECONDS_MAX * 1000),
    });
    return { status: answer.status, headers: answer.headers, text: await answer.text() };
  }

  /** A call that has to answer 200, and its answer. */
  async call(method, place, body, key) {
    const { status, text } = await this.ask(method, place, body, key);
    if (status !== 200) throw new Failure(`${method} ${place} answered ${status}: ${text}`);
    return JSON.parse(text);
  }

  async addKey(secret, provider, more = {}) {
    return this.call('POST', '/x-keys', { SecretKey: secret, Provider: provider, ...more });
  }

  /** Creates a sub-account of root, or of whose key is given, and returns its client key. */
  async addAccount(name, credit, more = {}, key = undefined) {
    const body = { Name: name, Email: `${name}@example.com`, CreditGranted: credit, ...more };
    return (await this.call('POST', '/x-users', body, key)).User.SecretKey;
  }

  /** One chat call with a client key. */
  async chat(key, model, content, more = {}) {
    return this.ask('POST', '/v1/chat/completions', { model, messages: [{ role: 'user', content }], ...more }, key);
  }

  /** Asks the process to end, as a service manager would, and returns its exit status. */
  async stop() {
    if (!this.child) return null;
    this.child.kill('SIGTERM');
    try {
      return await within(STOP_SECONDS_MAX, 'the gateway ends after SIGTERM', this.ended);
    } catch (late) {
      this.child.kill('SIGKILL');
      await this.ended;
      throw late;
    } finally {
      this.child = null;
    }
  }
}

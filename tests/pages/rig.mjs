// What the laws share, and its end: whatever was started is stopped, also after a failure.

import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { Browser } from './browser.mjs';
import { Gateway } from './gateway.mjs';
import { Laws } from './laws.mjs';
import { packagesIn } from './node_packages.mjs';
import { Provider } from './provider.mjs';
import { Site } from './site.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
export const REPOSITORY = path.resolve(HERE, '../..');
export const PAGES = path.join(REPOSITORY, 'pages');

export class Rig {
  #ends = [];

  static async start({ gateway, nodeDir, shots }) {
    const rig = new Rig();
    rig.laws = new Laws();
    rig.program = gateway && path.resolve(gateway);
    rig.nodeDir = path.resolve(nodeDir);
    rig.folder = await fs.mkdtemp(path.join(os.tmpdir(), 'pages-'));
    rig.#ends.push(() => fs.rm(rig.folder, { recursive: true, force: true }));
    rig.browser = await Browser.launch(packagesIn(nodeDir), path.resolve(shots));
    rig.#ends.push(() => rig.browser.close());
    return rig;
  }

  law(text, check, seconds) {
    return this.laws.law(text, check, seconds);
  }

  /** A server of `pages/` and of the tests' own pages, under the strict policy. */
  async site() {
    const site = await Site.start();
    this.#ends.push(() => site.stop());
    site.folder('/pages/', PAGES);
    site.folder('/sites/', path.join(HERE, 'sites'));
    return site;
  }

  /** A gateway of its own, with an empty database. */
  async gateway(variables) {
    const folder = await fs.mkdtemp(path.join(this.folder, 'gateway-'));
    const gateway = await Gateway.start(this.program, folder, variables);
    this.#ends.push(() => gateway.stop());
    return gateway;
  }

  async provider(models) {
    const provider = await Provider.start(models);
    this.#ends.push(() => provider.stop());
    return provider;
  }

  /** A visit of a page in a new profile: see `Browser.visiting`. */
  visiting(origin, look, visit) {
    return this.browser.visiting(origin, look, visit);
  }

  /** Stops everything, last first; a failure of one keeps no other running. */
  async end() {
    for (const end of this.#ends.splice(0).reverse()) {
      try {
        await end();
      } catch (error) {
        this.laws.broken += 1;
        console.log(`FAIL  the end: ${error.message}`);
      }
    }
  }
}

/** Ends the rig also when a signal asks for it, and gives the exit status that the laws deserve. */
export async function withRig(options, work) {
  const rig = await Rig.start(options);
  for (const [signal, status] of [['SIGINT', 130], ['SIGTERM', 143]]) {
    process.once(signal, () => rig.end().finally(() => process.exit(status)));
  }
  try {
    await work(rig);
  } finally {
    await rig.end();
  }
  console.log(rig.laws.sum());
  return rig.laws.broken || !rig.laws.kept ? 1 : 0;
}

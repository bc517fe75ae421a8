#!/usr/bin/env node
// Drives the pages in a real browser against the real gateway, and prints a line for every law it saw kept.
//
//     node tests/pages/run.mjs --gateway PROGRAM --node-dir FOLDER --shots FOLDER [LAWS...]
//
// LAWS are names of files in laws/; without any, all of them run, in the order of their names. Each exports `name`
// and `run(rig)`. One that throws outside its laws is a failure of its own and keeps no other from running.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

import { within } from './laws.mjs';
import { withRig } from './rig.mjs';

const LAWS = path.join(path.dirname(fileURLToPath(import.meta.url)), 'laws');
const FILE_SECONDS_MAX = 600;

const { values, positionals } = parseArgs({
  options: { gateway: { type: 'string' }, 'node-dir': { type: 'string' }, shots: { type: 'string' } },
  allowPositionals: true,
});
if (!values.gateway || !values['node-dir'] || !values.shots) {
  console.error('usage: run.mjs --gateway PROGRAM --node-dir FOLDER --shots FOLDER [LAWS...]');
  process.exit(64);
}

const all = fs.readdirSync(LAWS).filter((file) => file.endsWith('.mjs')).sort();
const unknown = positionals.filter((name) => !all.includes(`${name}.mjs`));
if (unknown.length) {
  console.error(`run.mjs: no laws ${unknown.join(', ')}; there are ${all.join(' ')}`);
  process.exit(64);
}
const chosen = positionals.length ? positionals.map((name) => `${name}.mjs`) : all;

async function runFile(rig, file) {
  const { name, run } = await import(pathToFileURL(path.join(LAWS, file)));
  console.log(`--- ${name}`);
  await within(FILE_SECONDS_MAX, `${file} ends`, run(rig));
}

process.exitCode = await withRig({ gateway: values.gateway, nodeDir: values['node-dir'], shots: values.shots }, async (rig) => {
  for (const file of chosen) {
    try {
      await runFile(rig, file);
    } catch (error) {
      rig.laws.broken += 1;
      console.log(`FAIL  ${file}: ${error.stack}`);
    }
  }
});

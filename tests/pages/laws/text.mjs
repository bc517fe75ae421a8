import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { expect } from '../laws.mjs';
import { PAGES } from '../rig.mjs';
import { faultsOfTexts } from '../texts.mjs';

export const name = 'texts';

const FILES = { en: path.join(PAGES, 'text/en.js'), zh: path.join(PAGES, 'text/zh.js') };

const stripped = (text) => text.replace(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, '');
const namesIn = (list) => list.split(',').map((each) => each.trim()).filter(Boolean);

/** Names that a module exports; null where it passes on all of another one. */
function exportsOf(file) {
  const text = stripped(fs.readFileSync(file, 'utf8'));
  if (/export\s*\*\s*from/.test(text)) return null;
  const declared = [...text.matchAll(/export\s+(?:async\s+)?(?:function\*?|const|let|var|class)\s+([\w$]+)/g)].map(([, each]) => each);
  const listed = [...text.matchAll(/export\s*\{([^}]*)\}/g)].flatMap(([, list]) => namesIn(list).map((each) => each.split(/\s+as\s+/).at(-1)));
  return new Set([...declared, ...listed, ...(/export\s+default\b/.test(text) ? ['default'] : [])]);
}

/** `[file, name]` of each name that a module takes from another one, whether it imports it or passes it on. */
function importsOf(file) {
  const text = stripped(fs.readFileSync(file, 'utf8'));
  return [...text.matchAll(/(?:import|export)\s*\{([^}]*)\}\s*from\s*["'](\.[^"']+)["']/g)]
    .flatMap(([, list, from]) => namesIn(list).map((each) => [path.resolve(path.dirname(file), from), each.split(/\s+as\s+/)[0]]));
}

function everyImportIsExported() {
  const files = fs.readdirSync(PAGES, { recursive: true }).filter((file) => file.endsWith('.js')).map((file) => path.join(PAGES, file));
  const wanted = files.filter((file) => !file.includes(`${path.sep}vendor${path.sep}`)).flatMap((file) => importsOf(file).map((each) => [file, ...each]));
  expect(wanted.length > 100, `only ${wanted.length} imports are found`);
  const faults = wanted.filter(([, from, each]) => !fs.existsSync(from) || !(exportsOf(from)?.has(each) ?? true));
  expect(faults.length === 0, faults.map(([file, from, each]) => `${path.relative(PAGES, file)}: ${path.relative(PAGES, from)} has no ${each}`).join('\n'));
}

export async function run(rig) {
  await rig.law('every name that a module imports is one that the other exports', async () => everyImportIsExported());
  const law = 'both languages have the same entries with the same placeholders, and none is empty';
  const missing = Object.values(FILES).filter((file) => !fs.existsSync(file));
  if (missing.length) {
    rig.laws.skip(law, `there is no ${missing.map((file) => path.relative(PAGES, file)).join(' and no ')}`);
    return;
  }
  await rig.law(law, async () => {
    const languages = {};
    for (const [language, file] of Object.entries(FILES)) languages[language] = (await import(pathToFileURL(file))).default;
    expect(Object.keys(languages.en).length > 0, 'there is no text');
    const faults = faultsOfTexts(languages);
    expect(faults.length === 0, faults.join('\n'));
  });
}

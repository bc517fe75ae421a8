import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { expect } from '../laws.mjs';
import { PAGES } from '../rig.mjs';
import { faultsOfTexts } from '../texts.mjs';

export const name = 'texts';

const FILES = { en: path.join(PAGES, 'text/en.js'), zh: path.join(PAGES, 'text/zh.js') };

export async function run(rig) {
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

// The packages of the tests, which are in a folder of their own and not beside these files.

import { createRequire } from 'node:module';
import path from 'node:path';

export function packagesIn(folder) {
  const require = createRequire(path.join(path.resolve(folder), 'package.json'));
  return { chromium: require('playwright-core').chromium, axeSource: require('axe-core').source };
}

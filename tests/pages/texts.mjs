// Whether the texts of two languages say the same things.

const placeholders = (text) => [...text.matchAll(/\{[^{}]*\}/g)].map(([each]) => each).sort().join(' ');

function faultsOfOne(name, texts) {
  return Object.entries(texts)
    .filter(([, text]) => typeof text !== 'string' || text.trim() === '')
    .map(([key]) => `${name}: ${key} has no text`);
}

/** What differs between the texts of languages by name; the first language is the measure of the others. */
export function faultsOfTexts(languages) {
  const [[first, measure], ...others] = Object.entries(languages);
  const faults = Object.entries(languages).flatMap(([name, texts]) => faultsOfOne(name, texts));
  for (const [name, texts] of others) {
    for (const key of Object.keys(measure)) if (!(key in texts)) faults.push(`${name}: ${key} is missing`);
    for (const key of Object.keys(texts)) if (!(key in measure)) faults.push(`${name}: ${key} is not in ${first}`);
    for (const [key, text] of Object.entries(texts)) {
      const [here, there] = [text, measure[key]];
      if (typeof here !== 'string' || typeof there !== 'string' || placeholders(here) === placeholders(there)) continue;
      faults.push(`${name}: ${key} has ${placeholders(here) || 'no placeholder'}, ${first} ${placeholders(there) || 'none'}`);
    }
  }
  return faults;
}

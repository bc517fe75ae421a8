// The documents: fetched once each, from the gateway that these pages belong to.

import { base, Refused } from "../lib/api.js";
import { t } from "../lib/text.js";
import { read } from "./markdown.js";

const kept = new Map();

async function asked(file) {
  let answer;
  try {
    answer = await fetch(`${base}/docs/text/${file}`, { credentials: "omit" });
  } catch {
    throw new Refused(0, { message: t("error.away") });
  }
  if (!answer.ok) throw new Refused(answer.status);
  return answer;
}

const fetched = async (file) => (await asked(file)).text();

// One that could not be had is asked for again the next time.
function once(file, make) {
  if (!kept.has(file)) {
    const made = fetched(file).then(make);
    made.catch(() => kept.delete(file));
    kept.set(file, made);
  }
  return kept.get(file);
}

// Groups of documents: `[{ group, documents: [{ name, title: { en, zh } }] }]`.
export const contents = () => once("contents.json", JSON.parse);

export const tokensOf = (name) => once(`${name}.md`, read);

// A picture as an address that the policy of pages on another host allows too.
export async function pictureOf(file) {
  const blob = await (await asked(file)).blob();
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

// Whose key this browser holds. It is kept for this tab, and beyond it only if its owner says so.

import { ask } from "./api.js";
import { secret } from "./store.js";
import { t } from "./text.js";
import { signal } from "./view.js";

// The account as `/dashboard/status` tells it, with its key; null for nobody.
export const session = signal(null);
export const problem = signal(null);

// Takes the key that was left here. Nobody is signed in when it is no longer good.
export async function resume() {
  const key = secret.get("key");
  if (!key) return;
  try {
    session.value = await whose(key);
  } catch (error) {
    problem.value = error;
    if (error.status === 401) secret.clear("key");
  }
}

export async function signIn(key, remember) {
  const account = await whose(key);
  secret.set("key", key, remember);
  problem.value = null;
  session.value = account;
}

// Goes on with another key of the same account, kept as the one before was.
export function take(key) {
  secret.set("key", key, secret.remembered("key"));
  session.value = { ...session.value, key };
}

export function signOut(why = null) {
  secret.clear("key");
  problem.value = why;
  session.value = null;
}

async function whose(key) {
  // A key is visible ASCII; anything else could not be sent, and the browser's own words for that help nobody.
  if (!/^[\x21-\x7e]+$/.test(key)) throw new Error(t("sign-in.no-key"));
  const { data } = await ask("/dashboard/status", { key });
  return { ...data, key };
}

export async function refresh() {
  if (session.value) session.value = await whose(session.value.key);
}

// Asks as whoever is signed in. A key that is no longer good signs out.
export async function mine(path, options = {}) {
  try {
    return await ask(path, { ...options, key: session.value.key });
  } catch (error) {
    if (error.status === 401 && error.code === "invalid_api_key") signOut(error);
    throw error;
  }
}

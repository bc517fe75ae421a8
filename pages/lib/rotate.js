// A new key for an account: the one before stops at once, or makes calls for so many seconds more.

import { mine, session, take } from "./session.js";

// Root may for everybody, others for themselves.
export const mayRotate = (id) => session.value.admin || id === session.value.id;

// The new key. Whoever renews its own goes on with it, else the answer would sign out before the key is seen.
export async function rotate({ id, name, overlap = 0 }) {
  const { admin, id: own } = session.value;
  const { data: conf } = await mine("/dashboard/conf");
  // The day in the confirmation is the gateway's own.
  const today = new Intl.DateTimeFormat("en-CA", { timeZone: conf.time_zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(new Date());
  const [path, body] = admin ? ["/x-root", { confirm: `${today}-ROTATE-ROOT`, name, overlap }] : ["/x-self", { confirm: `${today}-ROTATE-SELF`, overlap }];
  const { data } = await mine(path, { method: "POST", body });
  if (id === own) take(data.rotate.key);
  return data.rotate.key;
}

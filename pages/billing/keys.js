// Client keys in a text that people paste: an e-mail, a table, a file of variables.

// Whatever looks like a key is asked for, so that a mistyped one has its own row and is not lost in silence.
export function keysIn(text) {
  const found = text.match(/sk-[A-Za-z0-9_-]{4,200}/g) ?? [];
  return [...new Set(found)];
}

export const masked = (key) => (key.length > 16 ? `${key.slice(0, 6)}…${key.slice(-6)}` : `${key.slice(0, 4)}…`);

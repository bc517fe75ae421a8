// What a browser keeps. It may refuse to (private windows, full disks); then it is kept for as long as the page is open.

const device = { store: () => globalThis.localStorage, refused: new Map() };
const tab = { store: () => globalThis.sessionStorage, refused: new Map() };

function at({ store, refused }, name) {
  if (refused.has(name)) return refused.get(name);
  try {
    return store().getItem(name);
  } catch {
    return null;
  }
}

function put({ store, refused }, name, value) {
  try {
    if (value === null) store().removeItem(name);
    else store().setItem(name, value);
    refused.delete(name);
  } catch {
    refused.set(name, value);
  }
}

// Choices that are no secrets.
export const choice = {
  get: (name) => at(device, `proxyxai.${name}`),
  set: (name, value) => put(device, `proxyxai.${name}`, value),
};

// A text that ends with the tab unless its owner wants it remembered on this device.
export const secret = {
  get: (name) => at(tab, `proxyxai.${name}`) ?? at(device, `proxyxai.${name}`),
  remembered: (name) => at(device, `proxyxai.${name}`) !== null,
  set(name, value, remember) {
    this.clear(name);
    put(remember ? device : tab, `proxyxai.${name}`, value);
  },
  clear(name) {
    put(tab, `proxyxai.${name}`, null);
    put(device, `proxyxai.${name}`, null);
  },
};

// What a browser keeps. It may refuse to (private windows, full disks); then it is kept for as long as the page is open.

const memory = new Map();

function at(area, name) {
  try {
    return area().getItem(name);
  } catch {
    return memory.get(name) ?? null;
  }
}

function put(area, name, value) {
  try {
    if (value === null) area().removeItem(name);
    else area().setItem(name, value);
  } catch {
    memory.set(name, value);
  }
}

const device = () => globalThis.localStorage;
const tab = () => globalThis.sessionStorage;

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

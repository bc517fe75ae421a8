// Where one is: the part of the address after `#`, so that any web server can serve the pages: `#calls?model=gpt-4o`.

import { signal } from "./view.js";

function read() {
  const [page, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { page, params: Object.fromEntries(new URLSearchParams(query)) };
}

export const here = signal(read());
addEventListener("hashchange", () => (here.value = read()));

export function link(page, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  return `#${page}${query && `?${query}`}`;
}

export function go(page, params) {
  location.hash = link(page, params);
}

// Changes some parameters of this page; without a step back for each, where `quietly`.
export function change(patch, quietly = false) {
  const { page, params } = here.value;
  const target = link(page, { ...params, ...patch });
  if (quietly) {
    history.replaceState(null, "", target);
    here.value = read();
  } else {
    location.hash = target;
  }
}

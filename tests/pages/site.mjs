// A tiny web server for pages that need no gateway: folders, and pages that a test writes itself.

import fs from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';

export const STRICT_CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const TYPES = {
  '.css': 'text/css', '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json', '.md': 'text/markdown',
  '.png': 'image/png', '.svg': 'image/svg+xml',
};
const UTF8 = new Set(['.css', '.html', '.js', '.json', '.md']);

export class Site {
  #folders = [];
  #texts = new Map();
  #policies = new Map();

  static async start() {
    const site = new Site();
    site.server = http.createServer((request, response) => {
      site.#answer(request, response).catch(() => response.destroy());
    });
    await new Promise((resolve) => site.server.listen(0, '127.0.0.1', resolve));
    site.origin = `http://127.0.0.1:${site.server.address().port}`;
    // What a browser asks for by itself.
    site.text('/favicon.ico', '', '.svg');
    return site;
  }

  /** Serves the files below a folder under a path that ends with a slash. */
  folder(prefix, folder) {
    this.#folders.push([prefix, path.resolve(folder)]);
  }

  text(place, body, extension = '.html') {
    this.#texts.set(place, { body, extension });
  }

  /** Another policy for one page. */
  policy(place, csp) {
    this.#policies.set(place, csp);
  }

  async #find(place) {
    const written = this.#texts.get(place);
    if (written) return written;
    for (const [prefix, folder] of this.#folders) {
      if (!place.startsWith(prefix)) continue;
      const file = path.join(folder, place.slice(prefix.length));
      if (!file.startsWith(folder + path.sep)) continue;
      try {
        return { body: await fs.readFile(file), extension: path.extname(file) };
      } catch {
        // Perhaps another folder has it.
      }
    }
    return null;
  }

  async #answer(request, response) {
    const place = decodeURIComponent(new URL(request.url, this.origin).pathname);
    const found = await this.#find(place);
    if (!found) {
      response.writeHead(404).end();
      return;
    }
    const type = TYPES[found.extension] ?? 'application/octet-stream';
    response.writeHead(200, {
      'content-type': UTF8.has(found.extension) ? `${type}; charset=utf-8` : type,
      'content-security-policy': this.#policies.get(place) ?? STRICT_CSP,
      'x-content-type-options': 'nosniff',
    });
    response.end(found.body);
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

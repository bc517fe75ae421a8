// The gateway's REST API. Everything that it answers is data: nothing of it is ever taken for HTML.

import { api } from "../config.js";
import { t } from "./text.js";

const ANSWER_MS_MAX = 60_000;

// An answer that is none of the 2xx, or no answer.
export class Refused extends Error {
  constructor(status, { message, code, param } = {}) {
    super(message || t("error.status", { status }));
    this.status = status;
    this.code = code ?? "";
    this.param = param ?? "";
  }
}

async function isGateway(origin) {
  try {
    const answer = await fetch(`${origin}/healthz`, { cache: "no-store" });
    return answer.ok && (await answer.text()) === "ok\n";
  } catch {
    return false;
  }
}

async function findBase() {
  if (api) return api.replace(/\/+$/, "");
  if (await isGateway(location.origin)) return location.origin;
  return `https://api.${location.hostname.split(".").slice(-2).join(".")}`;
}

// The gateway's address, without a slash at its end.
export const base = await findBase();

function address(path, query = {}) {
  const url = new URL(base + path);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// What an error says of itself, in whatever shape.
function reason(status, text) {
  const body = parsed(text);
  const error = body?.error;
  if (error && typeof error === "object") return new Refused(status, error);
  const message = typeof error === "string" ? error : body?.message;
  return new Refused(status, { message: typeof message === "string" ? message : "" });
}

// Sends, and has the answer read by `read`; what goes wrong while it is read is as if there had been no answer.
async function send(path, { key, method = "GET", query, body, headers = {}, signal } = {}, read) {
  const init = { method, headers: { ...headers }, cache: "no-store", credentials: "omit", signal };
  if (key) init.headers.authorization = `Bearer ${key}`;
  if (body !== undefined) {
    init.headers["content-type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  try {
    return await read(await fetch(address(path, query), init));
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Refused) throw error;
    throw new Refused(0, { message: t(error.name === "TimeoutError" ? "error.slow" : "error.away") });
  }
}

async function good(answer) {
  if (!answer.ok) throw reason(answer.status, await answer.text());
  return answer;
}

// Asks for JSON, and waits only so long. `total` is the number of rows of a list, where the gateway tells it.
export async function ask(path, options = {}) {
  const limit = AbortSignal.timeout(ANSWER_MS_MAX);
  const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
  return send(path, { ...options, signal }, async (answer) => {
    const text = await (await good(answer)).text();
    const total = answer.headers.get("x-total-count");
    return { data: parsed(text), total: total === null ? null : Number(total), headers: answer.headers };
  });
}

// Asks for a stream, and hands over its answer when it has begun.
export const open = (path, options) => send(path, options, good);

// Has the browser save what a path answers.
export async function download(path, options, name) {
  const file = await send(path, options, async (answer) => (await good(answer)).blob());
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// The API reference: Redoc over the OpenAPI document of the gateway that these pages belong to.

import { base } from "../../lib/api.js";
import { choice } from "../../lib/store.js";
import { t } from "../../lib/text.js";

const DOCUMENT = `${base}/openapi.json`;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const anchor = (href, text) => element("a", { href }, text);

// Redoc keeps its own choice of colours; it begins with the one made on the other pages.
function colours() {
  const theme = choice.get("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.classList.toggle("dark", theme === "dark");
  try {
    localStorage.setItem("redoc.colorMode", theme);
  } catch {
    // Without storage it goes by the system's colours.
  }
}

function note(text, ...more) {
  return element("main", { className: "api-note" }, element("h1", {}, t("docs.api.title")), element("p", {}, text, " ", ...more));
}

const bar = element("header", { className: "api-bar" }, element("strong", {}, `ProxyXAI · ${t("docs.api.title")}`), anchor("../", t("docs.back")));
const place = element("div", { id: "reference" });
const foot = element("footer", { className: "api-foot" }, "Powered by ", anchor("https://proxyxai.com", "ProxyXAI"));

async function found() {
  const answer = await fetch(DOCUMENT, { credentials: "omit" }).catch(() => null);
  if (!answer) return note(t("error.away"));
  if (answer.status === 404) return note(t("docs.api.none"), anchor("../#rest", t("docs.api.rest")));
  if (!answer.ok) return note(t("error.status", { status: answer.status }));
  try {
    return await answer.json();
  } catch {
    return note(t("docs.api.broken"));
  }
}

colours();
document.title = `${t("docs.api.title")} · ProxyXAI`;
document.body.append(bar, place, foot);
const result = await found();
if (result instanceof Element) {
  place.append(result);
} else {
  // Large, so it is loaded only when there is something to show.
  const { init } = await import("../../vendor/redoc.js");
  init(result, { disableTelemetry: true }, place);
}

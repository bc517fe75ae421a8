// The small things that pages are made of.

import { t } from "./text.js";
import { html, signal, useEffect, useId, useRef, useState } from "./view.js";

// === telling ===

const told = signal("");
let hiding = 0;

export function tell(text) {
  told.value = text;
  clearTimeout(hiding);
  hiding = setTimeout(() => (told.value = ""), 5000);
}

// Shown above an open dialog too, which only what the browser itself puts on top is; said by an element that is always there.
export function Toast() {
  const node = useRef(null);
  const text = told.value;
  useEffect(() => {
    if (!node.current.showPopover) return;
    if (node.current.matches(":popover-open")) node.current.hidePopover();
    if (text) node.current.showPopover();
  }, [text]);
  return html`<div role="status" aria-live="polite" class="seen-by-readers">${text}</div><div ref=${node} popover="manual" aria-hidden="true" class=${text ? "toast" : ""}>${text}</div>`;
}

export const Problem = ({ error }) => error && html`<p class="note bad" role="alert">${error.message}</p>`;

export const Chip = ({ kind = "", children }) => html`<span class=${`chip ${kind}`}>${children}</span>`;

// === copying ===

export function Copy({ text, label = t("copy") }) {
  const copy = async (event) => {
    event.stopPropagation();
    try {
      await navigator.clipboard.writeText(text);
      tell(t("copied"));
    } catch {
      // Without HTTPS there is no clipboard: the text is marked, for the user's own copy.
      const code = event.currentTarget?.parentElement?.querySelector("code, pre");
      if (code) getSelection().selectAllChildren(code);
      tell(t("copy-by-hand"));
    }
  };
  return html`<button type="button" onClick=${copy}>${label}</button>`;
}

export const Code = ({ text }) => html`<div class="code"><pre tabindex="0">${text}</pre><${Copy} text=${text} /></div>`;

export const Secret = ({ text }) => html`<div class="secret"><code class="wrap">${text}</code><${Copy} text=${text} /></div>`;

// Nothing is here yet: what it is for, and the next step.
export const Empty = ({ title, text, command, children }) => html`
  <div class="card empty">
    <h2>${title}</h2>
    ${text && html`<p>${text}</p>`}
    ${children}
    ${command && html`<${Code} text=${command} />`}
  </div>`;

// === fields ===

export function Field({ label, hint, error, children, ...input }) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ") || undefined;
  const shared = { id, "aria-describedby": described, "aria-invalid": error ? "true" : undefined, ...input };
  let control = html`<input ...${shared} />`;
  if (input.options) control = html`<${Choice} ...${shared} />`;
  else if (input.rows) control = html`<textarea ...${shared}></textarea>`;
  return html`<div>
    <label for=${id}>${label}</label>
    ${control}
    ${hint && html`<div class="hint" id=${`${id}-hint`}>${hint}</div>`}
    ${error && html`<div class="error-text" id=${`${id}-error`} role="alert">${error}</div>`}
  </div>`;
}

const Choice = ({ options, value, ...rest }) => html`
  <select ...${rest} value=${value}>
    ${options.map(([name, text]) => html`<option value=${name} selected=${name === value}>${text}</option>`)}
  </select>`;

export const Check = ({ label, ...input }) => html`<label class="check"><input type="checkbox" ...${input} />${label}</label>`;

// A button that cannot be pressed twice; what goes wrong is shown beside it.
export function Action({ label, run, kind = "", confirm: question, disabled }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const press = async () => {
    if (question && !confirm(question)) return;
    setBusy(true);
    setError(null);
    try {
      await run();
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  return html`<button type="button" class=${kind} disabled=${busy || disabled} aria-busy=${busy} onClick=${press}>${label}</button>
    ${error && html`<span class="error-text" role="alert">${error.message}</span>`}`;
}

// A field whose text counts when its user stops typing.
export function Search({ value, onSearch, ...rest }) {
  const [text, set] = useState(value);
  useEffect(() => set(value), [value]);
  useEffect(() => {
    if (text === value) return undefined;
    const timer = setTimeout(() => onSearch(text.trim()), 400);
    return () => clearTimeout(timer);
  }, [text]);
  const now = (event) => event.key === "Enter" && onSearch(text.trim());
  return html`<${Field} type="search" autocomplete="off" spellcheck=${false} value=${text}
    onInput=${(event) => set(event.target.value)} onKeyDown=${now} ...${rest} />`;
}

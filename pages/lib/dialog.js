// Dialogs and drawers, by the browser's own element: it keeps the focus inside and closes by Escape.

import { t } from "./text.js";
import { html, useEffect, useId, useRef } from "./view.js";

export function Dialog({ title, drawer, onClose, children }) {
  const element = useRef(null);
  const id = useId();
  useEffect(() => {
    element.current.showModal();
  }, []);
  const outside = (event) => event.target === element.current && element.current.close();
  return html`<dialog ref=${element} class=${drawer ? "drawer" : ""} aria-labelledby=${id} onClose=${onClose} onMouseDown=${drawer && outside}>
    <div class="stack">
      <div class="row between top">
        <h2 id=${id} class="grow wrap">${title}</h2>
        <button type="button" class="quiet" aria-label=${t("close")} onClick=${() => element.current.close()}>✕</button>
      </div>
      ${children}
    </div>
  </dialog>`;
}

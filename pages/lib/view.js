// What the pages are written with: preact, htm and signals, under one name.

import { Fragment, h, render } from "../vendor/preact.js";
import htm from "../vendor/htm.js";

export { Fragment, render };
export { useEffect, useId, useMemo, useRef, useState } from "../vendor/preact-hooks.js";
export { computed, effect, signal } from "../vendor/signals.js";
export const html = htm.bind(h);

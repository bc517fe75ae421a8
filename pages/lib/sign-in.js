// The form that takes a key.

import { Check, Field } from "./parts.js";
import { problem, signIn } from "./session.js";
import { t } from "./text.js";
import { html, useState } from "./view.js";

export function SignIn({ title = t("sign-in.title"), hint = t("sign-in.hint"), then = () => {} }) {
  const [key, setKey] = useState("");
  const [remember, setRemember] = useState(false);
  const [busy, setBusy] = useState(false);
  const enter = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await signIn(key.trim(), remember);
      then();
    } catch (error) {
      problem.value = error;
      setBusy(false);
    }
  };
  return html`<form class="card stack" onSubmit=${enter}>
    <h2>${title}</h2>
    <${Field} label=${t("sign-in.key")} type="password" autocomplete="off" spellcheck=${false} required value=${key}
      hint=${hint} error=${problem.value?.message} onInput=${(event) => setKey(event.target.value)} />
    <${Check} label=${t("sign-in.remember")} checked=${remember} onChange=${(event) => setRemember(event.target.checked)} />
    <div class="row"><button class="main" disabled=${busy || !key.trim()}>${t("sign-in.go")}</button></div>
  </form>`;
}

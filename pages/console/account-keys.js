// The further client keys of an account: made with their secret shown once, changed, switched off and on, deleted.

import { count, money, time } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Action, Chip, Problem, Secret } from "../lib/parts.js";
import { link } from "../lib/route.js";
import { mine } from "../lib/session.js";
import { t } from "../lib/text.js";
import { html, useState } from "../lib/view.js";
import { Form, pathOf } from "./account-keys-form.js";

export function Keys({ account }) {
  const keys = useLoad((signal) => mine(pathOf(account), { signal }).then(({ data }) => data), [account.ID, account.UpdatedAt]);
  const [made, setMade] = useState(null);
  // The key that the form changes, an empty object for a new one, null for no form.
  const [editing, edit] = useState(null);
  const isNew = editing !== null && !editing.ID;
  const onSaved = (key) => {
    if (isNew) setMade(key);
    edit(null);
    keys.reload();
  };
  // The secret of a key that works no longer is of no use to anybody.
  const onEnded = (key) => {
    if (made?.ID === key.ID) setMade(null);
    if (editing?.ID === key.ID) edit(null);
  };
  return html`<section class="stack"><h3>${t("client-keys.title")}</h3>
    <p class="small dim">${t("client-keys.text")}</p>
    <${Problem} error=${keys.error} />
    ${made && html`<div class="stack" role="status"><p>${t("client-keys.made", { name: made.Name })}</p><${Secret} text=${made.SecretKey} /></div>`}
    ${keys.data?.length > 0 && html`<${List} account=${account} keys=${keys.data} onEdit=${edit} onEnded=${onEnded} onChanged=${keys.reload} />`}
    ${editing
      ? html`<${Form} key=${editing.ID} account=${account} existing=${isNew ? null : editing} onSaved=${onSaved} onClose=${() => edit(null)} />`
      : html`<div class="row"><button type="button" onClick=${() => edit({})}>${t("client-keys.new")}</button></div>`}
  </section>`;
}

const isOver = (key) => key.ExpiresAt !== null && Date.parse(key.ExpiresAt) <= Date.now();

function state(key) {
  if (!key.Status) return ["bad", "client-keys.off"];
  return isOver(key) ? ["bad", "client-keys.expired"] : ["good", "client-keys.on"];
}

function List({ keys, ...rest }) {
  return html`<div class="card flush"><div class="table" role="region" tabindex="0" aria-label=${t("client-keys.title")}><table>
    <thead><tr>
      <th scope="col">${t("client-keys.f.Name")}</th><th scope="col">${t("accounts.state")}</th><th scope="col">${t("client-keys.spent")}</th>
      <th scope="col">${t("client-keys.bounds")}</th><th scope="col">${t("client-keys.until")}</th>
    </tr></thead>
    <tbody>${keys.map((key) => html`<${Row} key=${key.ID} it=${key} ...${rest} />`)}</tbody>
  </table></div></div>`;
}

function Row({ account, it, onEdit, onEnded, onChanged }) {
  const [kind, word] = state(it);
  const path = pathOf(account, it);
  const toggle = async () => {
    await mine(path, { method: "PUT", body: { Status: !it.Status } });
    if (it.Status) onEnded(it);
    onChanged();
  };
  const remove = async () => {
    await mine(path, { method: "DELETE" });
    onEnded(it);
    onChanged();
  };
  const bounds = [it.RPM > 0 && t("client-keys.rpm", { n: count(it.RPM) }), it.AllowModels !== "*" && it.AllowModels].filter(Boolean);
  return html`<tr>
    <td class="client-key"><bdi class="clip">${it.Name}</bdi><div class="small dim"><code class="nowrap">…${it.PartialKey}</code></div>
      <div class="row small deeds"><button type="button" class="link" onClick=${() => onEdit(it)}>${t("client-keys.edit")}</button>
        <a href=${link("calls", { user: account.ID, client_key: it.ID })}>${t("client-keys.calls")}</a></div>
      <div class="row small deeds"><${Action} kind="link" label=${t(it.Status ? "client-keys.switch-off" : "client-keys.switch-on")} run=${toggle} />
        <${Action} kind="link bad" label=${t("client-keys.delete")} confirm=${t("client-keys.delete.ask", { name: it.Name })} run=${remove} /></div></td>
    <td><${Chip} kind=${kind}>${t(word)}</${Chip}></td>
    <td><span class="nowrap">${money(it.CreditUsed)}${it.CreditLimit > 0 && html` <span class="dim">/ ${money(it.CreditLimit)}</span>`}</span>
      <div class="small dim">${t("client-keys.requests", { n: count(it.Requests) })}</div>${it.LastUsedAt && html`<div class="small dim">${time(it.LastUsedAt)}</div>`}</td>
    <td class="text">${bounds.length > 0 ? html`<bdi class="clip">${bounds.join(" · ")}</bdi>` : html`<span class="dim">${t("accounts.none-set")}</span>`}</td>
    <td>${it.ExpiresAt ? time(it.ExpiresAt) : html`<span class="dim">${t("client-keys.never")}</span>`}</td>
  </tr>`;
}

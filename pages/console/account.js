// One account in a drawer: where it stands in the tree, what it has of its own and from above, and what can be done.

import { Dialog } from "../lib/dialog.js";
import { count, money, time } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Action, Problem, Secret, tell } from "../lib/parts.js";
import { mayRotate, rotate } from "../lib/rotate.js";
import { change, link } from "../lib/route.js";
import { mine, session } from "../lib/session.js";
import { Pairs } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html, useState } from "../lib/view.js";
import { Edit } from "./account-edit.js";
import { GROUPS, asText, fromAbove, isNone, ownCounts } from "./account-fields.js";
import { Keys } from "./account-keys.js";
import { State } from "./accounts.js";

// No tree of people is deeper; the top of a deeper one is left out.
const ABOVE_MAX = 32;
// A day: enough to put a new key wherever the old one is.
const OVERLAP_SECONDS = 86400;

const info = async (user, signal) => (await mine("/x-info", { query: { user }, signal })).data;

// An account and those above it, from the top down, as far as the caller may see them.
export async function lineage(id, signal) {
  const account = await info(id, signal);
  const ids = account.DNA.split(".").filter(Boolean);
  const seen = ids.slice(Math.max(0, ids.indexOf(String(session.value.id))), -1).slice(-ABOVE_MAX);
  return { account, above: await Promise.all(seen.map((each) => info(each, signal))) };
}

export function Drawer({ id, editing, onChanged }) {
  const found = useLoad((signal) => lineage(id, signal), [id]);
  const [secret, setSecret] = useState("");
  const changed = () => {
    found.reload();
    onChanged();
  };
  const { account, above } = found.data ?? {};
  const title = account ? html`<bdi>${account.Name}</bdi>` : id;
  return html`<${Dialog} drawer title=${title} onClose=${() => change({ open: "", edit: "" }, true)}>
    <${Problem} error=${found.error} />
    ${!account && found.loading && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${secret && html`<div class="stack"><p>${t("accounts.new-key")}</p><${Secret} text=${secret} /></div>`}
    ${account && !editing && html`<${View} account=${account} above=${above} onChanged=${changed} onSecret=${setSecret} />`}
    ${account && editing && html`<${Edit} account=${account} above=${above} onDone=${() => { changed(); change({ edit: "" }, true); }} />`}
  </${Dialog}>`;
}

function View({ account, above, onChanged, onSecret }) {
  return html`
    <${Path} account=${account} above=${above} />
    <div class="tiles small-tiles">
      <div class="tile"><span class="dim">${t("accounts.balance")}</span><b>${account.ID === 1 ? "–" : money(account.Balance)}</b></div>
      <div class="tile"><span class="dim">${t("accounts.month")}</span><b>${money(account.MonthlyUsage.CreditUsed)}</b></div>
      <div class="tile"><span class="dim">${t("accounts.used")}</span><b>${money(account.CreditUsed)}</b></div>
      <div class="tile"><span class="dim">${t("accounts.requests")}</span><b>${count(account.Requests)}</b></div>
    </div>
    <nav class="row" aria-label=${t("accounts.more")}>
      <a class="button" href=${link("calls", { user: account.ID })}>${t("calls.title")}</a>
      <a class="button" href=${link("spend", { user: account.ID })}>${t("spend.title")}</a>
      <a class="button" href=${link("money", { user: account.ID })}>${t("money.title")}</a>
      <a class="button" href=${link("audit", { target_id: account.ID })}>${t("audit.title")}</a>
      ${account.Child > 0 && html`<a class="button" href=${link("accounts", { dna: account.DNA })}>${t("accounts.below-it", { n: count(account.Child) })}</a>`}
    </nav>
    <${Deeds} account=${account} onChanged=${onChanged} onSecret=${onSecret} />
    <${Pairs} pairs=${[
      [t("accounts.state"), html`<${State} account=${account} />${stoppedBy(above)}`],
      ["ID", `${account.ID} · ${account.DNA}`],
      [t("accounts.key"), html`<code>…${account.PartialKey}</code>`],
      [t("accounts.email"), html`<bdi>${account.Email}</bdi> · ${account.EmailVerified ? t("accounts.verified") : t("accounts.unverified")}`],
      account.Alias !== account.Name && account.Alias && [t("accounts.f.Alias"), html`<bdi>${account.Alias}</bdi>`],
      account.BillingEmail && [t("accounts.f.BillingEmail"), html`<bdi>${account.BillingEmail}</bdi>`],
      [t("accounts.created"), time(account.CreatedAt)],
      [t("accounts.updated"), time(account.UpdatedAt)],
    ]} />
    <${Keys} account=${account} />
    ${GROUPS.filter(([group]) => group !== "who").map(([group, fields]) => html`<${Group} key=${group} group=${group} fields=${fields} account=${account} above=${above} />`)}
    ${session.value.admin || html`<p class="small dim">${t("accounts.above-you")}</p>`}`;
}

function stoppedBy(above) {
  const by = above.find((each) => each.Suspended || each.Status === false);
  return by && html` <span class="error-text">${t("accounts.stopped-by", { name: by.Name })}</span>`;
}

const Path = ({ account, above }) => above.length > 0 && html`<nav aria-label=${t("accounts.path")} class="small wrap">
  ${above.map((each) => html`<a href="#accounts" onClick=${(event) => { event.preventDefault(); change({ open: each.ID, edit: "" }); }}><bdi>${each.Name}</bdi></a><span class="dim"> › </span>`)}
  <span aria-current="page"><bdi>${account.Name}</bdi></span>
</nav>`;

function Group({ group, fields, account, above }) {
  return html`<section class="stack"><h3>${t(`accounts.g.${group}`)}</h3>
    <div class="card flush"><div class="table" role="region" tabindex="0" aria-label=${t(`accounts.g.${group}`)}><table class="own-and-above">
      <thead><tr><th scope="col">${t("accounts.field")}</th><th scope="col">${t("accounts.own")}</th><th scope="col">${t("accounts.from-above")}</th></tr></thead>
      <tbody>${fields.map((field) => html`<${Line} key=${field.name} field=${field} own=${account[field.name]} given=${fromAbove(field, above)} />`)}</tbody>
    </table></div></div>
  </section>`;
}

// What counts is in bold; a list counts together with those above.
function Line({ field, own, given }) {
  const isOwn = ownCounts(field, own, given);
  const strong = (is, text) => (is && given.length > 0 ? html`<b>${text}</b>` : text);
  return html`<tr>
    <td title=${field.name}>${t(`accounts.f.${field.name}`)}</td>
    <td class="text">${strong(isOwn, html`<${Value} field=${field} value=${own} />`)}</td>
    <td class="text">${given.map(({ account, value }) => html`<div>${strong(!isOwn || field.rule === "list", html`<${Value} field=${field} value=${value} />`)} <span class="dim small">· <bdi>${account.Name}</bdi></span></div>`)}
      ${given.length === 0 && html`<span class="dim">–</span>`}</td>
  </tr>`;
}

export function Value({ field, value }) {
  if (isNone(field, value)) return html`<span class="dim">${t(field.kind === "list" ? "accounts.all" : "accounts.none-set")}</span>`;
  if (field.kind === "list" && value === "") return t("accounts.nothing");
  if (field.kind === "money") return money(value);
  if (field.kind === "whole") return count(value);
  const text = asText(field, value);
  return text ? html`<bdi class="clip">${text}</bdi>` : html`<span class="dim">–</span>`;
}

function Deeds({ account, onChanged, onSecret }) {
  const isSelf = account.ID === session.value.id;
  const put = async (body) => {
    await mine(`/x-users/${account.ID}`, { method: "PUT", body });
    onChanged();
  };
  const rotated = (overlap) => async () => {
    onSecret(await rotate({ id: account.ID, name: account.Name, overlap }));
    onChanged();
  };
  const remove = async () => {
    const { data } = await mine(`/x-users/${account.ID}`, { method: "DELETE" });
    onChanged();
    change({ open: "" }, true);
    tell(t(data.Pending ? "accounts.deleted-pending" : "accounts.deleted", { name: account.Name, refund: money(data.Refund), pending: money(data.Pending) }));
  };
  const name = account.Name;
  const fee = session.value.admin ? t("accounts.no-fee") : t("accounts.fee");
  const isStopped = account.Suspended || account.Status === false;
  return html`<div class="row">
    ${account.ID !== 1 && html`<button type="button" class="main" onClick=${() => change({ edit: "1" })}>${t("accounts.edit")}</button>`}
    ${!isSelf && (isStopped
      ? html`<${Action} label=${t("accounts.resume")} run=${() => put({ Suspended: false, Status: true })} />`
      : html`<${Action} label=${t("accounts.suspend")} confirm=${t("accounts.suspend.ask", { name })} run=${() => put({ Suspended: true })} />`)}
    ${mayRotate(account.ID) && html`<${Action} label=${t("accounts.rotate")} confirm=${t("accounts.rotate.ask", { name })} run=${rotated(0)} />`}
    ${mayRotate(account.ID) && html`<${Action} label=${t("accounts.rotate-later")} confirm=${t("accounts.rotate-later.ask", { name })} run=${rotated(OVERLAP_SECONDS)} />`}
    ${!isSelf && html`<${Action} kind="bad" label=${t("accounts.delete")} confirm=${t("accounts.delete.ask", { name, balance: money(account.Balance), fee, child: count(account.Child) })} run=${remove} />`}
  </div>`;
}

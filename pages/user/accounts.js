// The list of sub-accounts, a page at a time, and what opens from it: a new account, or one of them.

import { compact, day, money } from "../lib/format.js";
import { Dialog } from "../lib/dialog.js";
import { Handed } from "../lib/handed.js";
import { useLoad } from "../lib/load.js";
import { Empty, Field, Problem, tell } from "../lib/parts.js";
import { change, here } from "../lib/route.js";
import { mine, session } from "../lib/session.js";
import { Pager, Table } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html, useState } from "../lib/view.js";
import { Form } from "../console/hand-out-one.js";
import { Account, State } from "./account.js";

const ROWS = 50;

const COLUMNS = [
  { name: "name", title: t("user.name"), order: "name", cell: (row) => html`<bdi class="clip">${row.Name}</bdi>` },
  { name: "mail", title: t("user.mail"), text: true, cell: (row) => html`<bdi class="clip">${row.Email}</bdi>` },
  { name: "key", title: t("user.key"), cell: (row) => html`<code class="nowrap">…${row.PartialKey.slice(-6)}</code>` },
  { name: "credit", title: t("user.credit"), num: true, cell: (row) => money(row.Balance) },
  { name: "used", title: t("user.used"), num: true, cell: (row) => money(row.CreditUsed) },
  { name: "requests", title: t("user.requests"), num: true, cell: (row) => compact(row.Requests) },
  { name: "created", title: t("user.created"), num: true, order: "id", cell: (row) => day(row.CreatedAt) },
  { name: "state", title: t("user.state"), cell: (row) => html`<${State} account=${row} />` },
];

async function load({ page, order, find }, signal) {
  try {
    const path = find ? `/x-users/${encodeURIComponent(find)}` : "/x-users";
    const { data, total } = await mine(path, { query: find ? {} : { page, size: ROWS, order }, signal });
    return { rows: data, total: total ?? data.length };
  } catch (error) {
    if (find && error.status === 404) return { rows: [], total: 0 };
    throw error;
  }
}

export function Accounts({ least }) {
  const { params } = here.value;
  const page = Number(params.page ?? 1);
  const order = params.order ?? "-id";
  const find = params.find ?? "";
  const list = useLoad((signal) => load({ page, order, find }, signal), [page, order, find]);
  const [isNew, setNew] = useState(false);
  const rows = list.data?.rows ?? [];
  const total = list.data?.total ?? 0;
  // A list costs whoever is not root, so a change is put into the one that is here instead of asking for it anew.
  const put = (id, patch) => list.set({ ...list.data, rows: rows.map((row) => (row.ID === id ? { ...row, ...patch } : row)) });
  const drop = (id) => list.set({ total: total - 1, rows: rows.filter((row) => row.ID !== id) });
  return html`<${Find} find=${find} onNew=${() => setNew(true)} />
    <${Problem} error=${list.error} />
    ${list.loading && !list.data && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${list.data && rows.length === 0 && (find ? html`<${Empty} title=${t("user.no-match")} text=${t("user.no-match-text")} />`
      : html`<${Empty} title=${t("user.none")} text=${t("user.none-text")}><button type="button" class="main" onClick=${() => setNew(true)}>${t("user.new")}</button></${Empty}>`)}
    ${rows.length > 0 && html`<${Table} label=${t("user.title")} columns=${COLUMNS} rows=${rows} rowKey=${(row) => row.ID} loading=${list.loading} sort=${order}
      onSort=${(next) => change({ order: next, page: "" })} onOpen=${(id) => change({ open: id }, true)} />
      ${total > ROWS && html`<${Pager} page=${page} pages=${Math.ceil(total / ROWS)} total=${total} onPage=${(next) => change({ page: next })} />`}`}
    ${!session.value.admin && html`<p class="small dim">${t("user.list-fee")}</p>`}
    ${params.open && html`<${Account} id=${params.open} key=${params.open} onPut=${put} onDrop=${drop} onClose=${() => change({ open: "" }, true)} />`}
    ${isNew && html`<${New} least=${least} onMade=${list.reload} onClose=${() => setNew(false)} />`}`;
}

function Find({ find, onNew }) {
  const [text, setText] = useState(find);
  const go = (event) => {
    event.preventDefault();
    change({ find: text.trim(), page: "" });
  };
  return html`<form class="card row finding" onSubmit=${go}>
    <div class="grow"><${Field} label=${t("user.find")} type="search" autocomplete="off" spellcheck=${false} value=${text} onInput=${(event) => setText(event.target.value)} /></div>
    <button>${t("user.find-go")}</button><button type="button" class="main" onClick=${onNew}>${t("user.new")}</button></form>`;
}

// Its form, and then its key.
function New({ least, onMade, onClose }) {
  const [made, setMade] = useState(null);
  const done = (account) => {
    setMade(account);
    tell(t("user.made"));
  };
  const close = () => {
    onClose();
    if (made) onMade();
  };
  return html`<${Dialog} title=${made ? `${t("hand-out.made")} ${made.Name}` : t("user.new")} onClose=${close}>
    ${made ? html`<${Handed} secret=${made.SecretKey} admin=${session.value.admin} />` : html`<${Form} least=${least} onMade=${done} />`}
  </${Dialog}>`;
}


// News: what the caller has to read, posting to those below, and taking back.

import { count, day, time } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { Action, Empty, Field, Problem, tell } from "../lib/parts.js";
import { change } from "../lib/route.js";
import { mine, session } from "../lib/session.js";
import { Pager, Table } from "../lib/table.js";
import { t } from "../lib/text.js";
import { html, useState } from "../lib/view.js";

const ROWS = 20;
const BOARDS = ["system_news", "user_news", "dna_news"];

export function Page({ params }) {
  const board = useLoad((signal) => mine("/dashboard/news", { signal }).then(({ data }) => data), []);
  const count = board.data && BOARDS.reduce((sum, name) => sum + board.data[name].length, 0);
  return html`
    <${Problem} error=${board.error} />
    ${board.loading && !board.data && html`<p class="dim" role="status">${t("loading")}</p>`}
    ${count === 0 && html`<${Empty} title=${t("news.none")} text=${t("news.none.text")} />`}
    ${count > 0 && BOARDS.map((name) => html`<${Board} key=${name} name=${name} news=${board.data[name]} />`)}
    ${session.value.manage || session.value.admin
      ? html`<${Desk} params=${params} onChanged=${board.reload} />`
      : html`<p class="small dim">${t("news.unmanaged")}</p>`}`;
}

// What the caller and those below it posted, and posting more.
function Desk({ params, onChanged }) {
  const page = Math.max(1, Number(params.page) || 1);
  const posted = useLoad((signal) => mine("/x-news", { query: { page, size: ROWS }, signal }), [page]);
  const changed = () => {
    posted.reload();
    onChanged();
  };
  return html`<${Post} to=${params.to ?? ""} onPosted=${changed} />
    <${Problem} error=${posted.error} />
    ${posted.data?.total > 0 && html`<section class="stack"><h2>${t("news.list")}</h2><p class="small dim">${t("news.list.text")}</p>
      <${Table} label=${t("news.list")} columns=${columns(changed)} rows=${posted.data.data} rowKey=${(row) => row.id} loading=${posted.loading} />
      ${posted.data.total > ROWS && html`<${Pager} page=${page} pages=${Math.ceil(posted.data.total / ROWS)} total=${count(posted.data.total)} onPage=${(next) => change({ page: next })} />`}
    </section>`}`;
}

// An account's place in the tree stands for all below it too.
function To({ row }) {
  if (!row.target) return t("news.to.all");
  const name = row.target_name || row.target;
  return row.target.startsWith(".") ? t("news.list.below", { name }) : html`<bdi class="clip">${name}</bdi>`;
}

const columns = (changed) => [
  { name: "title", title: t("news.headline"), text: true, cell: (row) => html`<bdi class="clip">${row.title}</bdi>` },
  { name: "to", title: t("news.to"), text: true, cell: (row) => html`<${To} row=${row} />` },
  { name: "from", title: t("news.from"), text: true, cell: (row) => html`<bdi class="clip">${row.from}</bdi>` },
  { name: "at", title: t("news.at"), cell: (row) => html`<span class="nowrap">${time(row.created_at)}</span>` },
  { name: "until", title: t("news.until"), cell: (row) => html`<span class="nowrap">${day(row.expires_at)}</span>` },
  { name: "delete", title: t("news.delete"), cell: (row) => html`<${Action} kind="bad" label=${t("news.delete")} confirm=${t("news.delete.ask", { title: row.title })}
    run=${async () => {
      await mine("/x-news", { method: "DELETE", query: { id: row.id } });
      tell(t("news.deleted"));
      changed();
    }} />` },
];

const Board = ({ name, news }) => news.length > 0 && html`<section class="stack">
  <h2>${t(`news.${name}`)}</h2>
  ${news.map((one) => html`<article class="card stack">
    <h3 class="wrap"><bdi>${one.title}</bdi></h3>
    <p class="wrap lines" dir="auto">${one.content}</p>
    <p class="small dim wrap">${t("news.by", { from: one.from, at: time(one.created_at), until: time(one.expires_at) })}</p>
  </article>`)}
</section>`;

// An account and all below it are named by its place in the tree.
async function target(to, whom) {
  if (to === "all") return "/x-news";
  if (to === "one") return `/x-news/${encodeURIComponent(whom)}`;
  const { data } = await mine("/x-info", { query: { user: whom } });
  return `/x-news/${encodeURIComponent(data.DNA)}`;
}

function Post({ to: whomFirst, onPosted }) {
  const [form, setForm] = useState({ to: whomFirst || !session.value.admin ? "below" : "all", whom: whomFirst, title: "", content: "", days: "" });
  const [wrong, setWrong] = useState({});
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const put = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const whose = session.value.admin ? ["all", "one", "below"] : ["below", "one"];
  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    setWrong({});
    try {
      const body = { title: form.title, content: form.content, ...(form.days && { days: Number(form.days) }) };
      await mine(await target(form.to, form.whom.trim()), { method: "POST", body });
      setForm({ ...form, title: "", content: "", days: "" });
      tell(t("news.posted"));
      onPosted();
    } catch (error) {
      if (error.param && error.param in form) setWrong({ [error.param]: error.message });
      else if (error.status === 404) setWrong({ whom: error.message });
      else setProblem(error);
    }
    setBusy(false);
  };
  const isNamed = form.to === "all" || form.whom.trim() !== "";
  return html`<form class="card stack" onSubmit=${send}>
    <h2>${t("news.post")}</h2>
    <div class="fields">
      <${Field} label=${t("news.to")} options=${whose.map((name) => [name, t(`news.to.${name}`)])} value=${form.to} onChange=${put("to")} />
      ${form.to !== "all" && html`<${Field} label=${t("news.whom")} required value=${form.whom} error=${wrong.whom} placeholder=${t("news.whom.hint")} onInput=${put("whom")} />`}
      <${Field} label=${t("news.days")} type="number" min="1" max="365" value=${form.days} error=${wrong.days} placeholder=${form.to === "all" ? "7" : "32"} onInput=${put("days")} />
    </div>
    <${Field} label=${t("news.headline")} required value=${form.title} error=${wrong.title} onInput=${put("title")} />
    <${Field} label=${t("news.content")} rows=${6} required value=${form.content} error=${wrong.content} hint=${t("news.content.hint")} onInput=${put("content")} />
    <${Problem} error=${problem} />
    <div class="row"><button class="main" disabled=${busy || !isNamed}>${t("news.send")}</button></div>
  </form>`;
}

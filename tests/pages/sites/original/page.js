// Asks a gateway the way that pages of the years before ask theirs: the same paths, headers and bodies from another
// origin, and the same trust in what comes. Where one of them would fall over, this one does.
//
// `?api=ORIGIN&generation=YEAR` chooses the gateway, and which of them it stands for.

const parameters = new URLSearchParams(location.search);
const api = parameters.get('api');

const dollars = (number) => `$${number.toFixed(2)}`;
const wide = (number) => (Math.abs(number) >= 1e8 ? number.toExponential(2) : Math.round(number).toLocaleString());

// Where each generation reads an account, and what it shows of its limits. Only the last looks at the status of an answer in time.
const GENERATIONS = {
  2023: { path: '/dashboard/x_user/info', limits: (user) => [dollars(user.hard_limit), user.rate_limit] },
  '2024-05': { path: '/dashboard/x-user-info', limits: (user) => [dollars(user.hard_limit), user.rate_limit] },
  '2024-07': { path: '/dashboard/x-user-info', limits: (user) => [dollars(user.hard_limit), user.rpm] },
  '2024-11': { path: '/dashboard/x-user-info', limits: (user) => [wide(user.rpm), wide(user.tpd)] },
  '2025-06': { path: '/dashboard/x-user-info', limits: (user) => [wide(user.rpm), wide(user.tpd)], looksAtStatus: true },
  '2025-07': { path: '/dashboard/info', limits: (user) => [wide(user.rpm), wide(user.tpd)], looksAtStatus: true },
};
const generation = GENERATIONS[parameters.get('generation')];

function tell(value) {
  document.querySelector('#result').textContent = typeof value === 'string' ? value : JSON.stringify(value);
}

const on = (form, run) => document.querySelector(form).addEventListener('submit', (event) => {
  event.preventDefault();
  run(new FormData(event.target), event.submitter.value).catch((error) => tell(`failed: ${error.message}`));
});

// === balances of keys ===

function cellsOf(user) {
  const { credit_balance: cards, daily_usage: day, monthly_usage: month } = user;
  return [
    `${user.id} ${user.level} ${user.child} ${user.name} ${user.email} ${new Date(user.create_at).getFullYear()}`,
    cards.map((card) => `${dollars(card.amount)} ${dollars(card.balance)} ${new Date(card.expires_at).getFullYear()}`).join(', '),
    `${dollars(user.credit_used)} ${dollars(user.balance)}`,
    `${dollars(day.CreditUsed)} ${dollars(month.CreditUsed)}`,
    `${day.Requests.toLocaleString()} ${month.Requests.toLocaleString()}`,
    ...generation.limits(user),
  ];
}

async function balanceOf(key) {
  try {
    const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };
    const answer = await fetch(api + generation.path, { headers });
    if (!answer.ok) return generation.looksAtStatus ? ['Error'] : undefined;
    return cellsOf(await answer.json());
  } catch {
    return ['Error'];
  }
}

on('#balances', async (form) => {
  const keys = [...new Set(form.get('text').match(/sk-Xvs\w+/g))];
  const answers = await Promise.all(keys.map(balanceOf));
  // An answer that is none leaves all rows undrawn.
  const lines = answers.map((cells, at) => [`${keys[at].slice(0, 8)}***${keys[at].slice(-4)}`, cells[0] === 'Error' ? 'no such key, or suspended' : cells.join(' | ')]);
  document.querySelector('#rows').replaceChildren(...lines.map((texts) => {
    const row = document.createElement('tr');
    row.append(...texts.map((text) => Object.assign(document.createElement('td'), { textContent: text })));
    return row;
  }));
  tell('drawn');
});

// === sub-accounts: the key stands in the header as it is ===

on('#account', async (form, deed) => {
  const name = form.get('name').trim();
  const fields = form.get('fields') ? JSON.parse(form.get('fields')) : {};
  const [method, path, body] = {
    create: ['POST', '/x-users', { Name: name, ...fields }],
    recharge: ['PUT', `/x-users/${name}`, fields],
    view: ['GET', name ? `/x-dna/${name}` : '/x-dna'],
    // The name stands in the body as well, also where it is an ID.
    update: ['PUT', `/x-users/${name}`, { Name: name, ...fields }],
    delete: ['DELETE', `/x-users/${name}`],
  }[deed];
  const headers = { 'Content-Type': 'application/json', Authorization: form.get('key') };
  const answer = await fetch(api + path, { method, headers, body: JSON.stringify(body) });
  if (answer.status === 401) return tell('signed out');
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.message || data.error);
  return tell(data);
});

// === the manager: who one is, and what was used ===

async function enter(key) {
  const answer = await fetch(api + generation.path, { headers: { Authorization: `Bearer ${key}` } });
  const user = answer.ok ? await answer.json() : {};
  return user.name ? `${user.name} ${dollars(user.balance)}` : 'refused';
}

async function bill(key, query) {
  const answer = await fetch(`${api}/dashboard/bill${query && `?${query}`}`, { headers: { Authorization: key } });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const data = await answer.json();
  const models = Object.entries(data.usage_summary).map(([model, { model_stats: stats, usage_analysis: share }]) =>
    `${model} ${stats.Requests} ${stats.Prompt} ${stats.Completion} ${dollars(stats.CreditUsed)} ${share.cost_percentage.toFixed(2)}%`);
  const days = [...data.daily_costs].sort((a, b) => b.timestamp - a.timestamp).map((day) =>
    `${day.date} ${day.total_requests} ${dollars(day.total_credit_used)} ${day.line_items?.map((item) => `${item.name} ${item.cost.toFixed(2)}`) ?? ''}`);
  return { total: [data.total_credit_used, data.total_requests, data.total_prompt, data.total_completion], models, days };
}

on('#manager', async (form, deed) => tell(await (deed === 'enter' ? enter(form.get('key')) : bill(form.get('key'), form.get('query')))));

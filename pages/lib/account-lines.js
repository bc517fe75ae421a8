// Accounts out of pasted lines: name, mail and credit of each, in whatever order, and what is wrong with them.

const NAME_MIN = 4;
const NAME_MAX = 63;
export const LINES_MAX = 500;

const isMail = (text) => text.includes("@");
const amount = (text) => /^[$¥]?\s*-?\d+(\.\d+)?\s*\$?$/.test(text);
const HEADS = new Set(["name", "mail", "email", "e-mail", "credit", "名称", "邮箱", "额度", "账户"]);

// "Alice Li alice@example.com" is a name and a mail, as in an address of a mail.
function apart(part) {
  if (!isMail(part)) return [part];
  const words = part.trim().split(/\s+/);
  return [words.filter((word) => !isMail(word)).join(" "), ...words.filter(isMail)];
}

// Commas, tabs and the like part the values; where there are none, blanks do.
function parts(line) {
  const plain = line.replace(/[<>"“”]/g, " ");
  const marked = /[,;\t，；、|]/.test(plain) ? plain.split(/[,;\t，；、|]/).flatMap(apart) : plain.split(/\s+/);
  return marked.map((part) => part.trim()).filter(Boolean);
}

function read(line) {
  const row = { name: "", mail: "", credit: "", problems: [] };
  for (const part of parts(line)) {
    const kind = isMail(part) ? "mail" : amount(part) ? "credit" : "name";
    const value = kind === "credit" ? part.replace(/[$¥\s]/g, "") : part;
    if (row[kind] === "") row[kind] = value;
    else row.problems.push(`two-${kind}`);
  }
  return row;
}

const isHead = (line) => parts(line).every((part) => HEADS.has(part.toLowerCase()));

// What keeps an account from being made, by name of a text. The gateway's own rules have the last word.
export function problemsOf({ name, mail, credit }, least = 0) {
  const found = [];
  if (name.length < NAME_MIN || name.length > NAME_MAX) found.push("name-length");
  else if (!/\p{L}/u.test(name) || /[/@<>&"`]|^\./.test(name)) found.push("name-form");
  if (!mail) found.push("no-mail");
  else if (!/^[^\s@]+@[^\s@]+$/.test(mail)) found.push("mail-form");
  if (credit === "") found.push("no-credit");
  else if (!(Number(credit) > 0)) found.push("credit-form");
  else if (Number(credit) < least) found.push("credit-least");
  return found;
}

// The rows of a pasted text. `credit` is for lines without one, `least` the smallest that may be granted.
export function readLines(text, { credit = "", least = 0 } = {}) {
  const seen = new Map();
  const lines = text.split(/\r?\n/).map((line, at) => ({ line, at: at + 1 })).filter(({ line }) => line.trim() !== "");
  if (lines.length > 0 && isHead(lines[0].line)) lines.shift();
  return lines.map(({ line, at }) => {
    const row = read(line);
    if (!row.name && row.mail) row.name = row.mail.split("@")[0];
    if (row.credit === "") row.credit = credit;
    const problems = [...row.problems, ...problemsOf(row, least)];
    for (const kind of ["name", "mail"]) {
      const value = row[kind].toLowerCase();
      if (value && seen.has(`${kind} ${value}`)) problems.push(`same-${kind}`);
      seen.set(`${kind} ${value}`, at);
    }
    return { ...row, at, problems };
  });
}

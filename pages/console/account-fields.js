// What an account has of its own, and what those above it add: by the rules of docs/rest.md, and nothing else.

// What root has is no limit; whoever has as much has none either.
const NONE = { RPM: 6666666, RPH: 66666666, RPD: 666666666, TPM: 6666666666, TPH: 66666666666, TPD: 666666666666, ChildLimit: 88888888 };

// `rule` says how those above count: `cap`, the smallest of all; `list`, each of them; `nearest`, the nearest that has
// something while the account has nothing; `floor`, the parent's at least. Without one the account's own counts alone.
export const GROUPS = [
  ["who", [
    { name: "Name", kind: "text", is: "required" },
    { name: "Alias", kind: "text" },
    { name: "Email", kind: "text", is: "required" },
    { name: "BillingEmail", kind: "text" },
    { name: "QRCode", kind: "text" },
  ]],
  ["spending", [
    { name: "HardLimit", kind: "money", rule: "cap" },
    { name: "SoftLimit", kind: "money" },
    { name: "AutoQuota", kind: "money" },
    { name: "Rates", kind: "number", rule: "floor" },
    { name: "Factor", kind: "number", root: true },
  ]],
  ["windows", [
    ...["RPM", "RPH", "RPD", "TPM", "TPH", "TPD"].map((name) => ({ name, kind: "whole", rule: "cap" })),
    { name: "CallsMax", kind: "whole", rule: "cap" },
    { name: "ChildLimit", kind: "whole" },
    { name: "ModelLimits", kind: "object", rule: "nearest" },
  ]],
  ["access", ["AllowModels", "AllowIPs", "AllowLevels", "Resources"].map((name) => ({ name, kind: "list", rule: "list" }))],
  ["routing", [
    { name: "Level", kind: "whole" },
    { name: "Gear", kind: "whole" },
    ...["ModelMapper", "LevelMapper", "SwitchOver", "ModelFailover"].map((name) => ({ name, kind: "rules", rule: "nearest" })),
  ]],
  ["labels", [{ name: "Role", kind: "whole" }, { name: "Tier", kind: "whole" }]],
];
export const FIELDS = GROUPS.flatMap(([, fields]) => fields);

const isCapped = (name) => name === "HardLimit" || name === "CallsMax";

// Whether a value says nothing: no limit, no list, no rule.
export function isNone({ name, kind }, value) {
  if (kind === "list") return value === "*";
  if (kind === "rules") return value === "";
  if (kind === "object") return Object.keys(value ?? {}).length === 0;
  if (name in NONE) return value >= NONE[name];
  return isCapped(name) && value === 0;
}

// What those above give, the nearest first: `[{ account, value }]`. `above` is from the top down.
export function fromAbove(field, above) {
  const upwards = [...above].reverse();
  const given = upwards.map((account) => ({ account, value: account[field.name] }));
  const some = given.filter(({ account, value }) => account.ID !== 1 && !isNone(field, value));
  if (field.rule === "list") return given.filter(({ value }) => !isNone(field, value));
  if (field.rule === "nearest") return some.slice(0, 1);
  if (field.rule === "floor") return given.slice(0, 1);
  if (field.rule !== "cap") return [];
  const least = Math.min(...some.map(({ value }) => value));
  return some.filter(({ value }) => value === least).slice(0, 1);
}

// Whether the account's own value is what counts, where only one of them can.
export function ownCounts(field, own, given) {
  if (given.length === 0 || field.rule === "list" || field.rule === "floor") return true;
  if (field.rule === "nearest") return !isNone(field, own);
  return !isNone(field, own) && own <= given[0].value;
}

// A value as the form shows it, and as it is sent.
export function asText(field, value) {
  if (field.kind === "object") return isNone(field, value) ? "" : JSON.stringify(value);
  // No window is an empty field, not a row of sixes.
  return field.name in NONE && isNone(field, value) ? "" : String(value ?? "");
}

const items = (text) => text.split(/[\s,]+/).filter(Boolean);

// The edits that make one list of another: the API adds and removes, one of them in a change.
export function listEdits(before, after) {
  const [old, now] = [items(before), items(after)];
  if (after.trim() === "*" || before === after) return before === "*" ? [] : ["*"];
  if (now.length === 0) return ["-*"];
  const added = now.filter((item) => before === "*" || !old.includes(item));
  const removed = before === "*" ? [] : old.filter((item) => !now.includes(item));
  return [added.join(","), removed.length > 0 && `-${removed.join(",")}`].filter(Boolean);
}

function parse(field, text) {
  if (field.kind === "object") {
    if (text.trim() === "") return {};
    return JSON.parse(text);
  }
  if (field.kind === "text" || field.kind === "rules") return text.trim();
  if (field.name in NONE && text.trim() === "") return NONE[field.name];
  const number = Number(text.trim());
  if (text.trim() === "" || !Number.isFinite(number) || number < 0) throw new Error("number");
  if (field.kind === "whole" && !Number.isInteger(number)) throw new Error("whole");
  return number;
}

// What a form changes: the bodies to send one after another, and what is wrong by field.
export function changes(account, texts) {
  const [first, second, wrong] = [{}, {}, {}];
  for (const field of FIELDS) {
    const [before, after] = [asText(field, account[field.name]), texts[field.name]];
    if (after === undefined || after === before) continue;
    if (field.kind === "list") {
      const edits = listEdits(before, after);
      if (edits.length > 0) first[field.name] = edits[0];
      if (edits.length > 1) second[field.name] = edits[1];
      continue;
    }
    if (field.is === "required" && !after.trim()) wrong[field.name] = "required";
    else {
      try {
        first[field.name] = parse(field, after);
      } catch (error) {
        wrong[field.name] = field.kind === "object" ? "json" : error.message;
      }
    }
  }
  return { bodies: [first, second].filter((body) => Object.keys(body).length > 0), wrong };
}

// All settings that `/x-config` has: where each is shown, its documented default and how it is written.

// Name, default, kind: `words` (one of those named), `pairs` (comma-separated, one a line here), `json`, `number`, `text` or `secret`.
const setting = (name, standard, kind = "text", words = []) => ({ name, standard, kind, words });

export const GROUPS = [
  ["routing", [
    setting("MODEL_MAPPER", "", "pairs"),
    setting("LEVEL_MAPPER", "", "pairs"),
    setting("SWITCH_OVER", "", "pairs"),
    setting("MODEL_FAILOVER", "", "pairs"),
    setting("KEY_STRATEGY", "round-robin"),
    setting("AFFINITY", "off", "words", ["off", "session", "prefix"]),
    setting("HEDGE", "off", "words", ["off", "on"]),
    setting("XAI_BASE", "https://api.openai.com"),
  ]],
  ["access", [
    setting("RESOURCES", "*", "pairs"),
    setting("PASSTHROUGH", ""),
    setting("MODEL_LIMITS", "", "json"),
    setting("CALLS_PER_ACCOUNT_MAX", "2500", "number"),
    setting("ADMIN_RPM", "1200", "number"),
    setting("ABANDONED", "read-on", "words", ["read-on", "cancel", "hold"]),
  ]],
  ["money", [
    setting("CALL_MIN_BALANCE", "1", "number"),
    setting("USER_MIN_BALANCE", "2", "number"),
    setting("USER_API_BALANCE", "20", "number"),
    setting("COMMISSION_PERCENT", "0", "number"),
  ]],
  ["prices", [
    setting("UNPRICED", "refuse", "words", ["refuse", "serve"]),
    setting("PRICING", "", "json"),
    setting("PRICES_SYNC_URL", ""),
    setting("PRICES_SYNC_HOURS", "0", "number"),
  ]],
  ["mail", [
    setting("EMAIL_SMTP", ""),
    setting("EMAIL_PORT", "465", "number"),
    setting("EMAIL_TLS", "true", "words", ["true", "implicit", "starttls", "false"]),
    setting("EMAIL_AUTH", ""),
    setting("EMAIL_PASS", "", "secret"),
    setting("EMAIL_SENDER", ""),
    setting("EMAIL_BALANCE", "3", "number"),
    setting("EMAIL_BILL", "off", "words", ["off", "daily", "monthly"]),
    setting("EMAIL_RPH", "300", "number"),
    setting("XAI_MAIL", "", "pairs"),
  ]],
  ["links", [
    setting("XAI_API", ""),
    setting("XAI_SVC", ""),
    setting("XAI_CHAT", ""),
    setting("XAI_DOCS", ""),
  ]],
  ["records", [
    setting("AUDIT_RETENTION_DAYS", "365", "number"),
    setting("REFUSAL_RETENTION_DAYS", "7", "number"),
  ]],
];

// A setting that is newer than this page is still there to be seen and changed.
export function grouped(values) {
  const known = new Set(GROUPS.flatMap(([, rows]) => rows.map(({ name }) => name)));
  const others = Object.keys(values).filter((name) => !known.has(name)).sort();
  const groups = GROUPS.map(([group, rows]) => [group, rows.filter(({ name }) => name in values)]);
  return [...groups, ["other", others.map((name) => setting(name, null))]].filter(([, rows]) => rows.length > 0);
}

export const MASK = "***";
export const named = (name) => GROUPS.flatMap(([, rows]) => rows).find((row) => row.name === name) ?? setting(name, null);

// Rules that are one long line in the API are one a line to people.
export const shown = (kind, value) => (kind === "pairs" ? value.split(",").map((part) => part.trim()).filter(Boolean).join("\n") : value);
export const stored = (kind, text) => (kind === "pairs" ? text.split(/[\n,]/).map((part) => part.trim()).filter(Boolean).join(",") : text.trim());

//! What is also a setting: the variable counts until root stores another value (`/x-config`).

use super::{CONTROL, Variable, var};

/// In the order of the table.
pub(super) const SETTINGS: &[Variable] = &[
    var(
        "XAI_BASE",
        "https://api.openai.com",
        CONTROL,
        "provider of keys posted without one",
    ),
    var("OPENAI_API_BASE", "", CONTROL, "older name of `XAI_BASE`"),
    var(
        "MODEL_MAPPER",
        "",
        CONTROL,
        "`src=dst` pairs, comma separated; `*` in `src` matches anything",
    ),
    var(
        "LEVEL_MAPPER",
        "",
        CONTROL,
        "`model=level` pairs, comma separated; levels are 0 to 10",
    ),
    var(
        "SWITCH_OVER",
        "",
        CONTROL,
        "`from=to` level pairs, comma separated",
    ),
    var(
        "MODEL_FAILOVER",
        "",
        CONTROL,
        "chains `src=dst1\\|dst2` of models, comma separated; stored and published, not acted on yet",
    ),
    var(
        "MODEL_LIMITS",
        "",
        CONTROL,
        "windows by model, JSON: `{\"gpt-4*\":{\"rpm\":10,\"tpd\":100000}}`",
    ),
    var(
        "RESOURCES",
        "*",
        CONTROL,
        "path prefixes that may be called, comma separated",
    ),
    var(
        "PRICING",
        "",
        CONTROL,
        "JSON that overrides prices (docs/prices.md)",
    ),
    var(
        "UNPRICED",
        "serve",
        CONTROL,
        "`serve` or `refuse` models without a price",
    ),
    var(
        "CALL_MIN_BALANCE",
        "1",
        CONTROL,
        "a call needs at least this balance, in dollars",
    ),
    var(
        "USER_MIN_BALANCE",
        "2",
        CONTROL,
        "opening credit of an account, at least, in dollars",
    ),
    var(
        "USER_API_BALANCE",
        "20",
        CONTROL,
        "managing accounts needs at least this balance, in dollars",
    ),
    var(
        "USER_API_MIN_BALANCE",
        "",
        CONTROL,
        "older name of `USER_API_BALANCE`",
    ),
    var(
        "SUB_MIN_BALANCE",
        "",
        CONTROL,
        "oldest name of `USER_API_BALANCE`",
    ),
    var(
        "COMMISSION_PERCENT",
        "0",
        CONTROL,
        "share of a grant that the child's parent gets when a further ancestor gives it, 0 to 100",
    ),
    var(
        "AUDIT_RETENTION_DAYS",
        "365",
        CONTROL,
        "audit records are kept for so many days, 1 to 36500",
    ),
    var(
        "EMAIL_SMTP",
        "",
        CONTROL,
        "host of the mail server; no mail is sent without one",
    ),
    var("EMAIL_PORT", "465", CONTROL, "its port, 1 to 65535"),
    var(
        "EMAIL_AUTH",
        "",
        CONTROL,
        "name to log in to it with; default: no login",
    ),
    var("EMAIL_PASS", "", CONTROL, "password to log in to it with"),
    var(
        "EMAIL_SENDER",
        "",
        CONTROL,
        "`Name<address>` that mails come from; default: `EMAIL_AUTH`",
    ),
    var(
        "EMAIL_TLS",
        "true",
        CONTROL,
        "`implicit`, `starttls`, `true` (implicit on port 465, else STARTTLS), or `false` for none",
    ),
    var(
        "EMAIL_BALANCE",
        "3",
        CONTROL,
        "an account with less than this is told once, in dollars",
    ),
    var(
        "EMAIL_BILL",
        "off",
        CONTROL,
        "bills by mail: `off`, `daily` or `monthly`",
    ),
    var(
        "XAI_MAIL",
        "",
        CONTROL,
        "addresses that are told of upstream keys their providers refuse, comma separated",
    ),
    var("XAI_INFO", "", CONTROL, "older name of `XAI_MAIL`"),
    var(
        "XAI_SVC",
        "",
        CONTROL,
        "link at the end of mails: the service",
    ),
    var("XAI_SERVICE", "", CONTROL, "older name of `XAI_SVC`"),
    var(
        "XAI_API",
        "",
        CONTROL,
        "link at the end of mails, and base URL in their examples: the API",
    ),
    var(
        "XAI_CHAT",
        "",
        CONTROL,
        "link at the end of mails: the chat",
    ),
    var(
        "XAI_DOCS",
        "",
        CONTROL,
        "link at the end of mails: the documentation",
    ),
];

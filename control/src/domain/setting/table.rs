//! The table of settings: a row for each. Environment variables, REST, gRPC and docs/configuration.md are made from it.

use std::num::NonZeroU32;

use proxyxai_contract::{
    access::ResourceList,
    load_balancing::{self, KeyAffinity, LevelStrategies},
    money::Money,
    passthrough::Passthrough,
    provider::BaseUrl,
    routing::{LevelMapper, ModelFailover, ModelMapper, SwitchOver},
    usage::AbandonedPolicy,
    window::ModelLimits,
};

use super::{
    Setting,
    parsers::{
        SealedSecret, abandoned, addresses, base_url, calls, dollars, host, limit, line, link,
        list_url, percent, port, pricing, refuses_unpriced, sealed, sender, whole,
    },
};
use crate::domain::mail::{BillMails, MailAddress, MailTls};

/// Makes a typed constant of each row, and of all rows the list `ALL`.
macro_rules! settings {
    ($($name:ident: $value:ty {
        default: $default:literal,
        parse: $parse:expr,
        meaning: $meaning:literal,
        $(older_names: [$($older:literal),*],)?
        $(file: $file:literal,)?
    })*) => {
        $(
            pub(crate) const $name: Setting<$value> = Setting {
                name: stringify!($name),
                older_names: &[$($($older),*)?],
                default: $default,
                meaning: $meaning,
                file: first(&[$($file)?]),
                parse: $parse,
            };
        )*

        /// All settings, in the order of the documentation.
        pub const ALL: &[Setting<()>] = &[$(
            Setting {
                name: $name.name,
                older_names: $name.older_names,
                default: $name.default,
                meaning: $name.meaning,
                file: $name.file,
                parse: |value| $name.parse(value).map(drop),
            },
        )*];
    };
}

/// A field that a row may leave out.
const fn first(given: &[&'static str]) -> Option<&'static str> {
    match given {
        [first, ..] => Some(*first),
        [] => None,
    }
}

settings! {
    XAI_BASE: BaseUrl {
        default: "https://api.openai.com",
        parse: base_url,
        meaning: "base URL of upstream keys added without one",
        older_names: ["OPENAI_API_BASE"],
    }
    MODEL_MAPPER: ModelMapper {
        default: "",
        parse: ModelMapper::parse,
        meaning: "`src=dst` pairs, comma separated; `*` in `src` matches anything",
    }
    LEVEL_MAPPER: LevelMapper {
        default: "",
        parse: LevelMapper::parse,
        meaning: "`model=level` pairs, comma separated; levels are 0 to 10",
    }
    SWITCH_OVER: SwitchOver {
        default: "",
        parse: SwitchOver::parse,
        meaning: "`from=to` level pairs, comma separated",
    }
    MODEL_FAILOVER: ModelFailover {
        default: "",
        parse: ModelFailover::parse,
        meaning: "chains `src=dst1\\|dst2` of models to fall back to when no key serves `src` (docs/routing.md)",
    }
    KEY_STRATEGY: LevelStrategies {
        default: "round-robin",
        parse: LevelStrategies::parse,
        meaning: "how a key of a level is chosen: `round-robin`, `weighted`, `least-busy` or `fastest`; by level as in `fastest,2=weighted`",
    }
    AFFINITY: KeyAffinity {
        default: "off",
        parse: KeyAffinity::parse,
        meaning: "keeps a conversation on one key: `off`, `session` or `prefix` (docs/routing.md)",
    }
    HEDGE: bool {
        default: "off",
        parse: load_balancing::hedge,
        meaning: "`on` also sends a call to a second key when the first is slower than 95 % of answers (docs/routing.md)",
    }
    MODEL_LIMITS: ModelLimits {
        default: "",
        parse: ModelLimits::parse,
        meaning: "rate limits by model, JSON: `{\"gpt-4*\":{\"rpm\":10,\"tpd\":100000}}`",
    }
    RESOURCES: ResourceList {
        default: "*",
        parse: ResourceList::parse,
        meaning: "paths that may be called, comma separated; `{id}` stands for any segment, a trailing `/*` for everything below",
    }
    PASSTHROUGH: Passthrough {
        default: "",
        parse: Passthrough::parse,
        meaning: "endpoints to relay beyond the known ones, `METHOD PATH [price=DOLLARS] [accounts=NAME,NAME]`, separated by `;` ([relaying](docs/relaying.md#endpoints))",
    }
    PRICING: String {
        default: "",
        parse: pricing,
        meaning: "JSON that overrides prices (docs/prices.md)",
    }
    PRICES_SYNC_URL: Option<String> {
        default: "",
        parse: list_url,
        meaning: "public price list to import, LiteLLM's or models.dev's; over https unless it is on this host ([sync](docs/prices.md#sync))",
    }
    PRICES_SYNC_HOURS: i64 {
        default: "0",
        parse: whole::<0, 8_760>,
        meaning: "hours between imports of that list, 0 (never) to 8760; a list that moves prices too far is refused and logged",
    }
    UNPRICED: bool {
        default: "refuse",
        parse: refuses_unpriced,
        meaning: "`refuse` or `serve` models without a price; root may call them anyway",
    }
    ABANDONED: AbandonedPolicy {
        default: "read-on",
        parse: abandoned,
        meaning: "how a call ends whose client disconnects: `read-on`, `cancel` or `hold` ([clients that leave](docs/usage.md#clients-that-leave))",
    }
    CALLS_PER_ACCOUNT_MAX: Option<NonZeroU32> {
        default: "2500",
        parse: calls,
        meaning: "open calls of an account and all below it on one data plane, 0 (no limit) to 1000000; an account's own `CallsMax` takes precedence, root has no limit ([shares](docs/limits.md#what-one-account-may-take))",
    }
    ADMIN_RPM: Option<NonZeroU32> {
        default: "1200",
        parse: limit::<1_000_000>,
        meaning: "administrative requests per minute of an account, ten times as many for it and all below it together, 0 (no limit) to 1000000; root has no limit",
    }
    CALL_MIN_BALANCE: Money {
        default: "1",
        parse: dollars,
        meaning: "balance that a call needs, in dollars",
    }
    USER_MIN_BALANCE: Money {
        default: "2",
        parse: dollars,
        meaning: "least opening credit of an account, in dollars",
    }
    USER_API_BALANCE: Money {
        default: "20",
        parse: dollars,
        meaning: "balance that managing accounts needs, in dollars",
        older_names: ["USER_API_MIN_BALANCE", "SUB_MIN_BALANCE"],
    }
    COMMISSION_PERCENT: i64 {
        default: "0",
        parse: percent,
        meaning: "percentage of a grant that the child's parent gets when an ancestor further up gives it, 0 to 100",
    }
    AUDIT_RETENTION_DAYS: i64 {
        default: "365",
        parse: whole::<1, 36_500>,
        meaning: "days for which audit records are kept, 1 to 36500",
    }
    REFUSAL_RETENTION_DAYS: i64 {
        default: "7",
        parse: whole::<0, 400>,
        meaning: "days for which refused calls are kept, 0 (none) to 400",
    }
    EMAIL_SMTP: String {
        default: "",
        parse: host,
        meaning: "host name of the mail server; default: no mail is sent",
    }
    EMAIL_PORT: u16 {
        default: "465",
        parse: port,
        meaning: "port of the mail server, 1 to 65535",
    }
    EMAIL_AUTH: String {
        default: "",
        parse: line,
        meaning: "user name at the mail server; default: no login",
    }
    EMAIL_PASS: SealedSecret {
        default: "",
        parse: sealed,
        meaning: "password at the mail server",
        file: "EMAIL_PASS_FILE",
    }
    EMAIL_SENDER: Option<MailAddress> {
        default: "",
        parse: sender,
        meaning: "`Name<address>` that mails come from; default: `EMAIL_AUTH`",
    }
    EMAIL_TLS: MailTls {
        default: "true",
        parse: MailTls::parse,
        meaning: "`implicit`, `starttls`, `true` (implicit on port 465, else STARTTLS), or `false` for none",
    }
    EMAIL_BALANCE: Money {
        default: "3",
        parse: dollars,
        meaning: "balance below which an account gets one mail, in dollars",
    }
    EMAIL_RPH: Option<NonZeroU32> {
        default: "300",
        parse: limit::<1_000_000>,
        meaning: "mails per hour (news, verification links) that a customer of root, with all accounts below it, may cause, 0 (no limit) to 1000000",
    }
    EMAIL_BILL: BillMails {
        default: "off",
        parse: BillMails::parse,
        meaning: "bills by mail: `off`, `daily` or `monthly`",
    }
    XAI_MAIL: Vec<String> {
        default: "",
        parse: addresses,
        meaning: "addresses that are notified of upstream keys refused by their providers, comma separated",
        older_names: ["XAI_INFO"],
    }
    XAI_SVC: String {
        default: "",
        parse: link,
        meaning: "URL of the service, linked at the end of mails",
        older_names: ["XAI_SERVICE"],
    }
    XAI_API: String {
        default: "",
        parse: link,
        meaning: "URL of the API, linked at the end of mails and base URL in their examples",
    }
    XAI_CHAT: String {
        default: "",
        parse: link,
        meaning: "URL of the chat, linked at the end of mails",
    }
    XAI_DOCS: String {
        default: "",
        parse: link,
        meaning: "URL of the documentation, linked at the end of mails",
    }
}

//! Configuration of the control plane: a plain struct. The binary reads the environment; this module only checks the
//! values.

use std::{collections::BTreeMap, fmt, num::NonZero, path::PathBuf};

use proxyxai_contract::{
    Invalid, client_key::ClientKey, clock::Zone, earnings::EarningCounters, egress::EgressPolicy,
    provider::BaseUrl, secret::Secret,
};

use crate::domain::{
    account,
    setting::{self, Setting},
    upstream_key,
};

pub use crate::store::database::{Database, Server};

/// Client keys have 45 random characters; showing more than 20 of them would help an attacker guess.
const PARTIAL_KEY_CHARS_MAX: usize = 20;
/// Upper bound on an operator's wait after a change.
const PUBLISH_WAIT_MS_MAX: u64 = 60_000;
const MASTER_KEY_BYTES_MIN: usize = 16;
const NODE_TOKEN_BYTES_MIN: usize = 16;

/// What the control plane needs to start.
#[derive(Clone)]
pub struct Config {
    /// The database to use.
    pub database: Database,
    /// Directory of generated files: `master.key`, `node.token`, `root.key`.
    pub data_dir: PathBuf,
    /// Seals upstream secrets; `None` means the generated `master.key`.
    pub master_key: Option<Secret>,
    /// One of root's client keys, for a start without `master.key`: it may open the database's copy.
    pub root_key: Option<Secret>,
    /// Authenticates data planes; `None` means the generated `node.token`.
    pub node_token: Option<Secret>,
    /// Defaults of settings by name. A missing setting has its built-in default.
    pub settings: BTreeMap<&'static str, String>,
    /// The time zone of days and months.
    pub zone: Zone,
    /// Accounts to create at the first start, `name::mail::key` separated by commas. Root comes first.
    pub init_users: Option<Secret>,
    /// Upstream keys to add at the first start, `key::baseURL` or `key`, separated by commas.
    pub init_keys: Option<Secret>,
    /// How many characters of a client key may be shown again, at most 20.
    pub partial_key_chars: usize,
    /// How long a change waits for data planes to apply it.
    pub publish_wait_ms: u64,
    /// How long single usage records are kept; `None` means forever.
    pub usage_retention_days: Option<NonZero<u32>>,
    /// How long leased credit stays reserved without contact to its data plane.
    pub lease_ms: u64,
    /// Which addresses of providers may be reached.
    pub provider_reach: EgressPolicy,
    /// Counters of posted earnings, for metrics.
    pub earned: EarningCounters,
}

/// One entry of `INIT_USERS`.
#[derive(Debug, Clone)]
pub(crate) struct InitUser {
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) key: ClientKey,
}

/// One entry of `INIT_KEYS`.
#[derive(Debug, Clone)]
pub(crate) struct InitKey {
    pub(crate) secret: Secret,
    pub(crate) provider: Option<BaseUrl>,
}

// === impl Config ===

impl Config {
    /// A configuration with all defaults, for this database and directory.
    pub fn new(database: Database, data_dir: PathBuf) -> Self {
        Self {
            database,
            data_dir,
            master_key: None,
            root_key: None,
            node_token: None,
            settings: BTreeMap::new(),
            zone: Zone::UTC,
            init_users: None,
            init_keys: None,
            partial_key_chars: PARTIAL_KEY_CHARS_MAX,
            publish_wait_ms: 500,
            usage_retention_days: NonZero::new(365),
            lease_ms: 3_600_000,
            provider_reach: EgressPolicy::Private,
            earned: EarningCounters::default(),
        }
    }

    /// All problems of the configuration, by name.
    pub fn check(&self) -> Vec<Invalid> {
        let mut problems = Vec::new();
        for (name, value) in &self.settings {
            problems.extend(setting::check(name, value).err());
        }
        if self
            .master_key
            .as_ref()
            .is_some_and(|key| key.expose().len() < MASTER_KEY_BYTES_MIN)
        {
            problems.push(Invalid::new(
                "MASTER_KEY",
                format!("must have at least {MASTER_KEY_BYTES_MIN} bytes"),
            ));
        }
        let token_fits = |token: &Secret| {
            token.expose().len() >= NODE_TOKEN_BYTES_MIN
                && token.expose().bytes().all(|byte| byte.is_ascii_graphic())
        };
        if self
            .node_token
            .as_ref()
            .is_some_and(|token| !token_fits(token))
        {
            problems.push(Invalid::new(
                "NODE_TOKEN",
                format!("must have at least {NODE_TOKEN_BYTES_MIN} visible ASCII characters"),
            ));
        }
        let users = entries(self.init_users.as_ref());
        problems.extend(faults(users, |entry| init_user(entry).map(drop)));
        let keys = entries(self.init_keys.as_ref());
        problems.extend(faults(keys, |entry| self.init_key(entry).map(drop)));
        if problems.is_empty() {
            problems.extend(self.init_users().err());
        }
        if self.partial_key_chars > PARTIAL_KEY_CHARS_MAX {
            problems.push(Invalid::new(
                "PARTIAL_KEY_CHARS",
                format!("must be at most {PARTIAL_KEY_CHARS_MAX}"),
            ));
        }
        if self.publish_wait_ms > PUBLISH_WAIT_MS_MAX {
            problems.push(Invalid::new(
                "PUBLISH_WAIT_MS",
                format!("must be at most {PUBLISH_WAIT_MS_MAX}"),
            ));
        }
        problems
    }

    /// The value of a setting that is not stored.
    pub(crate) fn setting_default<T>(&self, setting: &Setting<T>) -> &str {
        let given = self.settings.get(setting.name).map(String::as_str);
        given
            .filter(|value| !value.trim().is_empty())
            .unwrap_or(setting.default)
    }

    /// Root's key, if `INIT_USERS` contains it.
    pub fn init_root_key(&self) -> Option<Secret> {
        let root = self.init_users().ok()?.into_iter().next()?;
        Some(Secret::new(root.key.expose()))
    }

    /// The entries of `INIT_USERS`.
    pub(crate) fn init_users(&self) -> Result<Vec<InitUser>, Invalid> {
        let users: Vec<_> = entries(self.init_users.as_ref())
            .map(init_user)
            .collect::<Result<_, _>>()?;
        let wrong = |problem: &str| Err(Invalid::new("INIT_USERS", problem));
        if users.first().is_some_and(|first| first.name != "root") {
            return wrong("must begin with root");
        }
        let twice = |at: usize, user: &InitUser| {
            users.iter().take(at).any(|before| {
                before.name.eq_ignore_ascii_case(&user.name)
                    || before.email == user.email
                    || before.key == user.key
            })
        };
        match users.iter().enumerate().find(|(at, user)| twice(*at, user)) {
            Some((at, _)) => wrong(&format!(
                "entry {} has a name, mail address or key of one before it",
                at.saturating_add(1)
            )),
            None => Ok(users),
        }
    }

    /// The entries of `INIT_KEYS`.
    pub(crate) fn init_keys(&self) -> Result<Vec<InitKey>, Invalid> {
        entries(self.init_keys.as_ref())
            .map(|entry| self.init_key(entry))
            .collect()
    }

    fn init_key(&self, entry: &str) -> Result<InitKey, Invalid> {
        let key = init_key(entry)?;
        let checked = key
            .provider
            .as_ref()
            .map(|to| self.provider_reach.check(to));
        let checked = checked.unwrap_or(Ok(()));
        checked.map_err(|error| error.under("INIT_KEYS"))?;
        Ok(key)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            database,
            data_dir,
            master_key,
            root_key,
            node_token,
            settings,
            zone,
            init_users,
            init_keys,
            partial_key_chars,
            publish_wait_ms,
            usage_retention_days,
            lease_ms,
            provider_reach,
            earned: _,
        } = self;
        f.debug_struct("Config")
            .field("database", database)
            .field("data_dir", data_dir)
            .field("master_key", master_key)
            .field("root_key", root_key)
            .field("node_token", node_token)
            .field("settings", &shown(settings))
            .field("zone", zone)
            .field("init_users", init_users)
            .field("init_keys", init_keys)
            .field("partial_key_chars", partial_key_chars)
            .field("publish_wait_ms", publish_wait_ms)
            .field("usage_retention_days", usage_retention_days)
            .field("lease_ms", lease_ms)
            .field("provider_reach", provider_reach)
            .finish()
    }
}

/// The settings without secrets, for display.
fn shown(settings: &BTreeMap<&'static str, String>) -> BTreeMap<&'static str, String> {
    let mut shown = settings.clone();
    shown.retain(|name, _| setting::find(name).is_some_and(|setting| !setting.is_secret()));
    shown
}

fn entries(list: Option<&Secret>) -> impl Iterator<Item = &str> {
    list.map(Secret::expose)
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// The problems of the entries. Each entry is identified by its position, because its text contains a key.
fn faults<'a>(
    entries: impl Iterator<Item = &'a str>,
    check: impl Fn(&str) -> Result<(), Invalid>,
) -> Vec<Invalid> {
    entries
        .enumerate()
        .filter_map(|(at, entry)| {
            let Invalid { field, problem } = check(entry).err()?;
            let place = at.saturating_add(1);
            Some(Invalid::new(field, format!("entry {place} {problem}")))
        })
        .collect()
}

fn init_user(entry: &str) -> Result<InitUser, Invalid> {
    // Entries contain keys, so no message repeats their text.
    let wrong = |problem: &str| Invalid::new("INIT_USERS", problem);
    let separator = if entry.contains("::") { "::" } else { ":" };
    let parts: Vec<_> = entry.split(separator).map(str::trim).collect();
    let [name, email, key] = parts.as_slice() else {
        return Err(wrong(
            "has an entry that is not of the form name::mail::key",
        ));
    };
    Ok(InitUser {
        name: account::check_name(name).map_err(|error| error.under("INIT_USERS"))?,
        email: account::check_email(email).map_err(|error| error.under("INIT_USERS"))?,
        key: ClientKey::parse(key).map_err(|error| error.under("INIT_USERS"))?,
    })
}

fn init_key(entry: &str) -> Result<InitKey, Invalid> {
    let (secret, provider) = entry
        .split_once("::")
        .map_or((entry, None), |(secret, url)| (secret, Some(url)));
    let secret = Secret::new(secret.trim());
    upstream_key::check_secret(&secret).map_err(|error| error.under("INIT_KEYS"))?;
    let provider = provider
        .map(|url| BaseUrl::parse_lenient(url.trim()))
        .transpose()
        .map_err(|error| error.under("INIT_KEYS"))?;
    Ok(InitKey { secret, provider })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Database {
        Database::Sqlite("x.db".into())
    }

    #[test]
    fn no_debug_output_shows_a_password_or_key() {
        let mut config = Config::new(file(), "data".into());
        config.init_keys = Some(Secret::new("sk-hidden"));
        config.init_users = Some(Secret::new("root::r@example.com::sk-hidden"));
        config.master_key = Some(Secret::new("a hidden master key"));
        config.root_key = Some(Secret::new("a hidden root key"));
        config.settings.insert("EMAIL_PASS", "hidden".to_owned());
        assert!(!format!("{config:?}").contains("hidden"));
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let mut config = Config::new(file(), "data".into());
        assert_eq!(config.check(), []);
        config.master_key = Some(Secret::new("short"));
        config.settings.insert("SWITCH_OVER", "1=99".to_owned());
        config.init_users = Some(Secret::new("bob::b@example.com::sk-x,root"));
        config.init_keys = Some(Secret::new("short,shorter"));
        config.partial_key_chars = 51;
        let fields: Vec<_> = config
            .check()
            .into_iter()
            .map(|problem| problem.field)
            .collect();
        assert_eq!(
            fields,
            [
                "SWITCH_OVER",
                "MASTER_KEY",
                "INIT_USERS",
                "INIT_USERS",
                "INIT_KEYS",
                "INIT_KEYS",
                "PARTIAL_KEY_CHARS"
            ]
        );
    }

    #[test]
    fn first_users_come_with_one_colon_or_two() {
        let mut config = Config::new(file(), "data".into());
        let key = ClientKey::generate().unwrap();
        for separator in [":", "::"] {
            config.init_users = Some(Secret::new(
                ["root", "root@example.com", key.expose()].join(separator),
            ));
            assert_eq!(config.init_users().unwrap()[0].key, key);
        }
        config.init_users = Some(Secret::new(
            ["someone", "root@example.com", key.expose()].join("::"),
        ));
        assert_eq!(config.init_users().unwrap_err().field, "INIT_USERS");
    }
}

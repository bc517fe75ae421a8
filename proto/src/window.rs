//! Windows of calls and tokens: their names, limits by model, and the messages by which data planes ask control for
//! units of a window. Counts nothing itself.

use std::fmt;

use serde_json::{Map, Value};

use crate::{
    Invalid,
    clock::{Millis, WindowLength},
    id::{AccountId, ClientKeyId},
    lease::PayerId,
    pattern::Pattern,
    routing::best,
};

/// Every call searches them, and each may have counters.
const MODELS_MAX: usize = 200;
const MODEL_BYTES_MAX: usize = 255;
/// The maximum of the wire and the database.
const LIMIT_MAX: u64 = i64::MAX.unsigned_abs();

/// One of the six windows of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitWindow {
    /// Requests per minute.
    Rpm,
    /// Requests per hour.
    Rph,
    /// Requests per calendar day.
    Rpd,
    /// Tokens per minute.
    Tpm,
    /// Tokens per hour.
    Tph,
    /// Tokens per calendar day.
    Tpd,
}

impl LimitWindow {
    /// The number of windows.
    pub const COUNT: usize = 6;
    /// All windows, in the order in which they are checked.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Rpm,
        Self::Rph,
        Self::Rpd,
        Self::Tpm,
        Self::Tph,
        Self::Tpd,
    ];

    /// `RPM` to `TPD`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rpm => "RPM",
            Self::Rph => "RPH",
            Self::Rpd => "RPD",
            Self::Tpm => "TPM",
            Self::Tph => "TPH",
            Self::Tpd => "TPD",
        }
    }

    /// By its name, ignoring case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|window| window.name().eq_ignore_ascii_case(name))
    }

    /// The length of the window.
    pub const fn span(self) -> WindowLength {
        match self {
            Self::Rpm | Self::Tpm => WindowLength::Minute,
            Self::Rph | Self::Tph => WindowLength::Hour,
            Self::Rpd | Self::Tpd => WindowLength::Day,
        }
    }

    /// Whether it counts tokens; the others count requests.
    pub const fn counts_tokens(self) -> bool {
        matches!(self, Self::Tpm | Self::Tph | Self::Tpd)
    }

    /// Whether this limit is as good as none.
    pub const fn is_unlimited(self, limit: u64) -> bool {
        limit >= RateLimits::WIDE.of(self)
    }
}

impl fmt::Display for LimitWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Limits of the six windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests per minute.
    pub rpm: u64,
    /// Requests per hour.
    pub rph: u64,
    /// Requests per day.
    pub rpd: u64,
    /// Tokens per minute.
    pub tpm: u64,
    /// Tokens per hour.
    pub tph: u64,
    /// Tokens per day.
    pub tpd: u64,
}

impl RateLimits {
    /// The limits of root, which are as good as none.
    pub const WIDE: Self = Self {
        rpm: 6_666_666,
        rph: 66_666_666,
        rpd: 666_666_666,
        tpm: 6_666_666_666,
        tph: 66_666_666_666,
        tpd: 666_666_666_666,
    };

    /// The limit of one window.
    pub const fn of(&self, window: LimitWindow) -> u64 {
        match window {
            LimitWindow::Rpm => self.rpm,
            LimitWindow::Rph => self.rph,
            LimitWindow::Rpd => self.rpd,
            LimitWindow::Tpm => self.tpm,
            LimitWindow::Tph => self.tph,
            LimitWindow::Tpd => self.tpd,
        }
    }

    /// Whether none of them limits anything.
    pub const fn is_wide(&self) -> bool {
        let Self {
            rpm,
            rph,
            rpd,
            tpm,
            tph,
            tpd,
        } = *self;
        LimitWindow::Rpm.is_unlimited(rpm)
            && LimitWindow::Rph.is_unlimited(rph)
            && LimitWindow::Rpd.is_unlimited(rpd)
            && LimitWindow::Tpm.is_unlimited(tpm)
            && LimitWindow::Tph.is_unlimited(tph)
            && LimitWindow::Tpd.is_unlimited(tpd)
    }
}

// === limits of models ===

/// Limits by model: `{"gpt-4*": {"rpm": 10, "tpd": 100000}}`. They replace an account's windows of the same kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelLimits(Vec<(Pattern, ModelLimit)>);

/// The limits of one model or pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelLimit {
    pattern: String,
    windows: [Option<u64>; LimitWindow::COUNT],
}

impl ModelLimit {
    /// Its model or pattern. All calls that match a pattern are counted together.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The limit that replaces this window.
    pub fn of(&self, window: LimitWindow) -> Option<u64> {
        self.windows.get(window as usize).copied().flatten()
    }
}

impl ModelLimits {
    /// Reads the JSON form; an empty text has no limits.
    ///
    /// # Errors
    /// Errors if the limits of a model are invalid; the error names the model.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let refused = |problem: String| Invalid::new("ModelLimits", problem);
        match serde_json::from_str(text) {
            Ok(Value::Object(models)) => Self::from_object(&models),
            Ok(_) => Err(refused("must be a JSON object".to_owned())),
            Err(error) => Err(refused(format!("is not valid JSON: {error}"))),
        }
    }

    fn from_object(models: &Map<String, Value>) -> Result<Self, Invalid> {
        if models.len() > MODELS_MAX {
            return Err(Invalid::new(
                "ModelLimits",
                format!("has more than {MODELS_MAX} models"),
            ));
        }
        let read = |(model, limits): (&String, &Value)| {
            let limit = read_limit(model.trim(), limits)
                .map_err(|problem| Invalid::new("ModelLimits", problem))?;
            Ok((Pattern::new(&limit.pattern), limit))
        };
        models.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The JSON form; empty if there are none.
    pub fn text(&self) -> String {
        if self.is_empty() {
            return String::new();
        }
        Value::Object(self.object()).to_string()
    }

    /// As a JSON object.
    pub fn object(&self) -> Map<String, Value> {
        let windows = |limit: &ModelLimit| {
            LimitWindow::ALL
                .into_iter()
                .filter_map(|window| {
                    Some((window.name().to_ascii_lowercase(), limit.of(window)?.into()))
                })
                .collect()
        };
        self.0
            .iter()
            .map(|(_, limit)| (limit.pattern.clone(), Value::Object(windows(limit))))
            .collect()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The limits of a model: an exact name wins, else the pattern with the most literal characters.
    pub fn find(&self, model: &str) -> Option<&ModelLimit> {
        best(&self.0, model)
    }
}

fn read_limit(model: &str, limits: &Value) -> Result<ModelLimit, String> {
    if model.is_empty() || model.len() > MODEL_BYTES_MAX || model.chars().any(char::is_control) {
        return Err("has a name that is no model".to_owned());
    }
    let Value::Object(limits) = limits else {
        return Err(format!("of {model:?} must be an object of windows"));
    };
    let mut windows = [None; LimitWindow::COUNT];
    for (name, limit) in limits {
        let known = LimitWindow::parse(name).and_then(|window| windows.get_mut(window as usize));
        let Some(slot) = known else {
            return Err(format!(
                "of {model:?} has an unknown window; rpm, rph, rpd, tpm, tph and tpd are known"
            ));
        };
        let limit = limit.as_u64().filter(|limit| *limit <= LIMIT_MAX);
        *slot = Some(limit.ok_or_else(|| {
            format!("of {model:?} has a {name} that is no whole number, 0 or more")
        })?);
    }
    Ok(ModelLimit {
        pattern: model.to_owned(),
        windows,
    })
}

// === units on lease ===

/// One window of one account, as counted over all data planes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WindowKey {
    /// The account.
    pub account: AccountId,
    /// Which of the six.
    pub window: LimitWindow,
    /// The pattern of the limit by model that it counts for; empty for the account's own window.
    pub model: String,
    /// The start of the window.
    pub start: Millis,
    /// The further client key that the window belongs to; `None` for the account's own.
    pub client_key: Option<ClientKeyId>,
}

impl WindowKey {
    /// The payer of the window.
    pub const fn payer(&self) -> PayerId {
        PayerId {
            account: self.account,
            client_key: self.client_key,
        }
    }
}

/// A data plane's request for units. Units are never returned: unused ones expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowAsk {
    /// The window.
    pub key: WindowKey,
    /// The limit in force, as the data plane knows it from its snapshot.
    pub limit: u64,
    /// Units that waiting calls need to begin.
    pub need: u64,
    /// Units requested, including the need.
    pub want: u64,
    /// Units spent beyond what was granted and not reported before.
    pub overspent: u64,
}

/// Control's reply to a request for units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowGrant {
    /// The window.
    pub key: WindowKey,
    /// Units that this data plane may spend in addition.
    pub granted: u64,
    /// Units granted to all data planes so far, and those spent beyond the grants.
    pub total: u64,
}

/// How much of a request to grant, given the units granted before and the number of data planes that share the window.
/// Waiting calls get what they need while there is enough. Spare units stay few if several nodes share the rest.
pub fn grant(ask: &WindowAsk, total: u64, nodes: u64) -> u64 {
    let left = ask.limit.saturating_sub(total);
    let share = if nodes <= 1 {
        left
    } else {
        (left / nodes.saturating_mul(2)).max(1)
    };
    ask.need.max(ask.want.min(share)).min(left)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(text: &str) -> ModelLimits {
        ModelLimits::parse(text).unwrap()
    }

    #[test]
    fn an_exact_name_wins_then_the_most_literal_pattern() {
        let limits = limits(r#"{"*":{"rpm":1},"gpt-4*":{"rpm":2,"TPD":7},"gpt-4o":{"rpm":3}}"#);
        let rpm = |model| {
            limits
                .find(model)
                .and_then(|limit| limit.of(LimitWindow::Rpm))
        };
        assert_eq!(rpm("gpt-4o"), Some(3));
        assert_eq!(rpm("gpt-4.1"), Some(2));
        assert_eq!(rpm("claude"), Some(1));
        let tpd = limits.find("gpt-4.1").unwrap();
        assert_eq!(
            (
                tpd.of(LimitWindow::Tpd),
                tpd.of(LimitWindow::Rph),
                tpd.pattern()
            ),
            (Some(7), None, "gpt-4*")
        );
        assert_eq!(ModelLimits::default().find("gpt-4o"), None);
    }

    #[test]
    fn the_json_form_reads_back() {
        let text = r#"{"*":{},"gpt-4*":{"rpm":2,"tpd":7}}"#;
        assert_eq!(limits(text).text(), text);
        assert_eq!(limits(&limits(text).text()), limits(text));
        assert_eq!(
            (limits(" ").text(), limits("{}").text()),
            Default::default()
        );
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        let many: Vec<_> = (0..201)
            .map(|model| format!(r#""m{model}":{{}}"#))
            .collect();
        for bad in [
            "[]",
            "7",
            "{",
            r#"{"m":5}"#,
            r#"{"m":{"rps":5}}"#,
            r#"{"m":{"rpm":-1}}"#,
            r#"{"m":{"rpm":1.5}}"#,
            r#"{"m":{"rpm":"5"}}"#,
            r#"{"m":{"rpm":null}}"#,
            r#"{"m":{"rpm":1e400}}"#,
            r#"{"m":{"rpm":18446744073709551615}}"#,
            r#"{"":{"rpm":1}}"#,
            r#"{"a\nb":{"rpm":1}}"#,
            &format!(r#"{{"{}":{{}}}}"#, "m".repeat(256)),
            &format!("{{{}}}", many.join(",")),
        ] {
            assert_eq!(
                ModelLimits::parse(bad).unwrap_err().field,
                "ModelLimits",
                "{bad}"
            );
        }
    }

    #[test]
    fn what_root_has_is_no_limit() {
        assert!(RateLimits::WIDE.is_wide());
        for window in LimitWindow::ALL {
            assert!(window.is_unlimited(RateLimits::WIDE.of(window)));
            assert!(!window.is_unlimited(RateLimits::WIDE.of(window) - 1));
            assert_eq!(LimitWindow::parse(window.name()), Some(window));
        }
        let narrow = RateLimits {
            tpd: 5,
            ..RateLimits::WIDE
        };
        assert!(!narrow.is_wide());
    }

    fn ask(limit: u64, need: u64, want: u64) -> WindowAsk {
        WindowAsk {
            key: WindowKey {
                account: AccountId::ROOT,
                window: LimitWindow::Rpm,
                model: String::new(),
                start: Millis(0),
                client_key: None,
            },
            limit,
            need,
            want,
            overspent: 0,
        }
    }

    #[test]
    fn slices_shrink_near_the_limit_when_several_share_it() {
        assert_eq!(grant(&ask(100, 1, 100), 0, 1), 100);
        assert_eq!(grant(&ask(100, 1, 100), 0, 4), 12);
        assert_eq!(grant(&ask(100, 1, 100), 95, 4), 1);
        assert_eq!(grant(&ask(100, 30, 100), 0, 4), 30);
        assert_eq!(grant(&ask(100, 30, 100), 100, 4), 0);
        assert_eq!(grant(&ask(50, 30, 100), 100, 1), 0);
    }

    proptest! {
        #[test]
        fn all_grants_together_never_exceed_the_limit(
            limit in 0u64..200, asks in prop::collection::vec((0u64..50, 0u64..50, 0u64..6), 0..40),
        ) {
            let mut total = 0;
            for (need, want, nodes) in asks {
                let ask = ask(limit, need, want);
                let granted = grant(&ask, total, nodes);
                prop_assert!(granted <= need.max(want));
                prop_assert!(granted >= need.min(limit - total));
                total += granted;
                prop_assert!(total <= limit);
            }
        }
    }
}

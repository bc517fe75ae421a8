//! Refusals by the gateway: status, code and message of each. Refusals by providers are judged elsewhere.

pub(crate) mod key;

use std::net::IpAddr;

use proxyxai_contract::{id::Level, money::Money, window::LimitWindow};

use super::limit::RemainingLimits;

const NO_UPGRADE: &str =
    "WebSockets are not served here; make the call as an ordinary HTTP request";

/// Why a call is refused. Accounts go by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No key, or an unknown one.
    Unauthenticated,
    /// A reason about a further client key.
    Key(key::KeyRefusal),
    /// The account, or one above it, is suspended.
    Suspended {
        /// Which one.
        account: String,
    },
    /// The address is not in the account's list.
    IpNotAllowed {
        /// Whose list it is.
        account: String,
        /// The caller's address.
        ip: IpAddr,
    },
    /// The path is not in a list.
    ResourceNotAllowed {
        /// The account whose list it is; `None` for the system's.
        account: Option<String>,
        /// The path for the upstream.
        path: String,
    },
    /// The model is not in the account's list.
    ModelNotAllowed {
        /// Whose list it is.
        account: String,
        /// As the call names it.
        model: String,
    },
    /// The endpoint is priced by the model, and the call names none, so the provider would choose.
    ModelMissing,
    /// The level that serves the model is not in the account's list.
    LevelNotAllowed {
        /// Whose list it is.
        account: String,
        /// The level.
        level: Level,
    },
    /// The model has no price, and such models are refused.
    Unpriced {
        /// As it would be charged.
        model: String,
    },
    /// The balance is below what a call needs.
    InsufficientBalance {
        /// The account that would pay.
        account: String,
        /// Its balance.
        balance: Money,
        /// What a call needs.
        minimum: Money,
    },
    /// The balance does not cover the most that the call can cost.
    NotCovered {
        /// The account that would pay.
        account: String,
        /// Its balance.
        balance: Money,
        /// The most the call can cost.
        ceiling: Money,
    },
    /// It may cost more than its client wants to pay.
    CostAbove {
        /// The most the call can cost.
        ceiling: Money,
        /// Whether it may cost even more, because not all of it is bounded.
        open: bool,
        /// What the client wants to pay.
        most: Money,
    },
    /// The month's cost has reached the limit.
    HardLimit {
        /// Whose limit it is.
        account: String,
        /// The limit.
        limit: Money,
        /// When the next month begins, RFC 3339.
        resets: String,
        /// Time until then.
        retry_after_ms: i64,
    },
    /// A rate limit window has nothing left.
    RateLimited(Box<FullWindow>),
    /// Every key that could serve the call is rate limited, or at its cap.
    AllRateLimited {
        /// Time until the first of them is back.
        retry_after_ms: i64,
    },
    /// No key could serve the call.
    NoUpstreamKey {
        /// As it would be sent.
        model: String,
        /// Why one of them could not be reached, for root.
        unreached: Option<String>,
        /// Time until the first sleeping key is back, if there is one.
        retry_after_ms: Option<i64>,
    },
    /// The body exceeds the limit.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    SlowBody,
    /// The call cannot be understood.
    Malformed(String),
    /// The body is compressed in a way that cannot be decompressed here.
    UnknownCoding(String),
    /// There is nothing at this path.
    NotFound {
        /// The path.
        path: String,
    },
    /// The request asks for a WebSocket.
    NoUpgrade,
    /// An endpoint that is not relayed.
    NotOpen {
        /// Method and path.
        asked: String,
        /// Why not; `None` if the path is open, but not for this request.
        why: Option<&'static str>,
    },
    /// The caller has no object with this id.
    NoSuchObject {
        /// The kind of object.
        kind: &'static str,
        /// As it was named.
        id: String,
    },
    /// Its work is not charged yet, and its result would be lost.
    UnderWay {
        /// As it was named.
        id: String,
    },
    /// The key that an object belongs to does not exist any more.
    KeyGone {
        /// As it was named.
        id: String,
    },
    /// This node accepts no calls at the moment.
    Unavailable,
    /// This node is at a limit; which one.
    Busy(&'static str),
    /// The account has used its share of this node.
    ShareTaken {
        /// Whose share it is.
        account: String,
        /// The resource.
        what: &'static str,
    },
    /// The call passed this node before.
    Loop,
}

/// A window with nothing left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FullWindow {
    /// The account whose limit it is; `None` for the system's limits by model.
    pub(crate) account: Option<String>,
    /// The further client key of that account whose limit it is.
    pub(crate) key: Option<String>,
    /// Which of the six windows.
    pub(crate) window: LimitWindow,
    /// The limit.
    pub(crate) limit: u64,
    /// The model or pattern that the limit is for; empty for all models.
    pub(crate) model: String,
    /// When the window ends, RFC 3339.
    pub(crate) resets: String,
    /// Time until then.
    pub(crate) retry_after_ms: i64,
    /// What is left, for response headers.
    pub(crate) left: RemainingLimits,
}

/// An id in a form that may be shown.
fn shown(id: &str) -> String {
    let shown: String = id.chars().take(100).collect();
    format!("{shown:?}")
}

impl Refusal {
    /// All codes.
    pub(crate) const CODES: [&str; 19] = [
        "invalid_request",
        "invalid_api_key",
        "account_suspended",
        "ip_not_allowed",
        "insufficient_quota",
        "resource_not_allowed",
        "model_not_allowed",
        "not_found",
        "request_timeout",
        "request_too_large",
        "unsupported_content_encoding",
        "upgrade_required",
        "hard_limit_reached",
        "rate_limit_exceeded",
        "too_much_at_once",
        "upstream_rate_limited",
        "no_upstream_key",
        "unavailable",
        "loop_detected",
    ];

    /// HTTP status.
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::Key(refusal) => refusal.status(),
            Self::Malformed(_) | Self::ModelMissing | Self::CostAbove { .. } => 400,
            Self::Unauthenticated | Self::Suspended { .. } | Self::IpNotAllowed { .. } => 401,
            Self::InsufficientBalance { .. } | Self::NotCovered { .. } => 402,
            Self::ResourceNotAllowed { .. }
            | Self::ModelNotAllowed { .. }
            | Self::LevelNotAllowed { .. }
            | Self::Unpriced { .. } => 403,
            Self::NotFound { .. } | Self::NotOpen { .. } | Self::NoSuchObject { .. } => 404,
            Self::SlowBody => 408,
            Self::UnderWay { .. } => 409,
            Self::TooLarge { .. } => 413,
            Self::UnknownCoding(_) => 415,
            Self::NoUpgrade => 426,
            Self::HardLimit { .. }
            | Self::RateLimited(_)
            | Self::AllRateLimited { .. }
            | Self::ShareTaken { .. } => 429,
            Self::NoUpstreamKey { .. }
            | Self::KeyGone { .. }
            | Self::Unavailable
            | Self::Busy(_) => 503,
            Self::Loop => 508,
        }
    }

    /// The code that programs read.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Key(refusal) => refusal.code(),
            Self::Malformed(_)
            | Self::ModelMissing
            | Self::CostAbove { .. }
            | Self::UnderWay { .. } => "invalid_request",
            Self::Unauthenticated => "invalid_api_key",
            Self::Suspended { .. } => "account_suspended",
            Self::IpNotAllowed { .. } => "ip_not_allowed",
            Self::InsufficientBalance { .. } | Self::NotCovered { .. } => "insufficient_quota",
            Self::ResourceNotAllowed { .. } => "resource_not_allowed",
            Self::ModelNotAllowed { .. } | Self::LevelNotAllowed { .. } | Self::Unpriced { .. } => {
                "model_not_allowed"
            }
            Self::NotFound { .. } | Self::NotOpen { .. } | Self::NoSuchObject { .. } => "not_found",
            Self::SlowBody => "request_timeout",
            Self::TooLarge { .. } => "request_too_large",
            Self::UnknownCoding(_) => "unsupported_content_encoding",
            Self::NoUpgrade => "upgrade_required",
            Self::HardLimit { .. } => "hard_limit_reached",
            Self::RateLimited(_) => "rate_limit_exceeded",
            Self::AllRateLimited { .. } => "upstream_rate_limited",
            Self::NoUpstreamKey { .. } | Self::KeyGone { .. } => "no_upstream_key",
            Self::Unavailable | Self::Busy(_) => "unavailable",
            Self::ShareTaken { .. } => "too_much_at_once",
            Self::Loop => "loop_detected",
        }
    }

    /// The `type` of `OpenAI`'s error shape.
    pub(crate) const fn kind(&self) -> &'static str {
        match self.status() {
            401 => "authentication_error",
            402 => "insufficient_quota",
            403 => "permission_error",
            429 => "rate_limit_error",
            500..=599 => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The message that people read.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Unauthenticated => "Unauthorized: the API key is missing or wrong".to_owned(),
            Self::Key(refusal) => refusal.message(),
            Self::Suspended { account } => format!("The account {account} is suspended"),
            Self::IpNotAllowed { account, ip } => {
                format!("The address {ip} is not allowed by the account {account}")
            }
            Self::ResourceNotAllowed { .. } => self.path_message(),
            Self::ModelNotAllowed { account, model } => {
                format!("The model {model:?} is not allowed by the account {account}")
            }
            Self::ModelMissing => "The call names no model".to_owned(),
            Self::LevelNotAllowed { account, level } => {
                format!(
                    "The level {level} that serves this call is not allowed by the account {account}"
                )
            }
            Self::Unpriced { model } => {
                format!(
                    "The model {model:?} has no price, and this server refuses such models; its operator gives it one with PRICING or `proxyxai prices`, or sets UNPRICED=serve"
                )
            }
            Self::InsufficientBalance { .. }
            | Self::NotCovered { .. }
            | Self::CostAbove { .. }
            | Self::HardLimit { .. } => self.money_message(),
            Self::RateLimited(full) => full.message(),
            Self::AllRateLimited { .. } => {
                "Every upstream key that serves this call is rate limited or busy; try again later"
                    .to_owned()
            }
            Self::NoUpstreamKey {
                model, unreached, ..
            } => no_key_message(model, unreached.as_deref()),
            Self::TooLarge { limit } => format!("The request body is larger than {limit} bytes"),
            Self::SlowBody => "The request body did not arrive in time".to_owned(),
            Self::Malformed(problem) => problem.clone(),
            Self::UnknownCoding(coding) => format!(
                "The content encoding {coding:?} is not known here; zstd, gzip, br and deflate are"
            ),
            Self::NoUpgrade => NO_UPGRADE.to_owned(),
            Self::NotFound { path } => format!("Nothing is served at {path}"),
            Self::NotOpen { asked, why: None } => {
                format!("{asked}: this endpoint takes another method or is spelt otherwise")
            }
            Self::NotOpen {
                asked,
                why: Some(why),
            } => format!(
                "{asked} is not open on this server: {why}. Its operator opens endpoints with the setting PASSTHROUGH"
            ),
            Self::NoSuchObject { .. } | Self::UnderWay { .. } | Self::KeyGone { .. } => {
                self.object_message()
            }
            Self::Unavailable => {
                "This server takes no calls at the moment; try again soon".to_owned()
            }
            Self::Busy(what) => busy_message(what),
            Self::ShareTaken { account, what } => share_message(account, what),
            Self::Loop => "The call has passed too many servers, or this one before".to_owned(),
        }
    }

    /// The messages of refusals about a path.
    fn path_message(&self) -> String {
        match self {
            Self::ResourceNotAllowed {
                account: None,
                path,
            } => {
                format!("The path {path} is not open on this server")
            }
            Self::ResourceNotAllowed {
                account: Some(account),
                path,
            } => {
                format!("The path {path} is not allowed by the account {account}")
            }
            other => other.code().to_owned(),
        }
    }

    /// The messages of refusals about an object.
    fn object_message(&self) -> String {
        match self {
            Self::NoSuchObject { kind, id } => format!("No {kind} found with id {}", shown(id)),
            Self::UnderWay { id } => format!(
                "{} is under way or has not been fetched since it ended; cancel it or fetch it before it is deleted",
                shown(id)
            ),
            Self::KeyGone { id } => format!(
                "The upstream key that {} was made with is not there any more",
                shown(id)
            ),
            other => other.code().to_owned(),
        }
    }

    /// The messages of refusals about money.
    fn money_message(&self) -> String {
        match self {
            Self::InsufficientBalance {
                account,
                balance,
                minimum,
            } => format!(
                "Insufficient balance: the account {account} has {balance}, and a call needs {minimum}"
            ),
            Self::NotCovered {
                account,
                balance,
                ceiling,
            } => format!(
                "Insufficient balance: this call may cost up to {ceiling}, and the account {account} has {balance}, calls under way included; a smaller max_tokens makes it cheaper, and so do fewer uses of tools (max_tool_calls, max_uses)"
            ),
            Self::CostAbove {
                ceiling,
                open,
                most,
            } => {
                let ceiling = if *open {
                    format!("{ceiling} or more, for not all of it is bounded")
                } else {
                    format!("up to {ceiling}")
                };
                format!(
                    "This call may cost {ceiling}, and its x-proxyxai-max-cost is {most}; a smaller max_tokens lowers that, and so do fewer uses of tools (max_tool_calls, max_uses)"
                )
            }
            Self::HardLimit {
                account,
                limit,
                resets,
                retry_after_ms: _,
            } => format!(
                "The account {account} has reached its hard limit of {limit} for this month; it resets at {resets}"
            ),
            other => other.code().to_owned(),
        }
    }

    /// When a retry makes sense, if that is known.
    pub(crate) const fn retry_after_ms(&self) -> Option<i64> {
        match self {
            Self::HardLimit { retry_after_ms, .. } | Self::AllRateLimited { retry_after_ms } => {
                Some(*retry_after_ms)
            }
            Self::RateLimited(full) => Some(full.retry_after_ms),
            Self::NoUpstreamKey { retry_after_ms, .. } => *retry_after_ms,
            Self::Unavailable | Self::Busy(_) | Self::ShareTaken { .. } => Some(1000),
            Self::Unauthenticated
            | Self::Key(_)
            | Self::Suspended { .. }
            | Self::IpNotAllowed { .. }
            | Self::ResourceNotAllowed { .. }
            | Self::ModelNotAllowed { .. }
            | Self::ModelMissing
            | Self::LevelNotAllowed { .. }
            | Self::Unpriced { .. }
            | Self::InsufficientBalance { .. }
            | Self::NotCovered { .. }
            | Self::CostAbove { .. }
            | Self::TooLarge { .. }
            | Self::SlowBody
            | Self::Malformed(_)
            | Self::UnknownCoding(_)
            | Self::NoUpgrade
            | Self::NotFound { .. }
            | Self::NotOpen { .. }
            | Self::NoSuchObject { .. }
            | Self::UnderWay { .. }
            | Self::KeyGone { .. }
            | Self::Loop => None,
        }
    }
}

fn busy_message(what: &str) -> String {
    format!("This server is at its limit, too many {what}; try again soon")
}

fn share_message(account: &str, what: &str) -> String {
    format!(
        "Too many {what}: the account {account}, with all below it, has its share of this server under way; try again when some of its calls have ended"
    )
}

fn no_key_message(model: &str, unreached: Option<&str>) -> String {
    match (unreached, model) {
        (Some(why), _) => format!("No upstream key can serve this call at the moment: {why}"),
        (None, "") => "No upstream key can serve this call at the moment".to_owned(),
        (None, model) => format!("No upstream key can serve the model {model:?} at the moment"),
    }
}

impl FullWindow {
    fn message(&self) -> String {
        let Self {
            account,
            key,
            window,
            limit,
            model,
            resets,
            retry_after_ms: _,
            left: _,
        } = self;
        let owner = match (key, account) {
            (Some(key), _) => format!("the API key {key:?}"),
            (None, Some(name)) => format!("the account {name}"),
            (None, None) => "this server".to_owned(),
        };
        let model = match model.as_str() {
            "" => String::new(),
            model => format!(" for the model {model:?}"),
        };
        let counted = if window.counts_tokens() {
            "tokens"
        } else {
            "requests"
        };
        let span = window.span();
        format!(
            "Too many {counted}: {owner} allows {limit} {counted} per {span}{model} ({window}); it resets at {resets}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> String {
        "team".to_owned()
    }

    fn check(refusal: &Refusal, status: u16, code: &str) {
        assert!(Refusal::CODES.contains(&code));
        assert_eq!((refusal.status(), refusal.code()), (status, code));
    }

    #[test]
    fn refusals_of_an_account_have_the_documented_status_and_code() {
        let account = name;
        let ip = [1, 2, 3, 4].into();
        check(&Refusal::Unauthenticated, 401, "invalid_api_key");
        check(
            &Refusal::Suspended { account: account() },
            401,
            "account_suspended",
        );
        check(
            &Refusal::IpNotAllowed {
                account: account(),
                ip,
            },
            401,
            "ip_not_allowed",
        );
        let model = Refusal::ModelNotAllowed {
            account: account(),
            model: "m".to_owned(),
        };
        check(&model, 403, "model_not_allowed");
        let path = Refusal::ResourceNotAllowed {
            account: None,
            path: "/v1/x".to_owned(),
        };
        check(&path, 403, "resource_not_allowed");
        let (balance, minimum) = (Money::ZERO, Money::ZERO);
        let balance = Refusal::InsufficientBalance {
            account: account(),
            balance,
            minimum,
        };
        check(&balance, 402, "insufficient_quota");
        let limit = Refusal::HardLimit {
            account: account(),
            limit: minimum,
            resets: String::new(),
            retry_after_ms: 5,
        };
        check(&limit, 429, "hard_limit_reached");
    }

    #[test]
    fn refusals_of_the_node_have_the_documented_status_and_code() {
        let none = Refusal::NoUpstreamKey {
            unreached: None,
            model: "m".to_owned(),
            retry_after_ms: None,
        };
        check(&none, 503, "no_upstream_key");
        check(
            &Refusal::AllRateLimited { retry_after_ms: 5 },
            429,
            "upstream_rate_limited",
        );
        check(&Refusal::TooLarge { limit: 1 }, 413, "request_too_large");
        check(
            &Refusal::UnknownCoding("lzma".to_owned()),
            415,
            "unsupported_content_encoding",
        );
        check(&Refusal::Unavailable, 503, "unavailable");
        check(&Refusal::Busy("calls"), 503, "unavailable");
        check(&Refusal::Loop, 508, "loop_detected");
    }

    #[test]
    fn a_refusal_names_the_account_the_limit_and_the_reset() {
        let balance = Refusal::InsufficientBalance {
            account: name(),
            balance: Money::from_nanos(500_000_000),
            minimum: Money::from_nanos(1_000_000_000),
        };
        assert_eq!(
            balance.message(),
            "Insufficient balance: the account team has $0.5, and a call needs $1"
        );
        let limit = Refusal::HardLimit {
            account: name(),
            limit: Money::from_nanos(100_000_000_000),
            resets: "2026-01-01T00:00:00Z".to_owned(),
            retry_after_ms: 60_000,
        };
        for part in ["team", "$100", "2026-01-01T00:00:00Z"] {
            assert!(limit.message().contains(part), "{part}");
        }
        assert_eq!(limit.retry_after_ms(), Some(60_000));
    }
}

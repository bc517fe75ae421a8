//! What a refusal's body says of the key, by the error shapes that providers use. Codes are compared
//! whole; messages only where a client's own words do not get into them.

use serde::{Deserialize, de::IgnoredAny};

const PLAIN_BYTES_MAX: usize = 512;

const KEY_CODES: [&str; 14] = [
    "access_terminated",
    "account_deactivated",
    "account_suspended",
    "api_key_disabled",
    "api_key_expired",
    "api_key_invalid",
    "api_key_revoked",
    "authentication_error",
    "consumer_invalid",
    "consumer_suspended",
    "deactivated_workspace",
    "incorrect_api_key",
    "invalid_api_key",
    "user_deactivated",
];

/// Codes of refusals that speak of the request, ours among them.
const REQUEST_CODES: [&str; 4] = [
    "ip_not_allowed",
    "model_not_allowed",
    "model_not_found",
    "resource_not_allowed",
];
const FUND_CODES: [&str; 11] = [
    "arrearage",
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
    "exceeded_current_quota_error",
    "insufficient_balance",
    "insufficient_credits",
    "insufficient_funds",
    "insufficient_quota",
    "insufficient_user_quota",
    "payment_required",
];

/// What a status would be called in an error's own words.
const STATUS_CODES: [(&[&str], u16); 7] = [
    (
        &[
            "rate_limit_error",
            "rate_limit_exceeded",
            "rate_limit_reached",
            "requests",
            "resource_exhausted",
            "tokens",
            "too_many_requests",
            "upstream_rate_limited",
        ],
        429,
    ),
    (&FUND_CODES, 402),
    (&KEY_CODES, 401),
    (&["permission_error", "permission_denied"], 403),
    (
        &["overloaded", "overloaded_error", "server_is_overloaded"],
        529,
    ),
    (
        &[
            "no_upstream_key",
            "service_unavailable",
            "slow_down",
            "unavailable",
        ],
        503,
    ),
    (
        &[
            "api_error",
            "deadline_exceeded",
            "engine_error",
            "internal",
            "internal_error",
            "internal_server_error",
            "server_error",
            "timeout_error",
            "upstream_error",
        ],
        500,
    ),
];

const FUND_PHRASES: [&str; 14] = [
    "account is not active, please check your billing",
    "any credits",
    "billing hard limit",
    "credit balance",
    "in good standing",
    "insufficient balance",
    "insufficient credit",
    "insufficient fund",
    "insufficient quota",
    "not enough credit",
    "out of credits",
    "payment required",
    "spending limit",
    "used all available credits",
];

/// Who a complaint is about, and what it says of it.
const OWNERS: [&str; 8] = [
    "api key",
    "api-key",
    "api_key",
    "access token",
    "your account",
    "organization has",
    "workspace has",
    "consumer",
];
const FAULTS: [&str; 14] = [
    "blocked",
    "deactivated",
    "disabled",
    "does not have permission",
    "expired",
    "incorrect",
    "invalid",
    "leaked",
    "limit exceeded",
    "not valid",
    "restricted",
    "revoked",
    "suspended",
    "terminated",
];

/// How messages begin that say with status 400 what others say with 401 or 402. Only the beginning is
/// looked at, since a 400 quotes what the client sent.
const BEGINNINGS: [(&str, Complaint); 3] = [
    ("your credit balance is too low", Complaint::Funds),
    ("api key not valid", Complaint::Key),
    ("this organization has been disabled", Complaint::Key),
];

/// What a provider holds against a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complaint {
    /// It is not valid.
    Key,
    /// Its account cannot pay.
    Funds,
}

/// The words of an error body, in lower case.
#[derive(Debug, Default)]
pub(super) struct Words {
    codes: Vec<String>,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    error: ErrorPart,
    code: Text,
    #[serde(rename = "type")]
    kind: Text,
    message: Text,
    detail: Text,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorPart {
    Object(ErrorObject),
    Text(String),
    Other(IgnoredAny),
}

impl Default for ErrorPart {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorObject {
    code: Text,
    #[serde(rename = "type")]
    kind: Text,
    status: Text,
    message: Text,
    details: Details,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Details {
    List(Vec<Detail>),
    Other(IgnoredAny),
}

impl Default for Details {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail {
    reason: Text,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Words(String),
    /// Some use a status for a code.
    Number(u16),
    Other(IgnoredAny),
}

impl Default for Text {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

// === impl Words ===

impl Words {
    pub(super) fn of(body: &[u8]) -> Self {
        let body = body.trim_ascii();
        let parsed = if body.starts_with(b"[") {
            let list: Option<Vec<Body>> = serde_json::from_slice(body).ok();
            list.and_then(|list| list.into_iter().next())
        } else {
            serde_json::from_slice(body).ok()
        };
        let Some(Body {
            error,
            code,
            kind,
            message,
            detail,
        }) = parsed
        else {
            return Self::plain(body);
        };
        let mut words = Self::default();
        match error {
            ErrorPart::Object(ErrorObject {
                code,
                kind,
                status,
                message,
                details,
            }) => {
                words.code(code);
                words.code(kind);
                words.code(status);
                words.say(message);
                if let Details::List(details) = details {
                    for detail in details {
                        words.code(detail.reason);
                    }
                }
            }
            ErrorPart::Text(text) => {
                words.codes.push(text.to_ascii_lowercase());
                words.say(Text::Words(text));
            }
            ErrorPart::Other(IgnoredAny) => {}
        }
        words.code(code);
        words.code(kind);
        words.say(message);
        words.say(detail);
        words
    }

    /// A body that is no JSON. A page of HTML says nothing about a key.
    fn plain(body: &[u8]) -> Self {
        let short = body.len() <= PLAIN_BYTES_MAX && !body.starts_with(b"<");
        let message = if short {
            String::from_utf8_lossy(body).to_ascii_lowercase()
        } else {
            String::new()
        };
        Self {
            codes: Vec::new(),
            message,
        }
    }

    fn code(&mut self, code: Text) {
        match code {
            Text::Words(code) => self.codes.push(code.to_ascii_lowercase()),
            Text::Number(code) => self.codes.push(code.to_string()),
            Text::Other(IgnoredAny) => {}
        }
    }

    /// The first message counts; outer ones repeat it.
    fn say(&mut self, message: Text) {
        if let Text::Words(message) = message
            && self.message.is_empty()
        {
            self.message = message.trim().to_ascii_lowercase();
        }
    }

    /// The status that says the same; none when no code is known. A number counts before a name.
    pub(super) fn status(&self) -> Option<u16> {
        let number = |code: &String| code.parse().ok().filter(|code| (400..600).contains(code));
        let named = |(names, status): &(&[&str], u16)| {
            let known = |code: &String| names.contains(&code.as_str());
            self.codes.iter().any(known).then_some(*status)
        };
        let number = self.codes.iter().find_map(number);
        number.or_else(|| STATUS_CODES.iter().find_map(named))
    }

    /// What the body holds against the key, given how much a status lets it say.
    pub(super) fn complaint(&self, status: u16) -> Option<Complaint> {
        let coded = |codes: &[&str]| self.codes.iter().any(|code| codes.contains(&code.as_str()));
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| self.message.contains(phrase));
        let funds = coded(&FUND_CODES) || says(&FUND_PHRASES);
        // These are about the request, and their messages may quote it.
        if status == 403 && coded(&REQUEST_CODES) {
            return None;
        }
        match status {
            400 => {
                let begins = BEGINNINGS
                    .iter()
                    .find(|(text, _)| self.message.starts_with(text));
                begins.map(|(_, complaint)| *complaint)
            }
            // A rate limit may mention the key; only a lack of funds outlasts it.
            429 => funds.then_some(Complaint::Funds),
            _ if funds => Some(Complaint::Funds),
            _ if coded(&KEY_CODES) || (says(&OWNERS) && says(&FAULTS)) => Some(Complaint::Key),
            _ => None,
        }
    }
}

// === impl Complaint ===

impl Complaint {
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Key => ": the key is not accepted",
            Self::Funds => ": the key's account is out of funds",
        }
    }
}

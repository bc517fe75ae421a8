//! Refusals because of the further client key of a call.

use proxyxai_contract::money::Money;

/// Why a call with a further client key is refused. Keys go by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyRefusal {
    /// It is switched off or has expired.
    NotInForce {
        /// Its name.
        key: String,
        /// Whether it has expired.
        expired: bool,
    },
    /// The model is not in its list.
    ModelNotAllowed {
        /// Its name.
        key: String,
        /// As the call names it.
        model: String,
    },
    /// What is left of its limit does not cover the most that the call can cost.
    NotCovered {
        /// Its name.
        key: String,
        /// The most that all its calls together may cost.
        limit: Money,
        /// What is left of it.
        left: Money,
        /// The most the call can cost.
        ceiling: Money,
    },
}

impl KeyRefusal {
    /// HTTP status. The limit never resets, so clients are not told to retry.
    pub(super) const fn status(&self) -> u16 {
        match self {
            Self::NotInForce { .. } => 401,
            Self::NotCovered { .. } => 402,
            Self::ModelNotAllowed { .. } => 403,
        }
    }

    /// The code that programs read.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::NotInForce { .. } => "invalid_api_key",
            Self::NotCovered { .. } => "insufficient_quota",
            Self::ModelNotAllowed { .. } => "model_not_allowed",
        }
    }

    /// The message that people read.
    pub(super) fn message(&self) -> String {
        match self {
            Self::NotInForce { key, expired: true } => {
                format!("Unauthorized: the API key {key:?} has expired")
            }
            Self::NotInForce { key, .. } => {
                format!("Unauthorized: the API key {key:?} is switched off")
            }
            Self::ModelNotAllowed { key, model } => {
                format!("The model {model:?} is not allowed by the API key {key:?}")
            }
            Self::NotCovered {
                key,
                limit,
                left,
                ceiling,
            } => format!(
                "The API key {key:?} has reached its credit limit: this call may cost up to {ceiling}, and {left} of {limit} are left, calls under way included; a smaller max_tokens makes it cheaper"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Refusal, *};

    #[test]
    fn refusals_of_a_key_name_it_and_have_the_documented_status_and_code() {
        let key = || "ci".to_owned();
        let dollars = |dollars: i64| Money::from_nanos(dollars * 1_000_000_000);
        let expired = |expired| KeyRefusal::NotInForce {
            key: key(),
            expired,
        };
        let model = KeyRefusal::ModelNotAllowed {
            key: key(),
            model: "m".to_owned(),
        };
        let money = KeyRefusal::NotCovered {
            key: key(),
            limit: dollars(9),
            left: dollars(1),
            ceiling: dollars(2),
        };
        for (refusal, status, code, word) in [
            (expired(true), 401, "invalid_api_key", "has expired"),
            (expired(false), 401, "invalid_api_key", "switched off"),
            (model, 403, "model_not_allowed", "\"m\""),
            (money, 402, "insufficient_quota", "$1 of $9"),
        ] {
            let refusal = Refusal::Key(refusal);
            assert_eq!((refusal.status(), refusal.code()), (status, code));
            assert!(Refusal::CODES.contains(&code));
            let message = refusal.message();
            assert!(
                message.contains("\"ci\"") && message.contains(word),
                "{message}"
            );
            assert_eq!(refusal.retry_after_ms(), None);
        }
    }
}

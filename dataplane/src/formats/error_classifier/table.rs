//! The table of providers' refusals. The first matching rule wins, so rules with a provider's words precede rules with
//! only a status. If no rule matches, the call is at fault.

use std::{ops::RangeInclusive, sync::LazyLock};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{UpstreamRefusal, hint::Hints, words::ErrorWords};

/// Parsed at the first refusal. A test parses it too, so it is never empty.
pub(super) static TABLE: LazyLock<Table> =
    LazyLock::new(|| serde_json::from_str(TEXT).unwrap_or_default());

const TEXT: &str = include_str!("refusals.json");

/// All known refusals of providers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    named: Vec<NamedStatus>,
    pub(super) hints: Hints,
    rules: Vec<RefusalRule>,
}

/// The status that an error's own words stand for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedStatus {
    status: u16,
    names: Vec<String>,
}

/// One kind of refusal. All given conditions must match.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusalRule {
    /// Who is known to send it, for readers.
    #[cfg_attr(not(test), expect(dead_code, reason = "told to readers of the table"))]
    by: String,
    means: RefusalMeaning,
    #[serde(deserialize_with = "statuses")]
    status: Vec<RangeInclusive<u16>>,
    #[serde(default)]
    on: RuleScope,
    /// The body has one of these codes.
    #[serde(default)]
    codes: Vec<String>,
    /// The message begins with one of these.
    #[serde(default)]
    begins: Vec<String>,
    /// The message has one of each list.
    #[serde(default)]
    has: Vec<Vec<String>>,
    /// Where it is documented or was observed.
    #[cfg_attr(not(test), expect(dead_code, reason = "told to readers of the table"))]
    source: String,
}

/// The calls to which a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RuleScope {
    #[default]
    Any,
    /// Calls for a model.
    Model,
    Other,
}

/// The meaning of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RefusalMeaning {
    /// The call is at fault.
    Call,
    /// The call exceeds this key's abilities; another key may serve it.
    Elsewhere,
    /// A transient failure.
    Again,
    /// The call goes in a loop.
    Circle,
    /// Too many calls for this model.
    Rate,
    /// The key cannot serve this model for a while.
    Model,
    /// The key's allowance is exhausted until it renews.
    Limit,
    /// The key's account cannot pay.
    Funds,
    /// The key is not accepted.
    Key,
    /// Either the key or the call is not accepted.
    Doubt,
    /// The provider is unavailable.
    Down,
    /// The provider failed, perhaps because of this call.
    Fault,
}

// === impl Table ===

impl Table {
    pub(super) fn meaning(
        &self,
        refusal: UpstreamRefusal<'_>,
        words: &ErrorWords,
    ) -> RefusalMeaning {
        let rule = self.rules.iter().find(|rule| rule.fits(refusal, words));
        rule.map_or(RefusalMeaning::Call, |rule| rule.means)
    }

    /// The status that an error's words stand for. Returns `None` if no code is known. A number precedes a name.
    pub(super) fn status(&self, words: &ErrorWords) -> Option<u16> {
        let number = |code: &String| code.parse().ok().filter(|code| (400..600).contains(code));
        let number = words.codes.iter().find_map(number);
        let known =
            |named: &&NamedStatus| words.codes.iter().any(|code| named.names.contains(code));
        number.or_else(|| self.named.iter().find(known).map(|named| named.status))
    }
}

// === impl RefusalRule ===

impl RefusalRule {
    fn fits(&self, refusal: UpstreamRefusal<'_>, words: &ErrorWords) -> bool {
        let on = match self.on {
            RuleScope::Any => true,
            RuleScope::Model => refusal.of_model,
            RuleScope::Other => !refusal.of_model,
        };
        let status = || {
            let mut statuses = self.status.iter();
            statuses.any(|statuses| statuses.contains(&refusal.status))
        };
        let codes =
            || self.codes.is_empty() || words.codes.iter().any(|code| self.codes.contains(code));
        let begins = || {
            let begins = |text: &String| words.message.starts_with(text);
            self.begins.is_empty() || self.begins.iter().any(begins)
        };
        let has = |texts: &Vec<String>| texts.iter().any(|text| words.unquoted.contains(text));
        on && status() && codes() && begins() && self.has.iter().all(has)
    }
}

// === impl RefusalMeaning ===

impl RefusalMeaning {
    /// A description in our own words.
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Call | Self::Again | Self::Down | Self::Fault => "",
            Self::Elsewhere => ": the call is more than the key can give",
            Self::Circle => ": the call goes in a circle",
            Self::Rate => ": rate limited",
            Self::Model => ": the key cannot serve the model for a while",
            Self::Limit => ": the key's limit is used up",
            Self::Funds => ": the key's account is out of funds",
            Self::Key | Self::Doubt => ": the key is not accepted",
        }
    }
}

/// Reads statuses such as `400 401-403`.
fn statuses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<RangeInclusive<u16>>, D::Error> {
    let text = String::deserialize(from)?;
    let number = |text: &str| text.parse::<u16>().map_err(D::Error::custom);
    let range = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Ok(number(first)?..=number(last)?)
    };
    text.split_whitespace().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_each_rule_can_fit() {
        let table: Table = serde_json::from_str(TEXT).unwrap();
        assert!(table.rules.len() > 50 && table.named.len() > 5);
        for rule in &table.rules {
            let name = format!("{} {:?}", rule.by, rule.means);
            assert!(rule.source.starts_with("https://"), "{name}");
            assert!(!rule.by.is_empty() && !rule.status.is_empty(), "{name}");
            let texts = rule.codes.iter().chain(&rule.begins);
            for text in texts.chain(rule.has.iter().flatten()) {
                assert!(!text.is_empty(), "{name}");
                assert_eq!(*text, text.to_ascii_lowercase(), "{name}");
            }
            assert!(rule.has.iter().all(|texts| !texts.is_empty()), "{name}");
        }
    }

    #[test]
    fn a_400_is_held_against_a_key_only_by_its_code_or_its_beginning() {
        let table: Table = serde_json::from_str(TEXT).unwrap();
        let held = |rule: &&RefusalRule| {
            !matches!(rule.means, RefusalMeaning::Call | RefusalMeaning::Elsewhere)
        };
        let by_400 =
            |rule: &&RefusalRule| rule.status.iter().any(|statuses| statuses.contains(&400));
        for rule in table.rules.iter().filter(held).filter(by_400) {
            let sure = !rule.codes.is_empty() || !rule.begins.is_empty();
            assert!(sure && rule.has.is_empty(), "{} {:?}", rule.by, rule.means);
        }
    }

    #[test]
    fn what_knows_only_a_status_stands_last() {
        let table: Table = serde_json::from_str(TEXT).unwrap();
        let bare = |rule: &RefusalRule| {
            rule.codes.is_empty() && rule.begins.is_empty() && rule.has.is_empty()
        };
        let first = table.rules.iter().position(bare).unwrap();
        assert!(table.rules.iter().skip(first).all(bare));
    }
}

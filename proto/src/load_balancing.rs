//! How calls are spread over the keys of a level, in the text form of the settings.

use crate::{Invalid, id::Level};

/// Which key of a level the next call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyStrategy {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// In turn, by the weight of each.
    Weighted,
    /// The one with the fewest in-flight calls.
    LeastBusy,
    /// By time to first byte: the faster of two chosen at random.
    Fastest,
}

/// The strategy of each level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LevelStrategies {
    all: KeyStrategy,
    own: [Option<KeyStrategy>; Level::COUNT],
}

/// What keeps the calls of a conversation on one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyAffinity {
    /// Nothing.
    #[default]
    Off,
    /// The session name that the client sends.
    Session,
    /// Its beginning: the system prompt and the first user message.
    Prefix,
}

/// How calls are spread over keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadBalancing {
    /// The strategy of each level.
    pub strategies: LevelStrategies,
    /// Conversation affinity; takes precedence while the key is healthy.
    pub affinity: KeyAffinity,
    /// Whether a slow attempt is hedged with a second key.
    pub hedge: bool,
}

impl KeyStrategy {
    const ALL: [Self; 4] = [
        Self::RoundRobin,
        Self::Weighted,
        Self::LeastBusy,
        Self::Fastest,
    ];

    /// The word in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Weighted => "weighted",
            Self::LeastBusy => "least-busy",
            Self::Fastest => "fastest",
        }
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        let known = Self::ALL.into_iter().find(|it| it.as_str() == text);
        known.ok_or_else(|| {
            let words = Self::ALL.map(Self::as_str).join(", ");
            Invalid::new(
                "KEY_STRATEGY",
                format!("{text:?} is none of {words}; or of these by level, as in 2=fastest"),
            )
        })
    }
}

impl LevelStrategies {
    /// Reads one word for all levels, `level=word` for single ones, or both, separated by commas. The last one applies.
    ///
    /// # Errors
    /// Errors if a word or a level is unknown.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let mut read = Self::default();
        let items = text.split(',').map(str::trim);
        for item in items.filter(|item| !item.is_empty()) {
            let Some((level, word)) = item.split_once('=') else {
                read.all = KeyStrategy::parse(item)?;
                continue;
            };
            let strategy = KeyStrategy::parse(word.trim())?;
            let level = level.trim().parse().ok();
            let level = level.and_then(|level| Level::new(level).ok());
            let slot = level.and_then(|level| read.own.get_mut(usize::from(level.get())));
            let slot = slot.ok_or_else(|| {
                Invalid::new(
                    "KEY_STRATEGY",
                    format!("{item:?} names no level from 0 to 10"),
                )
            })?;
            *slot = Some(strategy);
        }
        Ok(read)
    }

    /// The strategy of a level.
    pub fn of(&self, level: Level) -> KeyStrategy {
        let own = self.own.get(usize::from(level.get())).copied().flatten();
        own.unwrap_or(self.all)
    }

    /// The text form.
    pub fn text(&self) -> String {
        let own = self.own.iter().enumerate();
        let own = own.filter_map(|(level, own)| Some(format!("{level}={}", (*own)?.as_str())));
        let all = [self.all.as_str().to_owned()];
        all.into_iter().chain(own).collect::<Vec<_>>().join(",")
    }
}

impl KeyAffinity {
    /// Reads the word; an empty text means off.
    ///
    /// # Errors
    /// Errors if the word is unknown.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text.trim() {
            "" | "off" => Ok(Self::Off),
            "session" => Ok(Self::Session),
            "prefix" => Ok(Self::Prefix),
            _ => Err(Invalid::new("AFFINITY", "must be off, session or prefix")),
        }
    }

    /// The word in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Session => "session",
            Self::Prefix => "prefix",
        }
    }
}

/// Reads `on` or `off`; an empty text means off.
///
/// # Errors
/// Errors if it is neither.
pub fn hedge(text: &str) -> Result<bool, Invalid> {
    match text.trim() {
        "on" => Ok(true),
        "" | "off" => Ok(false),
        _ => Err(Invalid::new("HEDGE", "must be on or off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_may_differ_from_the_rest() {
        let read = LevelStrategies::parse(" least-busy, 2=fastest,10 = weighted,").unwrap();
        let of = |level| read.of(Level::new(level).unwrap());
        assert_eq!(of(2), KeyStrategy::Fastest);
        assert_eq!(of(10), KeyStrategy::Weighted);
        assert_eq!(of(0), KeyStrategy::LeastBusy);
        assert_eq!(read.text(), "least-busy,2=fastest,10=weighted");
        assert_eq!(LevelStrategies::parse(&read.text()), Ok(read));
        assert_eq!(LevelStrategies::parse(""), Ok(LevelStrategies::default()));
        for bad in ["quick", "11=fastest", "x=fastest", "2=", "=fastest"] {
            let error = LevelStrategies::parse(bad).unwrap_err();
            assert_eq!(error.field, "KEY_STRATEGY", "{bad}");
        }
    }

    #[test]
    fn affinity_is_off_unless_named() {
        for word in [KeyAffinity::Off, KeyAffinity::Session, KeyAffinity::Prefix] {
            assert_eq!(KeyAffinity::parse(word.as_str()), Ok(word));
        }
        assert_eq!(KeyAffinity::parse(""), Ok(KeyAffinity::Off));
        assert_eq!(KeyAffinity::parse("on").unwrap_err().field, "AFFINITY");
        assert_eq!(hedge("maybe").unwrap_err().field, "HEDGE");
    }
}

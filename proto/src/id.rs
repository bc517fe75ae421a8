//! Identifiers. Each has its own type, so that a key's id cannot be mistaken for an account's.

use std::fmt;

use crate::Invalid;

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(i64);

        impl $name {
            /// Takes a positive row id.
            ///
            /// # Errors
            /// Errors if it is zero or negative.
            pub fn new(id: i64) -> Result<Self, Invalid> {
                if id > 0 { Ok(Self(id)) } else { Err(Invalid::new("id", "must be positive")) }
            }

            /// The bare number, for rows, messages and logs.
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id! {
    /// An account. Root is 1.
    AccountId
}
row_id! {
    /// An upstream key.
    KeyId
}

row_id! {
    /// A further client key of an account.
    ClientKeyId
}

impl ClientKeyId {
    /// The smallest id.
    pub const FIRST: Self = Self(1);
}

impl AccountId {
    /// The first account: ancestor of all others. It creates credit.
    pub const ROOT: Self = Self(1);
}

/// The number of a configuration state; grows with every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A pool of upstream keys, 0 to 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Level(u8);

impl Level {
    /// The level of root, and of keys created without one.
    pub const ZERO: Self = Self(0);
    /// Number of levels.
    pub const COUNT: usize = 11;

    /// Takes 0 to 10.
    ///
    /// # Errors
    /// Errors if it is outside.
    pub fn new(level: i64) -> Result<Self, Invalid> {
        match u8::try_from(level) {
            Ok(level) if usize::from(level) < Self::COUNT => Ok(Self(level)),
            _ => Err(Invalid::new("Level", "must be from 0 to 10")),
        }
    }

    /// The bare number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Level {
    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=10).map(Self)
    }
}

/// A set of levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Levels(u16);

impl Levels {
    /// All of them.
    pub const ALL: Self = Self(0x7FF);

    /// Whether the set contains this level.
    pub const fn has(self, level: Level) -> bool {
        self.0 >> level.0 & 1 == 1
    }

    /// Adds a level. Returns false if it was already there.
    pub const fn insert(&mut self, level: Level) -> bool {
        let fresh = !self.has(level);
        self.0 |= 1 << level.0;
        fresh
    }

    /// The levels in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The levels of the set, in order.
    pub fn iter(self) -> impl Iterator<Item = Level> {
        Level::all().filter(move |level| self.has(*level))
    }
}

impl FromIterator<Level> for Levels {
    fn from_iter<I: IntoIterator<Item = Level>>(levels: I) -> Self {
        let mut all = Self::default();
        for level in levels {
            all.insert(level);
        }
        all
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, level) in self.iter().enumerate() {
            let between = if at == 0 { "" } else { ", " };
            write!(f, "{between}{level}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Name of a data plane: 1 to 63 characters of `[a-z0-9-]`. It goes into `Via` headers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(String);

impl NodeName {
    /// Checks the alphabet and the length.
    ///
    /// # Errors
    /// Errors if either is wrong.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=63).contains(&name.len()) && name.bytes().all(good) {
            Ok(Self(name.to_owned()))
        } else {
            Err(Invalid::new(
                "node",
                "must be 1 to 63 characters of a-z, 0-9 and -",
            ))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

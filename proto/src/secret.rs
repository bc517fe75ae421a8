//! Text that must not be seen: wiped on drop, hidden in `Debug`, without `Display`.

use std::fmt;

use zeroize::Zeroizing;

/// A secret text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the clear text.
    pub fn new(clear: impl Into<String>) -> Self {
        Self(Zeroizing::new(clear.into()))
    }

    /// The clear text. Reviews should look at each caller.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last `count` characters, for recognising a secret.
    pub fn tail(&self, count: usize) -> &str {
        let start = self.0.len().saturating_sub(count);
        self.0.get(start..).unwrap_or_default()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

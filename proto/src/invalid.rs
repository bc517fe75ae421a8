//! The one error of parsing input: which field, and what is wrong with it.

use std::fmt;

/// An input value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// Name of the field as the sender knows it.
    pub field: String,
    /// What is wrong, as a phrase that follows the field name.
    pub problem: String,
}

impl Invalid {
    /// Makes an error from a field and its problem.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// The same error for a field inside `outer`; the inner field stays named.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        if self.field == outer {
            return self;
        }
        let place = self.field.strip_prefix(outer);
        let place = place.and_then(|place| place.strip_prefix('.'));
        let place = place.unwrap_or(&self.field);
        Self::new(outer, format!("{place} {}", self.problem))
    }

    /// The same problem under the name that the outer input uses.
    #[must_use]
    pub fn under(self, field: impl Into<String>) -> Self {
        Self::new(field, self.problem)
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

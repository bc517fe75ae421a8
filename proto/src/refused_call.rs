//! Calls that the gateway refused before any upstream key was tried: they leave no usage record.

use crate::{clock::Millis, id::AccountId};

/// The most bytes of a refusal's message that are kept.
pub const MESSAGE_BYTES_MAX: usize = 200;
/// The most bytes of every other text.
pub const TEXT_BYTES_MAX: usize = 255;

/// A refused call, and how many similar ones it represents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedCall {
    /// Random; unique together with the time.
    pub id: i64,
    /// When the request head arrived.
    pub at: Millis,
    /// `None` if the client key is unknown.
    pub account: Option<AccountId>,
    /// Request path without query.
    pub path: String,
    /// The model as the client named it; may be empty.
    pub model: String,
    /// HTTP status of the response.
    pub status: u16,
    /// Error code of the response.
    pub code: String,
    /// The beginning of the message in the response.
    pub message: String,
    /// The call's `x-request-id`.
    pub request_id: String,
    /// Milliseconds until it was refused.
    pub duration_ms: u64,
    /// How many calls of this account with this code it represents, itself included.
    pub represents: u64,
}

impl RefusedCall {
    /// Truncates long texts, and removes characters that a database rejects.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        for text in [
            &mut self.path,
            &mut self.model,
            &mut self.code,
            &mut self.request_id,
        ] {
            bound(text, TEXT_BYTES_MAX);
        }
        bound(&mut self.message, MESSAGE_BYTES_MAX);
        self
    }
}

fn bound(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
    if text.contains('\0') {
        *text = text.replace('\0', "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        let call = RefusedCall {
            id: 1,
            at: Millis(0),
            account: None,
            path: "é".repeat(200),
            model: "a\0b".to_owned(),
            status: 401,
            code: "c".to_owned(),
            message: "語".repeat(100),
            request_id: String::new(),
            duration_ms: 0,
            represents: 1,
        }
        .bounded();
        assert_eq!(call.path, "é".repeat(127));
        assert_eq!(call.message, "語".repeat(66));
        assert_eq!(call.model, "ab");
    }
}

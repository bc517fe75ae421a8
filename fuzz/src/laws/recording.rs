//! Recordings, which are charged by their length.

use crate::formats::sound::length_ms;

/// An uploaded file.
pub fn recording(input: &[u8]) {
    let told = length_ms(input);
    assert_ne!(told, Some(0));
    let length = told.unwrap_or_default();
    assert!(length <= 120 * input.len() as u64);
}

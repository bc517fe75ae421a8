//! Masks a secret in what a provider sends: some repeat the key that they were called with. The length stays the same,
//! so nothing around it changes.

use std::fmt;

use bytes::Bytes;
use memchr::memmem::Finder;

/// A shorter secret could match unrelated text.
const SECRET_BYTES_MIN: usize = 8;
const COVER: u8 = b'*';

/// A prepared search for one secret.
pub(crate) struct SecretMask(Option<Finder<'static>>);

// === impl SecretMask ===

impl SecretMask {
    pub(crate) fn new(secret: &str) -> Self {
        let long = secret.len() >= SECRET_BYTES_MIN;
        Self(long.then(|| Finder::new(secret.as_bytes()).into_owned()))
    }

    /// Whether a text contains the secret.
    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        let finder = self.0.as_ref();
        finder.is_some_and(|finder| finder.find(text).is_some())
    }

    /// Masks the secret in a text. The text is copied only if it contains the secret.
    pub(crate) fn cover(&self, text: Bytes) -> Bytes {
        let Some(finder) = self.0.as_ref().filter(|_| self.is_in(&text)) else {
            return text;
        };
        let mut covered = text.to_vec();
        for at in finder.find_iter(&text) {
            if let Some(secret) = covered.get_mut(at..at + finder.needle().len()) {
                secret.fill(COVER);
            }
        }
        covered.into()
    }

    /// How many bytes at the end of a text may be the beginning of the secret.
    pub(crate) fn begun(&self, text: &[u8]) -> usize {
        let secret = self.0.as_ref().map_or(&[][..], Finder::needle);
        let most = secret.len().saturating_sub(1).min(text.len());
        let begun = |length: &usize| {
            let beginning = secret.get(..*length);
            beginning.is_some_and(|beginning| text.ends_with(beginning))
        };
        (1..=most).rev().find(begun).unwrap_or_default()
    }
}

impl fmt::Debug for SecretMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mask(***)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "sk-secret-sk-1";

    #[test]
    fn what_does_not_hold_it_is_not_copied() {
        let text = Bytes::from_static(b"nothing of it here");
        let covered = SecretMask::new(SECRET).cover(text.clone());
        assert_eq!(
            (covered.as_ptr(), covered.len()),
            (text.as_ptr(), text.len())
        );
        assert!(!format!("{:?}", SecretMask::new(SECRET)).contains("secret"));
        assert!(!SecretMask::new("short").is_in(b"a short one"));
    }

    proptest! {
        #[test]
        fn no_secret_is_left_however_the_text_is_cut(before in "[ -~]{0,40}", times in 1usize..4, cut in 0usize..200) {
            let text = format!("{before}{}{before}", SECRET.repeat(times));
            let mask = SecretMask::new(SECRET);
            let (first, rest) = text.as_bytes().split_at(cut.min(text.len()));
            let held = mask.begun(&mask.cover(Bytes::copy_from_slice(first)));
            let (out, held) = first.split_at(first.len() - held);
            let parts = [Bytes::copy_from_slice(out), [held, rest].concat().into()];
            let covered = parts.map(|part| mask.cover(part)).concat();
            prop_assert_eq!(covered.len(), text.len());
            prop_assert!(!mask.is_in(&covered));
        }
    }
}

//! Client keys ("virtual keys"): `sk-Xvs` and 45 characters of `[A-Za-z0-9]`. Only a keyed hash of
//! one is ever stored or sent to a data plane.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{Invalid, secret::Secret};

const PREFIX: &str = "sk-Xvs";
const RANDOM_CHARS: usize = 45;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A client key in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKey(Secret);

impl ClientKey {
    /// Generates a key from the system's random source.
    ///
    /// # Errors
    /// Errors if the system has no random source.
    pub fn generate() -> Result<Self, Invalid> {
        let mut text = String::with_capacity(PREFIX.len() + RANDOM_CHARS);
        text.push_str(PREFIX);
        let mut bytes = [0u8; 64];
        while text.len() < PREFIX.len() + RANDOM_CHARS {
            getrandom::fill(&mut bytes)
                .map_err(|_| Invalid::new("random source", "is not available"))?;
            // Skip bytes of 248 and more: 248 is the last multiple of 62, so every character is equally likely.
            let fair = bytes.iter().filter(|byte| **byte < 248);
            let chars = fair.filter_map(|byte| ALPHABET.get(usize::from(byte % 62)));
            for char in chars.take(PREFIX.len() + RANDOM_CHARS - text.len()) {
                text.push(char::from(*char));
            }
        }
        Ok(Self(Secret::new(text)))
    }

    /// Takes a key of the right form.
    ///
    /// # Errors
    /// Errors if the form is another.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let form = text.strip_prefix(PREFIX).is_some_and(|rest| {
            rest.len() == RANDOM_CHARS && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        if form {
            Ok(Self(Secret::new(text)))
        } else {
            Err(Invalid::new(
                "key",
                "must be sk-Xvs and 45 letters or digits",
            ))
        }
    }

    /// The clear text.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The last `count` characters.
    pub fn tail(&self, count: usize) -> &str {
        self.0.tail(count)
    }
}

/// Finds the key in the values of the two headers: `Authorization: Bearer K`, `Authorization: K` or `x-api-key: K`.
pub fn credential_from<'a>(
    authorization: Option<&'a str>,
    x_api_key: Option<&'a str>,
) -> Option<&'a str> {
    let bare = authorization.map(|value| match value.trim().split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
        _ => value.trim(),
    });
    let key = |value: &&str| !value.is_empty();
    bare.filter(key)
        .or_else(|| x_api_key.map(str::trim).filter(key))
}

/// Keyed hash of a client key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// Hashes client keys with HMAC-SHA-256 under a key derived from the master key.
#[derive(Clone)]
pub struct KeyHasher {
    // The keyed state is prepared once. A lookup clones it and hashes one short message.
    prepared: Hmac<Sha256>,
    key: [u8; 32],
}

impl KeyHasher {
    /// Prepares the keyed state.
    ///
    /// # Errors
    /// Errors if the key is not 32 bytes long.
    pub fn new(key: &[u8]) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("client_key_hash_key", "must be 32 bytes");
        let key: [u8; 32] = key.try_into().map_err(|_| wrong())?;
        let prepared = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| wrong())?;
        Ok(Self { prepared, key })
    }

    /// Hashes the credential that a client presented.
    pub fn hash(&self, presented: &str) -> KeyHash {
        let mut mac = self.prepared.clone();
        mac.update(presented.as_bytes());
        KeyHash(mac.finalize().into_bytes().into())
    }

    /// The HMAC key, for sending it to a data plane.
    pub const fn key(&self) -> &[u8; 32] {
        &self.key
    }
}

impl PartialEq for KeyHasher {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_has_the_documented_form() {
        let key = ClientKey::generate().unwrap();
        assert_eq!(key.expose().len(), 51);
        assert_eq!(ClientKey::parse(key.expose()).unwrap(), key);
        assert_ne!(ClientKey::generate().unwrap(), key);
    }

    #[test]
    fn a_key_of_another_form_is_refused() {
        for bad in [
            "",
            "sk-Xvs",
            "sk-abc",
            &format!("sk-Xvs{}", "a".repeat(44)),
            &format!("sk-Xvs{}-", "a".repeat(44)),
        ] {
            assert!(ClientKey::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_three_forms_of_a_credential_are_read() {
        assert_eq!(credential_from(Some("Bearer K"), None), Some("K"));
        assert_eq!(credential_from(Some(" bearer  K "), None), Some("K"));
        assert_eq!(credential_from(Some("K"), Some("other")), Some("K"));
        assert_eq!(credential_from(None, Some("K")), Some("K"));
        assert_eq!(credential_from(Some(""), Some("K")), Some("K"));
        assert_eq!(credential_from(None, Some(" ")), None);
    }

    #[test]
    fn a_hash_depends_on_key_and_text() {
        let one = KeyHasher::new(&[1; 32]).unwrap();
        let two = KeyHasher::new(&[2; 32]).unwrap();
        assert_eq!(one.hash("a"), one.hash("a"));
        assert_ne!(one.hash("a"), one.hash("b"));
        assert_ne!(one.hash("a"), two.hash("a"));
    }

    #[test]
    fn no_debug_output_shows_a_key() {
        let key = ClientKey::generate().unwrap();
        assert!(!format!("{key:?}").contains(key.expose()));
    }
}

//! The sealed form in which a database may hold a generated master key: under a key that Argon2id makes of
//! one of root's client keys. Those made here have 268 random bits, which need no slow function, but one
//! given in `INIT_USERS` may be a human's choice.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use proxyxai_contract::secret::Secret;
use zeroize::Zeroizing;

use super::{fill_random, open_with, seal_failed, seal_with};
use crate::Error;

/// First byte of a copy. It stands for the parameters below, so that whoever meddles with a copy cannot
/// choose them.
const COPY_VERSION: u8 = 1;
const SALT_BYTES: usize = 16;
/// OWASP's least for Argon2id: 19 MiB, two passes, one lane. It takes some 30 ms, at a first start, at a start
/// without `master.key`, and when root's key changes.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const CONTEXT: &str = "master key";

/// Seals a master key so that this key of root's opens it.
pub(crate) fn seal(root_key: &Secret, master: &Secret) -> Result<Vec<u8>, Error> {
    let mut salt = [0u8; SALT_BYTES];
    fill_random(&mut salt)?;
    let sealed = seal_with(&cipher(root_key, &salt)?, CONTEXT, master)?;
    Ok([&[COPY_VERSION][..], &salt, &sealed].concat())
}

/// Opens what `seal` made.
pub(crate) fn open(root_key: &Secret, copy: &[u8]) -> Result<Secret, Error> {
    let rest = copy.strip_prefix(&[COPY_VERSION]).ok_or_else(seal_failed)?;
    let (salt, sealed) = rest
        .split_first_chunk::<SALT_BYTES>()
        .ok_or_else(seal_failed)?;
    open_with(&cipher(root_key, salt)?, CONTEXT, sealed)
}

fn cipher(root_key: &Secret, salt: &[u8; SALT_BYTES]) -> Result<XChaCha20Poly1305, Error> {
    let mut key = Zeroizing::new([0u8; 32]);
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(key.len())).map_err(failed)?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(root_key.expose().as_bytes(), salt, key.as_mut_slice())
        .map_err(failed)?;
    XChaCha20Poly1305::new_from_slice(key.as_slice()).map_err(Error::internal)
}

fn failed(error: argon2::Error) -> Error {
    Error::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOT: &str = "sk-XvsRoot";
    const MASTER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn copy(root_key: &str) -> Vec<u8> {
        seal(&Secret::new(root_key), &Secret::new(MASTER)).unwrap()
    }

    #[test]
    fn a_copy_is_another_each_time_and_shows_nothing() {
        let (one, two) = (copy(ROOT), copy(ROOT));
        assert_ne!(one[1..=SALT_BYTES], two[1..=SALT_BYTES]);
        assert_ne!(one[1 + SALT_BYTES..], two[1 + SALT_BYTES..]);
        let shown = |window: &[u8]| MASTER.as_bytes().windows(8).any(|part| part == window);
        assert!(!one.windows(8).any(shown));
    }

    #[test]
    fn a_copy_that_is_cut_off_or_goes_on_never_opens() {
        let whole = copy(ROOT);
        for length in (0..whole.len()).step_by(7) {
            let opened = open(&Secret::new(ROOT), &whole[..length]);
            assert!(opened.is_err(), "{length} bytes");
        }
        assert!(open(&Secret::new(ROOT), &[&whole[..], &[0]].concat()).is_err());
    }

    #[test]
    fn the_sealing_key_is_what_the_reference_implementation_makes() {
        // argon2 saltsaltsaltsalt -id -t 2 -k 19456 -p 1 -l 32 -r
        let reference = [
            0x0b, 0xb9, 0xb8, 0xc7, 0x22, 0x22, 0x4b, 0x85, 0xcc, 0xfc, 0xc6, 0x1e, 0xf7, 0xcd,
            0xaa, 0x91, 0x58, 0x53, 0x45, 0xda, 0x38, 0x03, 0xdf, 0xa8, 0xe2, 0xfd, 0x7e, 0x01,
            0x68, 0xdc, 0xce, 0xf7,
        ];
        let theirs = XChaCha20Poly1305::new_from_slice(&reference).unwrap();
        let ours = cipher(&Secret::new("the root key"), b"saltsaltsaltsalt").unwrap();
        let sealed = seal_with(&theirs, CONTEXT, &Secret::new(MASTER)).unwrap();
        assert_eq!(open_with(&ours, CONTEXT, &sealed).unwrap().expose(), MASTER);
    }

    proptest! {
        // Each case costs two or three Argon2ids.
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_key_that_sealed_a_copy_opens_it_and_no_other_does(
            root in "[ -~]{1,60}", other in "[ -~]{1,60}", master in "[ -~]{16,80}"
        ) {
            prop_assume!(root != other);
            let (root, master) = (Secret::new(root), Secret::new(master));
            let sealed = seal(&root, &master).unwrap();
            prop_assert_eq!(open(&root, &sealed).unwrap(), master);
            prop_assert!(open(&Secret::new(other), &sealed).is_err());
        }

        #[test]
        fn a_copy_with_a_flipped_bit_never_opens(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut sealed = copy(ROOT);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(open(&Secret::new(ROOT), &sealed).is_err());
        }

        #[test]
        fn a_root_key_with_one_other_character_never_opens(
            root in "sk-Xvs[A-Za-z0-9]{45}", at in any::<prop::sample::Index>(), with in "[A-Za-z0-9]"
        ) {
            let mut other = root.clone();
            let at = at.index(root.len());
            other.replace_range(at..=at, &with);
            prop_assume!(root != other);
            prop_assert!(open(&Secret::new(other), &copy(&root)).is_err());
        }
    }
}

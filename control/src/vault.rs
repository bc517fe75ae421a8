//! The master key and its uses: sealing upstream secrets, hashing client keys, fingerprints. Also the generated secret
//! files of `DATA_DIR` and (`copies`) sealed copies of a generated master key in the database. It does not decide where
//! keys come from.

pub(crate) mod copies;

use std::{
    fmt, fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead as _, KeyInit as _, Payload},
};
use hmac::{Hmac, Mac as _};
use proxyxai_contract::{
    Invalid,
    client_key::{KeyHash, KeyHasher},
    secret::Secret,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Error;

const NONCE_BYTES: usize = 24;
/// First byte of everything sealed, so that another scheme can follow.
const SEAL_VERSION: u8 = 1;
/// No secret is shorter, so a shorter file was truncated.
const SECRET_BYTES_MIN: usize = 16;
const SENTINEL_CONTEXT: &str = "sentinel";
const SENTINEL_TEXT: &str = "proxyxai";

/// Keys derived from the master key.
pub(crate) struct Vault {
    cipher: XChaCha20Poly1305,
    fingerprint: Zeroizing<[u8; 32]>,
    hasher: KeyHasher,
    /// The master key itself, if it was generated. A given one is never kept.
    generated: Option<Secret>,
}

// === impl Vault ===

impl Vault {
    /// Derives all keys from a given master key.
    pub(crate) fn new(text: &Secret) -> Result<Self, Error> {
        let master = master_key(text)?;
        let seal = subkey(&master, "upstream secrets")?;
        let cipher = XChaCha20Poly1305::new_from_slice(seal.as_slice()).map_err(Error::internal)?;
        Ok(Self {
            cipher,
            fingerprint: subkey(&master, "upstream fingerprints")?,
            hasher: KeyHasher::new(subkey(&master, "client keys")?.as_slice())?,
            generated: None,
        })
    }

    /// Like `new`, from a master key generated here. Copies of it may be kept.
    pub(crate) fn of_generated(text: Secret) -> Result<Self, Error> {
        let vault = Self::new(&text)?;
        Ok(Self {
            generated: Some(text),
            ..vault
        })
    }

    /// The generated master key, of which the database may hold copies.
    pub(crate) const fn generated(&self) -> Option<&Secret> {
        self.generated.as_ref()
    }

    /// The hasher of client keys.
    pub(crate) const fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// Seals a text. It opens only under the same context, so that a sealed secret cannot be moved to another purpose
    /// or provider unnoticed.
    pub(crate) fn seal(&self, context: &str, secret: &Secret) -> Result<Vec<u8>, Error> {
        seal_with(&self.cipher, context, secret)
    }

    /// Opens what `seal` made.
    pub(crate) fn open_sealed(&self, context: &str, sealed: &[u8]) -> Result<Secret, Error> {
        open_with(&self.cipher, context, sealed)
    }

    /// Like `seal`, as text of `A-Z a-z 0-9 - _`.
    pub(crate) fn seal_text(&self, context: &str, secret: &Secret) -> Result<String, Error> {
        let sealed = self.seal(context, secret)?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens what `seal_text` made.
    pub(crate) fn open_text(&self, context: &str, sealed: &str) -> Result<Secret, Error> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(sealed.trim());
        self.open_sealed(context, &sealed.map_err(|_| seal_failed())?)
    }

    /// A fingerprint that identifies equal upstream secrets without opening them.
    pub(crate) fn fingerprint(&self, secret: &Secret) -> Result<Vec<u8>, Error> {
        mac(self.fingerprint.as_slice(), secret.expose().as_bytes()).map(|tag| tag.to_vec())
    }

    /// A sealed row that only this master key opens.
    pub(crate) fn sentinel(&self) -> Result<Vec<u8>, Error> {
        self.seal(SENTINEL_CONTEXT, &Secret::new(SENTINEL_TEXT))
    }

    /// Errors if the row was not sealed with this master key.
    pub(crate) fn check_sentinel(&self, sealed: &[u8]) -> Result<(), Error> {
        self.open_sealed(SENTINEL_CONTEXT, sealed).map(drop).map_err(|_| {
            Invalid::new(
                "MASTER_KEY",
                "is not the one this database was made with (without it, the file master.key in DATA_DIR is used)",
            )
            .into()
        })
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

fn seal_with(cipher: &XChaCha20Poly1305, context: &str, secret: &Secret) -> Result<Vec<u8>, Error> {
    let mut nonce = [0u8; NONCE_BYTES];
    fill_random(&mut nonce)?;
    let payload = Payload {
        msg: secret.expose().as_bytes(),
        aad: context.as_bytes(),
    };
    let sealed = cipher
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|_| seal_failed())?;
    Ok([&[SEAL_VERSION][..], &nonce, &sealed].concat())
}

fn open_with(cipher: &XChaCha20Poly1305, context: &str, sealed: &[u8]) -> Result<Secret, Error> {
    let rest = sealed
        .strip_prefix(&[SEAL_VERSION])
        .ok_or_else(seal_failed)?;
    let (nonce, body) = rest
        .split_first_chunk::<NONCE_BYTES>()
        .ok_or_else(seal_failed)?;
    let payload = Payload {
        msg: body,
        aad: context.as_bytes(),
    };
    let clear = cipher
        .decrypt(&XNonce::from(*nonce), payload)
        .map_err(|_| seal_failed())?;
    let clear = Zeroizing::new(clear);
    str::from_utf8(&clear)
        .map(Secret::new)
        .map_err(|_| seal_failed())
}

/// A name for a client key that reveals nothing of it: the hash of its stored hash, in hexadecimal.
pub(crate) fn public_key(hash: KeyHash) -> String {
    const_hex::encode(Sha256::digest(hash.0))
}

/// A random name, for what lives no longer than this process.
pub(crate) fn random_name() -> Result<String, Error> {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    Ok(const_hex::encode(bytes))
}

/// The state of a file with a secret.
pub(crate) enum SecretFile {
    /// There is no file.
    Nothing,
    /// The file is empty, truncated or not text.
    Unusable,
    /// The file holds a secret.
    Secret(Secret),
}

/// Reads a file that should contain a secret.
///
/// # Errors
/// Errors if the file cannot be read, which says nothing about its content.
pub(crate) fn inspect_secret_file(path: &Path) -> Result<SecretFile, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(SecretFile::Nothing),
        Err(error) if error.kind() == ErrorKind::InvalidData => return Ok(SecretFile::Unusable),
        Err(error) => return Err(file_error(path, &error.to_string())),
    };
    let text = text.trim();
    Ok(if text.len() < SECRET_BYTES_MIN {
        SecretFile::Unusable
    } else {
        SecretFile::Secret(Secret::new(text))
    })
}

/// The secret in a file of one line. Returns `None` if there is no file.
pub(crate) fn read_secret(path: &Path) -> Result<Option<Secret>, Error> {
    match inspect_secret_file(path)? {
        SecretFile::Nothing => Ok(None),
        SecretFile::Secret(secret) => Ok(Some(secret)),
        SecretFile::Unusable => Err(file_error(path, "holds no usable key: move the file away")),
    }
}

/// Reads a secret, or creates a random one, readable only by its owner, if there is no file.
pub(crate) fn kept_secret(path: &Path) -> Result<Secret, Error> {
    if let Some(kept) = read_secret(path)? {
        return Ok(kept);
    }
    let mut bytes = Zeroizing::new([0u8; 32]);
    fill_random(bytes.as_mut_slice())?;
    write_secret(path, &Secret::new(const_hex::encode(bytes.as_slice())))?;
    // Another process may have been first: what is in the file now is the secret.
    read_secret(path)?.ok_or_else(|| file_error(path, "vanished"))
}

/// Writes a secret to a new file, readable only by its owner. The file appears whole or not at all. An existing file
/// stays unchanged.
pub(crate) fn write_secret(path: &Path, secret: &Secret) -> Result<(), Error> {
    let draft = draft(path, secret)?;
    // A hard link never replaces an existing file, unlike a rename.
    let linked = fs::hard_link(&draft, path);
    let removed = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(file_error(path, &error.to_string()))
        }
        _ => removed.map_err(|error| file_error(path, &error.to_string())),
    }
}

/// Replaces a file's secret atomically: a reader sees the old or the new one, whole.
pub(crate) fn replace_secret(path: &Path, secret: &Secret) -> Result<(), Error> {
    let draft = draft(path, secret)?;
    fs::rename(&draft, path).map_err(|error| {
        discard(&draft);
        file_error(path, &error.to_string())
    })
}

/// Writes a secret to a temporary file beside this one.
fn draft(path: &Path, secret: &Secret) -> Result<PathBuf, Error> {
    let mut suffix = [0u8; 8];
    fill_random(&mut suffix)?;
    let draft = path.with_extension(format!("{:016x}", u64::from_be_bytes(suffix)));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let failed = |error: &std::io::Error| file_error(path, &error.to_string());
    let mut file = options.open(&draft).map_err(|error| failed(&error))?;
    let written = file
        .write_all(format!("{}\n", secret.expose()).as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|error| {
        discard(&draft);
        failed(&error)
    })?;
    Ok(draft)
}

/// Errors are ignored: the failure that made the draft useless is reported already.
fn discard(draft: &Path) {
    let _removed: std::io::Result<()> = fs::remove_file(draft);
}

/// 64 hexadecimal digits are the key itself; any other text is hashed into one.
fn master_key(text: &Secret) -> Result<Zeroizing<[u8; 32]>, Error> {
    let text = text.expose().as_bytes();
    if let Some(key) = from_hex(text) {
        return Ok(key);
    }
    if text.len() < SECRET_BYTES_MIN {
        return Err(Invalid::new("MASTER_KEY", "must have at least 16 bytes").into());
    }
    mac(b"proxyxai master key", text).map(Zeroizing::new)
}

fn from_hex(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0u8; 32]);
    const_hex::decode_to_slice(text, key.as_mut_slice()).ok()?;
    // A leading `0x` would be left out, but then 62 digits are too few.
    (text.len() == 64).then_some(key)
}

fn subkey(master: &Zeroizing<[u8; 32]>, label: &str) -> Result<Zeroizing<[u8; 32]>, Error> {
    mac(master.as_slice(), format!("proxyxai/v1/{label}").as_bytes()).map(Zeroizing::new)
}

fn mac(key: &[u8], message: &[u8]) -> Result<[u8; 32], Error> {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).map_err(Error::internal)?;
    mac.update(message);
    Ok(mac.finalize().into_bytes().into())
}

fn fill_random(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|error| Error::internal(error.to_string()))
}

fn seal_failed() -> Error {
    Error::internal("a sealed value cannot be opened")
}

fn file_error(path: &Path, problem: &str) -> Error {
    Invalid::new(path.display().to_string(), problem).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn vault(master: &str) -> Vault {
        Vault::new(&Secret::new(master)).unwrap()
    }

    #[test]
    fn a_sealed_secret_opens_under_its_own_key_and_context_only() {
        let secret = Secret::new("sk-upstream-secret");
        let sealed = vault("a master key of some length")
            .seal("provider a", &secret)
            .unwrap();
        let opened =
            |master: &str, context: &str, sealed: &[u8]| vault(master).open_sealed(context, sealed);
        assert_eq!(
            opened("a master key of some length", "provider a", &sealed).unwrap(),
            secret
        );
        assert!(opened("a master key of some length", "provider b", &sealed).is_err());
        assert!(opened("another master key, as long", "provider a", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(
                opened("a master key of some length", "provider a", &changed).is_err(),
                "byte {at}"
            );
        }
        assert!(!sealed.windows(8).any(|window| window == b"upstream"));
    }

    #[test]
    fn a_sealed_text_can_stand_in_a_path_and_opens_again() {
        let vault = vault("a master key of some length");
        let secret = Secret::new("pass/word +?");
        let sealed = vault.seal_text("here", &secret).unwrap();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(sealed.bytes().all(plain), "{sealed}");
        assert_eq!(vault.open_text("here", &sealed).unwrap(), secret);
        for bad in ["", "x", "é", &sealed[1..]] {
            assert!(vault.open_text("here", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_public_key_is_not_the_hash_that_authenticates() {
        let hash = vault("a master key of some length").hasher().hash("key");
        let public = public_key(hash);
        assert_eq!(public.len(), 64);
        assert_ne!(public, const_hex::encode(hash.0));
    }

    #[test]
    fn hexadecimal_master_keys_are_taken_as_they_are() {
        let lower = vault(&"0123456789abcdef".repeat(4));
        let upper = vault(&"0123456789ABCDEF".repeat(4));
        assert_eq!(lower.hasher().hash("x"), upper.hasher().hash("x"));
        assert_ne!(
            lower.hasher().hash("x"),
            vault(&"0123456789abcdeg".repeat(4)).hasher().hash("x")
        );
        assert!(Vault::new(&Secret::new("short")).is_err());
    }

    #[test]
    fn a_generated_key_is_kept_and_readable_by_its_owner_alone() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("master.key");
        let first = kept_secret(&path).unwrap();
        assert_eq!(kept_secret(&path).unwrap(), first);
        assert_eq!(first.expose().len(), 64);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

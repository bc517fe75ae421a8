//! Helpers of tests: directories that vanish, control planes to ask.

use std::{fs, path::{Path, PathBuf}};

/// A directory of its own, removed when dropped.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        let mut bytes = [0u8; 8];
        getrandom::fill(&mut bytes).unwrap();
        let path = std::env::temp_dir().join(format!("proxyxai-{:016x}", u64::from_be_bytes(bytes)));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A directory left over in the system's own place for them does no harm.
        fs::remove_dir_all(&self.0).ok();
    }
}

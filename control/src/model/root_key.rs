//! The file in which a first start keeps the root key that it made.

/// What the file `root.key` is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootKeyFile {
    /// There is none: root's key was given, or another control plane made it.
    Missing,
    /// It holds root's key.
    Current,
    /// It holds an earlier one, or none at all.
    Outdated,
}

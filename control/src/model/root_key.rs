//! The file to which a first start writes the root key that it generated.

/// The state of the file `root.key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootKeyFile {
    /// There is no file: root's key was given, or another control plane generated it.
    Missing,
    /// It holds root's key.
    Current,
    /// It holds an earlier key, or none at all.
    Outdated,
}

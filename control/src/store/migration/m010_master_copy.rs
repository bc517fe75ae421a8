//! Copies of a generated master key, each as one of root's client keys opens it.

pub(super) const SCHEMA: &str = "
CREATE TABLE master_copy (
    slot TEXT PRIMARY KEY,
    key_hash {BLOB} NOT NULL,
    sealed {BLOB} NOT NULL
)
";

//! Explains why `DATA_DIR` cannot be used: mostly because it belongs to another user, which "permission denied" does
//! not say. Runs only after a file operation has failed, and changes nothing.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use proxyxai_control::config::Database;
use rustix::{
    fs::{Access, access},
    io::Errno,
    process::{getegid, geteuid},
};

/// What blocks the use of `DATA_DIR`, and the remedy.
#[derive(Debug)]
pub(crate) struct OwnershipProblem {
    data_dir: PathBuf,
    path: PathBuf,
    owner: FileOwner,
    own: FileOwner,
}

/// A user and a group, by number, which a container and its host share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileOwner {
    user: u32,
    group: u32,
}

/// Adds a remedy to the error if files of another user may have caused it. The error itself stays the same.
pub(crate) fn with_ownership_hint(
    error: anyhow::Error,
    data_dir: &Path,
    database: &Database,
) -> anyhow::Error {
    if !is_about_files(&error, data_dir, database) {
        return error;
    }
    match OwnershipProblem::find(data_dir) {
        Some(obstacle) => error.context(obstacle),
        None => error,
    }
}

/// Whether a file of `DATA_DIR` may have caused a failure, judged by its kind.
fn is_about_files(error: &anyhow::Error, data_dir: &Path, database: &Database) -> bool {
    error.chain().any(|cause| {
        let denied = cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == ErrorKind::PermissionDenied);
        // Both errors either name the file, or come from the library that opened it.
        let of_control = match cause.downcast_ref() {
            Some(proxyxai_control::Error::Invalid(invalid)) => {
                Path::new(&invalid.field).starts_with(data_dir)
            }
            Some(proxyxai_control::Error::Storage(_)) => matches!(database, Database::Sqlite(_)),
            Some(_) | None => false,
        };
        let of_spool = matches!(
            cause.downcast_ref(),
            Some(proxyxai_dataplane::Error::Spool { .. })
        );
        denied || of_control || of_spool
    })
}

// === impl OwnershipProblem ===

impl OwnershipProblem {
    fn find(data_dir: &Path) -> Option<Self> {
        let data_dir = std::path::absolute(data_dir).ok()?;
        let nearest = data_dir.ancestors().find(|path| path.exists())?;
        let entries = fs::read_dir(&data_dir).into_iter().flatten().flatten();
        let inside = entries.map(|entry| entry.path());
        let path = std::iter::once(nearest.to_owned())
            .chain(inside.filter(|path| path.is_file()))
            .find(|path| is_denied(path))?;
        let found = fs::metadata(&path).ok()?;
        Some(Self {
            data_dir,
            owner: FileOwner {
                user: found.uid(),
                group: found.gid(),
            },
            path,
            own: FileOwner {
                user: geteuid().as_raw(),
                group: getegid().as_raw(),
            },
        })
    }
}

impl fmt::Display for OwnershipProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            data_dir,
            path,
            owner,
            own,
        } = self;
        let (data, path) = (data_dir.display(), path.display());
        let wanted = if is_secret(&self.path) {
            "read"
        } else {
            "write"
        };
        write!(
            f,
            "{path} belongs to {owner}, and this program runs as {own} and may not {wanted} there. "
        )?;
        if !self.path.starts_with(data_dir) {
            let FileOwner { user, group } = own;
            return write!(f, "As root: install -d -m 0700 -o {user} -g {group} {data}");
        }
        if owner.user == own.user {
            write!(f, "Mend it with: chmod -R u+rwX {data}")
        } else {
            write!(f, "As root: chown -R {own} {data}")
        }
    }
}

impl fmt::Display for FileOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.user, self.group)
    }
}

fn is_denied(path: &Path) -> bool {
    let is_folder = path.is_dir();
    wanted(path, is_folder).is_some_and(|wanted| access(path, wanted) == Err(Errno::ACCESS))
}

/// The access that the program needs. Returns `None` for files that are not its own, such as a backup.
fn wanted(path: &Path, is_folder: bool) -> Option<Access> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_written =
        name.starts_with("proxyxai.db") || ["spool.redb", "journal.map"].contains(&&*name);
    if is_folder {
        Some(Access::WRITE_OK | Access::EXEC_OK)
    } else if is_secret(path) {
        Some(Access::READ_OK)
    } else {
        is_written.then_some(Access::READ_OK | Access::WRITE_OK)
    }
}

/// Files that are written once and then only read: they may be read-only.
fn is_secret(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("key" | "token"))
        || path.file_name().is_some_and(|name| name == "node.name")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};
    use proxyxai_contract::Invalid;

    use super::*;

    fn said(path: &str, owner: (u32, u32)) -> String {
        let of = |(user, group)| FileOwner { user, group };
        let obstacle = OwnershipProblem {
            data_dir: "/data".into(),
            path: path.into(),
            owner: of(owner),
            own: of((10001, 10001)),
        };
        obstacle.to_string()
    }

    #[test]
    fn what_is_in_the_way_is_named_with_its_owner_and_the_command_that_mends_it() {
        assert_eq!(
            said("/data", (0, 0)),
            "/data belongs to 0:0, and this program runs as 10001:10001 and may not write there. As root: chown -R 10001:10001 /data"
        );
        assert!(said("/data/proxyxai.db", (0, 5)).starts_with("/data/proxyxai.db belongs to 0:5,"));
        assert!(said("/data/root.key", (0, 5)).contains("may not read there"));
        assert!(said("/data/proxyxai.db", (10001, 5)).ends_with("chmod -R u+rwX /data"));
        assert!(said("/", (0, 0)).ends_with("install -d -m 0700 -o 10001 -g 10001 /data"));
    }

    #[test]
    fn secrets_have_to_be_readable_and_no_more_and_what_is_not_ours_does_not_matter() {
        let file = |name: &str| wanted(&Path::new("/data").join(name), false);
        for name in ["master.key", "root.key", "node.token", "node.name"] {
            assert_eq!(file(name), Some(Access::READ_OK), "{name}");
        }
        for name in [
            "proxyxai.db",
            "proxyxai.db-wal",
            "spool.redb",
            "journal.map",
        ] {
            assert_eq!(
                file(name),
                Some(Access::READ_OK | Access::WRITE_OK),
                "{name}"
            );
        }
        for name in ["backup.db", "access.log", "notes", ".key.swp"] {
            assert_eq!(file(name), None, "{name}");
        }
    }

    #[test]
    fn only_failures_of_files_are_looked_into() {
        let (data, file) = (
            Path::new("/data"),
            Database::Sqlite("/data/proxyxai.db".into()),
        );
        let about = |error: anyhow::Error| is_about_files(&error, data, &file);
        let io = |kind: ErrorKind| anyhow::Error::from(io::Error::from(kind)).context("x");
        let invalid = |field: &str| {
            let error: proxyxai_control::Error = Invalid::new(field, "x").into();
            Err::<(), _>(error)
                .context("control cannot start")
                .unwrap_err()
        };
        assert!(about(io(ErrorKind::PermissionDenied)));
        assert!(about(invalid("/data/master.key")));
        for other in [
            io(ErrorKind::AddrInUse),
            io(ErrorKind::ConnectionRefused),
            invalid("MASTER_KEY"),
            anyhow!("permission denied"),
        ] {
            assert!(!about(other));
        }
    }

    #[test]
    fn an_error_with_an_obstacle_is_still_what_it_was() {
        let error: proxyxai_control::Error = Invalid::new("/data/master.key", "x").into();
        let obstacle = OwnershipProblem {
            data_dir: "/data".into(),
            path: "/data".into(),
            owner: FileOwner { user: 0, group: 0 },
            own: FileOwner { user: 1, group: 1 },
        };
        let error = anyhow::Error::from(error)
            .context("control cannot start")
            .context(obstacle);
        assert!(error.is::<OwnershipProblem>());
        assert!(matches!(
            error.downcast_ref(),
            Some(proxyxai_control::Error::Invalid(_))
        ));
    }
}

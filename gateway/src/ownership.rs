//! Why `DATA_DIR` cannot be used: mostly because it belongs to somebody else, which "permission denied" does not say.
//! It looks only after something has failed, and changes nothing.

use std::{fmt, fs, os::unix::fs::MetadataExt as _, path::Path, path::PathBuf};

use anyhow::anyhow;
use rustix::{
    fs::{Access, access},
    io::Errno,
    process::{getegid, geteuid},
};

/// What of `DATA_DIR` is in the way, and how to mend it.
struct Obstacle {
    data_dir: PathBuf,
    path: PathBuf,
    owner: Owner,
    own: Owner,
}

/// A user and a group, by number: what a container and its host have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Owner {
    user: u32,
    group: u32,
}

/// The error, with a way out when somebody else's files are behind it.
pub(crate) fn explain(error: anyhow::Error, data_dir: &Path) -> anyhow::Error {
    match Obstacle::find(data_dir) {
        Some(obstacle) => anyhow!("{error:#}\n{obstacle}"),
        None => error,
    }
}

// === impl Obstacle ===

impl Obstacle {
    fn find(data_dir: &Path) -> Option<Self> {
        let data_dir = std::path::absolute(data_dir).ok()?;
        let nearest = data_dir.ancestors().find(|path| path.exists())?;
        let entries = fs::read_dir(&data_dir).into_iter().flatten().flatten();
        let inside = entries
            .map(|entry| entry.path())
            .filter(|path| path.is_file());
        let path = std::iter::once(nearest.to_owned())
            .chain(inside)
            .find(|path| is_denied(path))?;
        let found = fs::metadata(&path).ok()?;
        Some(Self {
            data_dir,
            owner: Owner {
                user: found.uid(),
                group: found.gid(),
            },
            path,
            own: Owner {
                user: geteuid().as_raw(),
                group: getegid().as_raw(),
            },
        })
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            data_dir,
            path,
            owner,
            own,
        } = self;
        let (data, path) = (data_dir.display(), path.display());
        write!(
            f,
            "{path} belongs to {owner}, and this program runs as {own} and may not write there. "
        )?;
        if !self.path.starts_with(data_dir) {
            let Owner { user, group } = own;
            return write!(f, "As root: install -d -m 0700 -o {user} -g {group} {data}");
        }
        if owner.user == own.user {
            write!(f, "Mend it with: chmod -R u+rwX {data}")
        } else {
            write!(f, "As root: chown -R {own} {data}")
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.user, self.group)
    }
}

fn is_denied(path: &Path) -> bool {
    let wanted = if path.is_dir() {
        Access::WRITE_OK | Access::EXEC_OK
    } else {
        Access::WRITE_OK
    };
    access(path, wanted) == Err(Errno::ACCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str, owner: (u32, u32)) -> String {
        let of = |(user, group)| Owner { user, group };
        let obstacle = Obstacle {
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
        assert!(said("/data/proxyxai.db", (10001, 5)).ends_with("chmod -R u+rwX /data"));
        assert!(said("/", (0, 0)).ends_with("install -d -m 0700 -o 10001 -g 10001 /data"));
    }
}

//! The limit of open files: it is raised as far as the system allows, and the number of connections is lowered to what
//! fits.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Databases, logs, the spool, listeners, and connections to control.
const OWN_FILES: u64 = 256;

/// Raises the soft limit to the hard limit and returns it. Returns `None` if there is no limit.
pub(crate) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, ?current, "the limit of open files could not be raised");
            current
        }
    }
}

/// How many of the wanted connections fit into the limit if each needs `files_each` files: its own, and one to a
/// provider.
pub(crate) fn connections_within(wanted: usize, limit: Option<u64>, files_each: u64) -> usize {
    let Some(limit) = limit else {
        return wanted;
    };
    let fit = limit.saturating_sub(OWN_FILES.min(limit / 2)) / files_each.max(1);
    usize::try_from(fit).map_or(wanted, |fit| wanted.min(fit.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_the_files_there_may_be() {
        assert_eq!(connections_within(16_384, None, 2), 16_384);
        assert_eq!(connections_within(16_384, Some(1_048_576), 2), 16_384);
        assert_eq!(connections_within(16_384, Some(20_000), 2), 9872);
        assert_eq!(connections_within(16_384, Some(1024), 2), 384);
        assert_eq!(connections_within(16_384, Some(1024), 1), 768);
        assert_eq!(connections_within(16_384, Some(100), 2), 25);
        assert_eq!(connections_within(16_384, Some(0), 2), 1);
        assert_eq!(connections_within(100, Some(1024), 2), 100);
    }
}

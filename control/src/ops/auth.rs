//! Who presents a key or a token.

use crate::{Control, Error, store, view::Caller};

/// The account whose client key this is.
pub(crate) async fn authenticate(control: &Control, presented: &str) -> Result<Caller, Error> {
    let hash = control.vault().hasher().hash(presented);
    match store::accounts::by_key(control.store(), hash).await? {
        Some((account, _, true)) => Ok(Caller { account }),
        Some((_, name, false)) => Err(Error::Suspended { name }),
        None => Err(Error::Unauthenticated),
    }
}

/// Whether this is the token of data planes. Hashes are compared, so that the time it takes tells nothing.
#[expect(
    clippy::unused_async,
    reason = "the fronts wait for every operation alike"
)]
pub(crate) async fn check_node(control: &Control, token: &str) -> Result<(), Error> {
    let hasher = control.vault().hasher();
    if hasher.hash(token) == hasher.hash(control.node_token().expose()) {
        Ok(())
    } else {
        Err(Error::Unauthenticated)
    }
}

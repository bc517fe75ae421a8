//! Who presents a key or a token.

use crate::{Control, Error, domain::account::Dna, store, view::Caller};

/// The account whose client key this is. A suspended account takes its descendants with it.
pub(crate) async fn authenticate(control: &Control, presented: &str) -> Result<Caller, Error> {
    let hash = control.vault().hasher().hash(presented);
    let account = match store::accounts::by_key(control.store(), hash).await? {
        Some((account, _, true)) => account,
        Some((_, name, false)) => return Err(Error::Suspended { name }),
        None => return Err(Error::Unauthenticated),
    };
    let now = control.now();
    let own = store::accounts::some(control.store(), &[account], now).await?;
    let dna = own.first().and_then(|own| Dna::parse(&own.view.dna).ok());
    let above: Vec<_> = dna
        .iter()
        .flat_map(Dna::ids)
        .filter(|id| *id != account)
        .collect();
    let above = store::accounts::some(control.store(), &above, now).await?;
    match above.into_iter().find(|ancestor| !ancestor.view.enabled) {
        Some(suspended) => Err(Error::Suspended {
            name: suspended.view.name,
        }),
        // Where it asks from is the front's to say.
        None => Ok(Caller {
            account,
            address: None,
        }),
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

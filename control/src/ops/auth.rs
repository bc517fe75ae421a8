//! Authentication by client key or node token, and the rate limit of administrative requests.

use std::net::IpAddr;

use proxyxai_contract::{
    client_key::KeyHash,
    id::{AccountId, ClientKeyId},
};

use crate::{
    Control, Error,
    domain::{account::Dna, setting},
    model::{Caller, ClientKeyInfo},
    ops,
    store::{self, AccountRecord},
};

/// The account whose first client key this is. Further keys cannot administer anything.
pub(crate) async fn authenticate(
    control: &Control,
    presented: &str,
    address: Option<IpAddr>,
) -> Result<Caller, Error> {
    let caller = identify(control, presented, address).await?;
    match caller.client_key {
        None => Ok(caller),
        Some(_) => Err(Error::Forbidden(
            "this client key makes calls and reads the balance and use of its account; the rest takes the account's first key",
        )),
    }
}

/// The account of a client key, first or further. A suspended account suspends its descendants, and every ancestor's
/// list of addresses applies.
pub(crate) async fn identify(
    control: &Control,
    presented: &str,
    address: Option<IpAddr>,
) -> Result<Caller, Error> {
    let hash = control.vault().hasher().hash(presented);
    let (account, client_key) = match store::accounts::by_key(control.store(), hash).await? {
        Some((account, _, true)) => (account, None),
        Some((_, name, false)) => return Err(Error::Suspended { name }),
        None => further(control, hash).await?,
    };
    let now = control.now();
    let own = store::accounts::some(control.store(), &[account], now).await?;
    let dna = own
        .first()
        .and_then(|own| Dna::parse(&own.account.dna).ok());
    let above: Vec<_> = dna
        .iter()
        .flat_map(Dna::ids)
        .filter(|id| *id != account)
        .collect();
    let above = store::accounts::some(control.store(), &above, now).await?;
    if let Some(suspended) = above.iter().find(|ancestor| !ancestor.account.is_active()) {
        return Err(Error::Suspended {
            name: suspended.account.name.clone(),
        });
    }
    let refuses = |record: &&AccountRecord| {
        address.is_some_and(|address| !record.account.access.ips.allows(address))
    };
    if let Some(refusing) = own.iter().chain(&above).find(refuses) {
        return Err(Error::IpNotAllowed {
            name: refusing.account.name.clone(),
        });
    }
    within_rate(control, own.first(), &above).await?;
    Ok(Caller {
        account,
        client_key,
        address,
    })
}

/// The account of a further key, while both are enabled and not expired.
async fn further(
    control: &Control,
    hash: KeyHash,
) -> Result<(AccountId, Option<ClientKeyId>), Error> {
    let now = control.now();
    let found = store::client_keys::by_hash(control.store(), hash).await?;
    let in_force = |view: &ClientKeyInfo| view.enabled && view.expires.is_none_or(|end| end > now);
    let view = found.map(|record| record.key).filter(in_force);
    let view = view.ok_or(Error::Unauthenticated)?;
    let account = store::accounts::childless(control.store(), view.account, now).await?;
    match account.filter(|record| record.deleted.is_none()) {
        Some(record) if record.account.is_active() => Ok((view.account, Some(view.id))),
        Some(record) => Err(Error::Suspended {
            name: record.account.name,
        }),
        None => Err(Error::Unauthenticated),
    }
}

/// Counts a request of an authenticated account. Root has no rate limit.
async fn within_rate(
    control: &Control,
    own: Option<&AccountRecord>,
    above: &[AccountRecord],
) -> Result<(), Error> {
    let below_root = |id: &AccountId| *id != AccountId::ROOT;
    let dna = own.and_then(|own| Dna::parse(&own.account.dna).ok());
    let path: Vec<_> = dna.iter().flat_map(Dna::ids).filter(below_root).collect();
    if path.is_empty() {
        return Ok(());
    }
    let rate = ops::settings::value(control, control.store(), &setting::ADMIN_RPM).await?;
    let Some(rate) = rate else {
        return Ok(());
    };
    let admitted = control.rates().admit(&path, rate, control.now());
    admitted.map_err(|refused| {
        let mut known = own.into_iter().chain(above);
        let whose = known.find(|record| record.account.id == refused.account);
        Error::TooOften {
            name: whose.map_or_else(String::new, |record| record.account.name.clone()),
            retry_after_ms: refused.retry_after_ms,
        }
    })
}

/// Whether this is the node token. Comparing hashes keeps the time from revealing anything.
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

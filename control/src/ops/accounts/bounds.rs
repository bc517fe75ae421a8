//! The limits on what an account may be given.

use proxyxai_contract::{
    id::AccountId,
    plan,
    routing::RoutingRules,
    snapshot::{AccessLists, AccountConfig},
};

use crate::{
    Control, Error,
    domain::{account::Dna, bounds::InheritedBounds, setting},
    model::{Caller, EffectiveRestrictions},
    ops,
    publish::{EffectiveSettings, as_known},
    store::{self, AccountRecord, Db, Tx},
};

/// The bounds an account sets for its children; root sets none.
pub(super) async fn below(
    control: &Control,
    tx: &Tx,
    parent: &AccountRecord,
) -> Result<InheritedBounds, Error> {
    if parent.account.id == AccountId::ROOT {
        return Ok(InheritedBounds::NONE);
    }
    let chain = chain(control, tx, parent).await?;
    let chain: Vec<_> = chain.iter().collect();
    let below_root = || chain.iter().filter(|account| account.parent.is_some());
    let settings = EffectiveSettings::read(tx, control.config()).await?;
    let system = RoutingRules {
        level_mapper: settings.get(&setting::LEVEL_MAPPER)?,
        switch_over: settings.get(&setting::SWITCH_OVER)?,
        ..RoutingRules::default()
    };
    let (account, ancestors) = chain.split_first().ok_or(Error::Unauthenticated)?;
    Ok(InheritedBounds {
        levels: plan::levels(account, ancestors, &system),
        gear: below_root()
            .map(|account| account.gear)
            .min()
            .unwrap_or(u8::MAX),
        hard_limit: below_root().filter_map(|account| account.hard_limit).min(),
    })
}

/// An account and its ancestors, up to root.
async fn chain(
    control: &Control,
    db: &impl Db,
    account: &AccountRecord,
) -> Result<Vec<AccountConfig>, Error> {
    let dna = Dna::parse(&account.account.dna).map_err(Error::internal)?;
    let mut chain = vec![as_known(account.clone())];
    for id in dna.ids().into_iter().rev().skip(1) {
        // A deleted ancestor still bounds its descendants by what it had.
        let found = store::accounts::get(db, id, control.now()).await?;
        chain.extend(found.map(as_known));
    }
    Ok(chain)
}

/// The access lists that calls of the caller must pass and its limits: its own and those of its ancestors. Lists that
/// allow everything are left out.
pub(crate) async fn binding(
    control: &Control,
    caller: &Caller,
) -> Result<EffectiveRestrictions, Error> {
    let own = ops::caller_account(control, control.store(), caller).await?;
    let chain = chain(control, control.store(), &own).await?;
    let lists = |text: fn(&AccessLists) -> String| {
        let mut lists: Vec<_> = chain.iter().map(|account| text(&account.access)).collect();
        lists.retain(|list| list != "*");
        lists.dedup();
        lists
    };
    Ok(EffectiveRestrictions {
        ips: lists(|access| access.ips.text()),
        models: lists(|access| access.models.text()),
        levels: lists(|access| access.levels.text()),
        resources: lists(|access| access.resources.text()),
        hard_limit: chain.iter().filter_map(|account| account.hard_limit).min(),
        calls_max: chain.iter().filter_map(|account| account.calls_max).min(),
        suspended: chain.iter().any(|account| !account.enabled),
    })
}

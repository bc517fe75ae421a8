//! Finds out what an account may be given at most.

use proxyxai_contract::{
    id::AccountId,
    plan,
    routing::{LevelMapper, RoutingRules, SwitchOver},
};

use crate::{
    Control, Error,
    domain::{account::Dna, bounds::Bounds, setting},
    ops,
    publish::as_known,
    store::{self, AccountRecord, Tx},
};

/// What an account leaves to its children; those of root may have anything.
pub(super) async fn below(
    control: &Control,
    tx: &Tx,
    parent: &AccountRecord,
) -> Result<Bounds, Error> {
    if parent.view.id == AccountId::ROOT {
        return Ok(Bounds::NONE);
    }
    let dna = Dna::parse(&parent.view.dna).map_err(Error::internal)?;
    let mut chain = vec![as_known(parent.clone())];
    for id in dna.ids().into_iter().rev().skip(1) {
        // One that is deleted bounds those below it by what it had.
        let found = store::accounts::get(tx, id, control.now()).await?;
        chain.extend(found.map(as_known));
    }
    let chain: Vec<_> = chain.iter().collect();
    let below_root = || chain.iter().filter(|account| account.parent.is_some());
    let system = RoutingRules {
        level_mapper: LevelMapper::parse(&value(control, tx, setting::LEVEL_MAPPER).await?)?,
        switch_over: SwitchOver::parse(&value(control, tx, setting::SWITCH_OVER).await?)?,
        ..RoutingRules::default()
    };
    let (account, ancestors) = chain.split_first().ok_or(Error::Unauthenticated)?;
    Ok(Bounds {
        levels: plan::levels(account, ancestors, &system),
        gear: below_root()
            .map(|account| account.gear)
            .min()
            .unwrap_or(u8::MAX),
        hard_limit: below_root().filter_map(|account| account.hard_limit).min(),
    })
}

async fn value(control: &Control, tx: &Tx, name: &str) -> Result<String, Error> {
    ops::settings::value(control, tx, name).await
}

//! Takes expired cards off the books.

use crate::{Control, Error, ops::money, store};

/// Books what is left on expired cards as lost. Spending never uses such cards, so the time of this does not matter.
pub(crate) async fn expire_cards(control: &Control) -> Result<(), Error> {
    let now = control.now();
    let accounts = store::cards::expired(control.store(), now).await?;
    if accounts.is_empty() {
        return Ok(());
    }
    let tx = control.store().begin().await?;
    // Also deleted accounts, which keep what in-flight calls may cost.
    let mut locked = store::accounts::lock_all(&tx, accounts.iter().copied(), now).await?;
    let mut entries = Vec::new();
    for record in locked.values_mut() {
        entries.extend(money::clear_expired(record, now)?);
    }
    store::accounts::update_money_of_all(&tx, locked.values()).await?;
    store::ledger::post(&tx, now, &entries).await?;
    tx.commit().await?;
    tracing::info!(accounts = locked.len(), "expired cards taken off the books");
    control.publisher().mark(accounts);
    Ok(())
}

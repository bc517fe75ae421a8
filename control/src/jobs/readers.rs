//! Writes to the readers of news that were posted, some hundred accounts at a time.

use crate::{
    Control, Error,
    domain::mail::templates,
    ops::mail::Settings,
    store::{self, mail::NewMail, news::Unmailed},
    view::Scope,
};

const READERS_MAX: u64 = 500;

/// One step.
pub(super) async fn write(control: &Control) -> Result<(), Error> {
    if !store::news::has_unmailed(control.store()).await? {
        return Ok(());
    }
    let tx = control.store().begin().await?;
    let Some(Unmailed {
        news,
        author,
        target_dna,
        mailed_to,
    }) = store::news::unmailed(&tx).await?
    else {
        return Ok(());
    };
    let settings = Settings::read(control, &tx).await?;
    let readers_max = if news.scope == Scope::Account {
        1
    } else {
        READERS_MAX
    };
    let dna = if target_dna.is_empty() {
        "."
    } else {
        &target_dna
    };
    let readers = store::mail::readers(&tx, dna, mailed_to, readers_max).await?;
    let last = readers.last().map(|(id, _)| id.get());
    let more = u64::try_from(readers.len()).is_ok_and(|count| count == READERS_MAX);
    let message = templates::news(&news, &settings.links());
    let others = readers.into_iter().filter(|(id, _)| id.get() != author);
    let mails = others.map(|(account, recipient)| NewMail {
        account: Some(account),
        recipient,
        message: message.clone(),
    });
    // Switched off meanwhile: nobody is written to.
    if settings.is_on() {
        store::mail::queue(&tx, control.now(), mails.collect()).await?;
    }
    store::news::mailed(&tx, news.id, last.filter(|_| more)).await?;
    tx.commit().await
}

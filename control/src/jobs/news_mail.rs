//! Queues mails to the readers of news, some hundred accounts at a time.

use proxyxai_contract::id::AccountId;

use crate::{
    Control, Error,
    domain::{account::Dna, mail::templates},
    model::NewsScope,
    ops::{self, verification},
    publish::EffectiveSettings,
    store::{self, Tx, mail::NewMail, news::UnmailedNews},
};

const READERS_MAX: u64 = 500;
/// The most senders that are skipped in one step.
const RESTING_MAX: usize = 100;

/// Runs one step.
pub(super) async fn write(control: &Control) -> Result<(), Error> {
    if !store::news::has_unmailed(control.store()).await? {
        return Ok(());
    }
    let tx = control.store().begin().await?;
    let settings = EffectiveSettings::read(&tx, control.config()).await?;
    let Some((unmailed, sender, left)) = next(control, &tx, &settings).await? else {
        return Ok(());
    };
    let UnmailedNews {
        news,
        author_dna: _,
        target_dna,
        mailed_to,
    } = unmailed;
    let is_group = news.scope != NewsScope::Account;
    let readers_max = READERS_MAX.min(left);
    let dna = if target_dna.is_empty() {
        "."
    } else {
        &target_dna
    };
    let readers = store::mail::readers(&tx, (dna, is_group), mailed_to, readers_max).await?;
    let last = readers.last().map(|(id, _)| id.get());
    let more = is_group && u64::try_from(readers.len()).is_ok_and(|count| count == readers_max);
    let message = templates::news(&news, &ops::mail::links(&settings)?);
    let others = readers.into_iter().filter(|(id, _)| *id != news.author);
    let mails = others.map(|(account, recipient)| NewMail {
        account: Some(account),
        sender,
        recipient,
        message: message.clone(),
    });
    // If mail was switched off meanwhile, no reader gets one.
    if ops::mail::is_on(&settings)? {
        store::mail::queue(&tx, control.now(), mails.collect()).await?;
    }
    store::news::mailed(&tx, news.id, last.filter(|_| more)).await?;
    tx.commit().await
}

/// The oldest news whose sender may cause more mails now, that sender, and how many more. Other senders wait without
/// blocking it.
async fn next(
    control: &Control,
    tx: &Tx,
    settings: &EffectiveSettings<'_>,
) -> Result<Option<(UnmailedNews, Option<AccountId>, u64)>, Error> {
    let mut resting = Vec::new();
    for _ in 0..RESTING_MAX {
        let Some(unmailed) = store::news::unmailed(tx, &resting).await? else {
            return Ok(None);
        };
        let sender = verification::customer(&unmailed.author_dna);
        match (
            verification::mails_left(control, tx, settings, sender).await?,
            sender,
        ) {
            (0, Some(sender)) => resting.push(Dna::root().child(sender).as_str().to_owned()),
            (left, _) => return Ok(Some((unmailed, sender, left))),
        }
    }
    Ok(None)
}

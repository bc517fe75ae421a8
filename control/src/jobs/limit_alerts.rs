//! Alerts accounts that passed their soft limit or run low. Checks accounts with postings since the last check, outside
//! of the posting.

use std::collections::BTreeSet;

use proxyxai_contract::id::AccountId;

use crate::{
    Control, Error,
    domain::{
        limit_alert::{AlertState, decide},
        mail::{MailKind, templates, verification},
        setting,
    },
    ops,
    publish::EffectiveSettings,
    store::{self, AccountRecord, Tx, mail::NewMail},
};

const JOB: &str = "notices";
/// The most postings in one step.
const POSTINGS_MAX: u64 = 5_000;

/// Runs one step.
pub(super) async fn tell(control: &Control) -> Result<(), Error> {
    let settings = EffectiveSettings::read(control.store(), control.config()).await?;
    if !ops::mail::is_on(&settings)? {
        return Ok(());
    }
    let tx = control.store().begin().await?;
    let position = store::jobs::position(&tx, JOB).await?;
    let (newest, touched) =
        store::ledger::touched_after(&tx, position.parse().ok(), POSTINGS_MAX).await?;
    let newest = newest.to_string();
    if newest == position && touched.is_empty() {
        return Ok(());
    }
    let mails = notices(control, &tx, &settings, &touched).await?;
    store::mail::queue(&tx, control.now(), mails).await?;
    store::jobs::set_position(&tx, JOB, &newest).await?;
    tx.commit().await
}

async fn notices(
    control: &Control,
    tx: &Tx,
    settings: &EffectiveSettings<'_>,
    touched: &BTreeSet<AccountId>,
) -> Result<Vec<NewMail>, Error> {
    let now = control.now();
    let ids: Vec<_> = touched
        .iter()
        .copied()
        .filter(|id| *id != AccountId::ROOT)
        .collect();
    let bare: Vec<_> = ids.iter().map(|id| id.get()).collect();
    let month = control.publisher().month(now);
    let period = month.start.to_string();
    let used = store::usage::costs(tx, Some(&ids), month).await?;
    let (soft, low) = (MailKind::SoftLimit.as_str(), MailKind::LowBalance.as_str());
    let soft_marks = store::jobs::marks(tx, soft, &bare).await?;
    let low_marks = store::jobs::marks(tx, low, &bare).await?;
    let mark = settings.get(&setting::EMAIL_BALANCE)?;
    let links = ops::mail::links(settings)?;
    let mut mails = Vec::new();
    for AccountRecord { account: view, .. } in store::accounts::some(tx, &ids, now).await? {
        // Alerts go only to verified addresses. Once an address is verified, alerts begin.
        let Some(recipient) = verification::recipient(&view) else {
            continue;
        };
        let mail = |message| NewMail {
            account: Some(view.id),
            sender: None,
            recipient: recipient.to_owned(),
            message,
        };
        let id = view.id.get();
        let spent = used.get(&view.id).copied().unwrap_or_default();
        let verdict = decide(AlertState {
            used: spent,
            soft_limit: view.soft_limit,
            balance: view.balance,
            low_balance: mark,
            told_soft: soft_marks.get(&id) == Some(&period),
            told_low: low_marks.contains_key(&id),
        });
        if verdict.tell_soft {
            mails.push(mail(templates::soft_limit(&view, spent, &links)));
            store::jobs::mark(tx, soft, id, &period).await?;
        }
        if verdict.tell_low {
            mails.push(mail(templates::low_balance(&view, mark, &links)));
            store::jobs::mark(tx, low, id, "").await?;
        }
        if verdict.forget_low {
            store::jobs::unmark(tx, low, id).await?;
        }
    }
    Ok(mails)
}

//! Reports upstream keys that their providers refuse to `XAI_MAIL`: each key and state once a day.

use proxyxai_contract::snapshot::{HealthState, KeyHealthReport};

use crate::{
    Control, Error,
    domain::{
        mail::{
            MailKind,
            templates::{self, KeyFault},
        },
        setting,
    },
    ops,
    publish::EffectiveSettings,
    store::{self, Tx, mail::NewMail},
};

const JOB: &str = "faults";
/// The most faults in one mail.
const FAULTS_MAX: usize = 200;

/// Runs one step.
pub(super) async fn report(control: &Control) -> Result<(), Error> {
    let unwell = control.publisher().healths(control.now());
    let refused: Vec<_> = unwell
        .iter()
        .filter(|health| health.model.is_none())
        .filter_map(|health| named(health.state).map(|state| (health, state)))
        .take(FAULTS_MAX)
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    let settings = EffectiveSettings::read(control.store(), control.config()).await?;
    let recipients = settings.get(&setting::XAI_MAIL)?;
    if !ops::mail::is_on(&settings)? || recipients.is_empty() {
        return Ok(());
    }
    let tx = control.store().begin().await?;
    // Two replicas may have received the same report.
    store::jobs::position(&tx, JOB).await?;
    let faults = fresh(control, &tx, &refused).await?;
    if faults.is_empty() {
        return Ok(());
    }
    let message = templates::faults(&faults, &ops::mail::links(&settings)?);
    let mails = recipients.into_iter().map(|recipient| NewMail {
        account: None,
        sender: None,
        recipient,
        message: message.clone(),
    });
    store::mail::queue(&tx, control.now(), mails.collect()).await?;
    tx.commit().await
}

/// The faults that were not reported today, marked as reported.
async fn fresh(
    control: &Control,
    tx: &Tx,
    refused: &[(&KeyHealthReport, &'static str)],
) -> Result<Vec<KeyFault>, Error> {
    let kind = MailKind::KeyFault.as_str();
    let ids: Vec<_> = refused.iter().map(|(health, _)| health.key.get()).collect();
    let marks = store::jobs::marks(tx, kind, &ids).await?;
    let today = control.zone().day(control.now());
    let mut faults = Vec::new();
    for (health, state) in refused {
        let key = health.key.get();
        let period = format!("{state} {today}");
        if marks.get(&key) == Some(&period) {
            continue;
        }
        let Some(record) = store::keys::find(tx, health.key).await? else {
            continue;
        };
        store::jobs::mark(tx, kind, key, &period).await?;
        faults.push(KeyFault {
            key,
            name: record.key.name,
            provider: record.key.provider,
            state,
            reason: health.reason.clone(),
        });
    }
    Ok(faults)
}

/// The name of a state. Returns `None` for a state that passes by itself.
fn named(state: HealthState) -> Option<&'static str> {
    match state {
        HealthState::Ready | HealthState::Sleeping { .. } => None,
        HealthState::Quarantined { .. } => Some("quarantined"),
        HealthState::Disabled => Some("disabled"),
    }
}

//! Queues mails, in the transaction of the change they report. A background job sends them. Nothing is queued while
//! `EMAIL_SMTP` is empty.

use proxyxai_contract::Invalid;

use crate::{
    Control, Error,
    domain::{
        mail::templates::{self, FooterLinks},
        setting,
    },
    model::Account,
    publish::EffectiveSettings,
    store::{self, Tx, mail::NewMail},
};

/// Whether mail is sent at all.
pub(crate) fn is_on(settings: &EffectiveSettings<'_>) -> Result<bool, Invalid> {
    Ok(!settings.get(&setting::EMAIL_SMTP)?.is_empty())
}

/// The links of the footer.
pub(crate) fn links(settings: &EffectiveSettings<'_>) -> Result<FooterLinks, Invalid> {
    Ok(FooterLinks {
        service: settings.get(&setting::XAI_SVC)?,
        api: settings.get(&setting::XAI_API)?,
        chat: settings.get(&setting::XAI_CHAT)?,
        docs: settings.get(&setting::XAI_DOCS)?,
    })
}

/// Queues a welcome mail for a new account, once its address is verified.
pub(super) async fn welcome(control: &Control, tx: &Tx, view: &Account) -> Result<(), Error> {
    let settings = EffectiveSettings::read(tx, control.config()).await?;
    if !is_on(&settings)? || view.addresses.email.is_none() {
        return Ok(());
    }
    let mail = NewMail {
        account: Some(view.id),
        sender: None,
        recipient: view.email.clone(),
        message: templates::welcome(view, &links(&settings)?),
    };
    store::mail::queue(tx, control.now(), vec![mail]).await
}

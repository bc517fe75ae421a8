//! Queues mails, in the transaction of the change they report. A background job sends them. Nothing is queued while
//! `EMAIL_SMTP` is empty.

use std::collections::BTreeMap;

use proxyxai_contract::provider::BaseUrl;

use crate::{
    Control, Error,
    domain::{
        mail::templates::{self, FooterLinks},
        setting,
    },
    model::Account,
    publish,
    store::{self, Db, Tx, mail::NewMail},
};

/// Mail settings in effect, read once.
pub(crate) struct MailSettings<'a> {
    stored: BTreeMap<String, String>,
    control: &'a Control,
}

// === impl MailSettings ===

impl<'a> MailSettings<'a> {
    /// Reads the settings.
    pub(crate) async fn read(control: &'a Control, db: &impl Db) -> Result<Self, Error> {
        Ok(Self {
            stored: store::settings::all(db).await?,
            control,
        })
    }

    /// The value of one setting, trimmed.
    pub(crate) fn value(&self, name: &str) -> String {
        let value = publish::effective(self.stored.get(name), name, self.control.config());
        value.trim().to_owned()
    }

    /// Whether mail is sent at all.
    pub(crate) fn is_on(&self) -> bool {
        !self.value(setting::EMAIL_SMTP).is_empty()
    }

    /// The links of the footer.
    pub(crate) fn links(&self) -> FooterLinks {
        let link = |name| {
            let text = self.value(name);
            // An empty setting is not a base URL, and gets no link.
            BaseUrl::parse_lenient(&text).map_or_else(|_| String::new(), |base| base.text())
        };
        FooterLinks {
            service: link(setting::XAI_SVC),
            api: link(setting::XAI_API),
            chat: link(setting::XAI_CHAT),
            docs: link(setting::XAI_DOCS),
        }
    }
}

/// Whether mail is sent at all.
pub(super) async fn is_on(control: &Control, db: &impl Db) -> Result<bool, Error> {
    MailSettings::read(control, db)
        .await
        .map(|settings| settings.is_on())
}

/// Queues a welcome mail for a new account, once its address is verified.
pub(super) async fn welcome(control: &Control, tx: &Tx, view: &Account) -> Result<(), Error> {
    let settings = MailSettings::read(control, tx).await?;
    if !settings.is_on() || view.addresses.email.is_none() {
        return Ok(());
    }
    let mail = NewMail {
        account: Some(view.id),
        sender: None,
        recipient: view.email.clone(),
        message: templates::welcome(view, &settings.links()),
    };
    store::mail::queue(tx, control.now(), vec![mail]).await
}

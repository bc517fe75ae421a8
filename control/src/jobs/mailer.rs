//! Sends queued mail over SMTP. The only place that names the mail library.
//!
//! A mail is claimed before it is sent, so replicas do not send it twice. If the sender crashes between the server's
//! "250" and storing it, the mail is sent again, with the same Message-ID.

use std::time::{Duration, SystemTime};

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor,
    message::{Mailbox, MultiPart},
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
        extension::ClientId,
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    Control, Error,
    domain::{
        mail::{self, MailTls, RetryDecision, after_failure},
        setting,
    },
    ops,
    publish::EffectiveSettings,
    store::{
        self,
        mail::{ClaimedMail, SendOutcome},
    },
};

/// How many mails are claimed at once.
const BATCH_MAILS_MAX: u64 = 10;
/// How many batches are sent before other jobs have their turn.
const BATCHES_MAX: u32 = 10;
/// For one mail, from connecting to the server's last reply.
const SEND_TIMEOUT_MS: u64 = 30_000;
/// Longer than a whole batch can take.
const CLAIM_MS: i64 = 600_000;
/// The port with TLS from the first byte; connections to others begin in plain text and switch by STARTTLS.
const IMPLICIT_TLS_PORT: u16 = 465;
const ERROR_CHARS_MAX: usize = 500;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// The sender, and whether the last attempt succeeded.
#[derive(Debug, Default)]
pub(super) struct Mailer {
    failing: bool,
}

/// Why a mail was not accepted.
#[derive(Debug)]
enum SendError {
    /// The mail is at fault; a retry would not help.
    Refused(String),
    /// The server, the connection or the login is at fault.
    Away(String),
}

// === impl Mailer ===

impl Mailer {
    /// Sends mails that are due, up to some batches.
    pub(super) async fn send_due(
        &mut self,
        control: &Control,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        for _ in 0..BATCHES_MAX {
            if !self.send_batch(control, shutdown).await? {
                break;
            }
        }
        Ok(())
    }

    /// Sends one batch. Returns whether another may follow at once.
    async fn send_batch(
        &mut self,
        control: &Control,
        shutdown: &CancellationToken,
    ) -> Result<bool, Error> {
        let now = control.now();
        if !store::mail::is_due(control.store(), now).await? {
            return Ok(false);
        }
        let settings = EffectiveSettings::read(control.store(), control.config()).await?;
        if !ops::mail::is_on(&settings)? {
            return Ok(false);
        }
        let (transport, sender) = match transport(control, &settings).await {
            Ok(ready) => ready,
            Err(problem) => {
                self.went(Err(&problem));
                return Ok(false);
            }
        };
        let tx = control.store().begin().await?;
        let until = now.plus(CLAIM_MS);
        let mails = store::mail::claim(&tx, now, until, BATCH_MAILS_MAX).await?;
        tx.commit().await?;
        let mut away = false;
        for mail in mails {
            let outcome = if away || shutdown.is_cancelled() {
                // The server is down or timed out: the next mail does not wait for the time-out too.
                let delay_ms = delay(after_failure(mail.tries, false));
                SendOutcome::Untried {
                    due: control.now().plus(delay_ms),
                }
            } else {
                let sent = deliver(&transport, &sender, &mail).await;
                away = matches!(sent, Err(SendError::Away(_)));
                self.judge(control, &mail, sent)
            };
            let tx = control.store().begin().await?;
            store::mail::settle(&tx, &mail, outcome).await?;
            tx.commit().await?;
        }
        Ok(!away && !shutdown.is_cancelled())
    }

    fn judge(
        &mut self,
        control: &Control,
        mail: &ClaimedMail,
        sent: Result<(), SendError>,
    ) -> SendOutcome {
        let (refused, error) = match sent {
            Ok(()) => {
                self.went(Ok(()));
                tracing::debug!(mail.id, mail.kind, "mail sent");
                return SendOutcome::Sent;
            }
            Err(SendError::Refused(error)) => (true, error),
            Err(SendError::Away(error)) => {
                self.went(Err(&error));
                (false, error)
            }
        };
        match after_failure(mail.tries, refused) {
            RetryDecision::Again { delay_ms } => SendOutcome::Again {
                due: control.now().plus(delay_ms),
                error,
            },
            RetryDecision::Never => {
                tracing::error!(
                    mail.id,
                    mail.kind,
                    mail.tries,
                    error,
                    "a mail could not be sent and is given up"
                );
                SendOutcome::Failed { error }
            }
        }
    }

    /// Logs once that mail stopped going out, and once that it works again.
    fn went(&mut self, how: Result<(), &str>) {
        match how {
            Ok(()) if self.failing => tracing::info!("mail is sent again"),
            Err(error) if !self.failing => {
                tracing::warn!(error, "mail cannot be sent; it is kept and tried again");
            }
            Ok(()) | Err(_) => {}
        }
        self.failing = how.is_err();
    }
}

fn delay(next: RetryDecision) -> i64 {
    match next {
        RetryDecision::Again { delay_ms } => delay_ms,
        RetryDecision::Never => 0,
    }
}

/// A connection by the current settings, and the sender's address.
async fn transport(
    control: &Control,
    settings: &EffectiveSettings<'_>,
) -> Result<(Transport, Mailbox), String> {
    let host = settings.get(&setting::EMAIL_SMTP).map_err(shown)?;
    let login = settings.get(&setting::EMAIL_AUTH).map_err(shown)?;
    let sender = match settings.get(&setting::EMAIL_SENDER).map_err(shown)? {
        Some(sender) => sender,
        None => mail::mailbox(&login)
            .map_err(|_| "EMAIL_SENDER: is needed, since EMAIL_AUTH is no address".to_owned())?,
    };
    let address: Address = sender.address.parse().map_err(shown)?;
    let port = settings.get(&setting::EMAIL_PORT).map_err(shown)?;
    let tls = match settings.get(&setting::EMAIL_TLS).map_err(shown)? {
        MailTls::Off => Tls::None,
        MailTls::Implicit => Tls::Wrapper(parameters(&host)?),
        MailTls::ByPort if port == IMPLICIT_TLS_PORT => Tls::Wrapper(parameters(&host)?),
        MailTls::ByPort | MailTls::StartTls => Tls::Required(parameters(&host)?),
    };
    let mut builder = Transport::builder_dangerous(&host)
        .port(port)
        .tls(tls)
        .hello_name(ClientId::Domain(address.domain().to_owned()))
        .timeout(Some(Duration::from_millis(SEND_TIMEOUT_MS)));
    if !login.is_empty() {
        let password = ops::settings::secret(control, &setting::EMAIL_PASS).await;
        let password = password.map_err(shown)?;
        let password = password.map_or_else(String::new, |secret| secret.expose().to_owned());
        builder = builder.credentials(Credentials::new(login, password));
    }
    let name = (!sender.name.is_empty()).then_some(sender.name);
    Ok((builder.build(), Mailbox::new(name, address)))
}

fn parameters(host: &str) -> Result<TlsParameters, String> {
    TlsParameters::new(host.to_owned()).map_err(shown)
}

async fn deliver(
    transport: &Transport,
    sender: &Mailbox,
    mail: &ClaimedMail,
) -> Result<(), SendError> {
    let message = message(sender, mail).map_err(SendError::Refused)?;
    let limit = Duration::from_millis(SEND_TIMEOUT_MS);
    match tokio::time::timeout(limit, transport.send(message)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            let status = error.status().map(u16::from);
            // If the server lacks an extension, such as for addresses in other scripts, the mail is at fault as well.
            if status.is_some_and(mail::is_refusal) || error.is_client() {
                Err(SendError::Refused(shown(error)))
            } else {
                Err(SendError::Away(shown(error)))
            }
        }
        Err(_) => Err(SendError::Away(format!(
            "the server took longer than {SEND_TIMEOUT_MS} ms"
        ))),
    }
}

fn message(sender: &Mailbox, mail: &ClaimedMail) -> Result<lettre::Message, String> {
    let recipient: Address = mail.recipient.parse().map_err(shown)?;
    // The same for every attempt, so that a receiver can recognise a duplicate.
    let id = format!(
        "<{}.{}.{}@{}>",
        mail.kind,
        mail.id,
        mail.created.0,
        sender.email.domain()
    );
    let created = u64::try_from(mail.created.0).unwrap_or_default();
    lettre::Message::builder()
        .from(sender.clone())
        .to(Mailbox::new(None, recipient))
        .subject(mail.subject.clone())
        .date(SystemTime::UNIX_EPOCH + Duration::from_millis(created))
        .message_id(Some(id))
        .multipart(MultiPart::alternative_plain_html(
            mail.text.clone(),
            mail.html.clone(),
        ))
        .map_err(shown)
}

/// An error with its causes, cut in length, since it contains the server's words.
fn shown(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).take(ERROR_CHARS_MAX).collect()
}

//! The queue of mails. A sender claims some for a while; the claims of a sender that crashed run out.

use std::collections::BTreeMap;

use proxyxai_contract::{clock::Millis, id::AccountId, money::Money};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Statement,
    sea_query::{Expr, ExprTrait as _, LockBehavior, LockType},
};

use super::{
    Db, ROWS_PER_INSERT, Tx,
    entity::{account, mail},
    signed, unsigned,
};
use crate::{
    Error,
    domain::mail::{MailMessage, templates::BillMailLine},
    model::{DateRange, UsageTotals},
};

const QUEUED: &str = "queued";
const SENT: &str = "sent";
const FAILED: &str = "failed";

/// A mail for the queue.
#[derive(Debug)]
pub(crate) struct NewMail {
    /// The account it is about.
    pub(crate) account: Option<AccountId>,
    /// The account that caused it, if its mails are rate-limited.
    pub(crate) sender: Option<AccountId>,
    pub(crate) recipient: String,
    pub(crate) message: MailMessage,
}

/// A mail that one sender has claimed for a while.
#[derive(Debug)]
pub(crate) struct ClaimedMail {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) recipient: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
    pub(crate) created: Millis,
    /// The number of this attempt, from 1.
    pub(crate) tries: u64,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum SendOutcome {
    /// The server accepted it.
    Sent,
    /// Retry at this moment.
    Again { due: Millis, error: String },
    /// It was not sent after all; the attempt is not counted.
    Untried { due: Millis },
    /// No further attempt is made.
    Failed { error: String },
}

/// Queues mails, due at once.
pub(crate) async fn queue(tx: &Tx, now: Millis, mails: Vec<NewMail>) -> Result<(), Error> {
    let row = |new: &NewMail| mail::ActiveModel {
        kind: Set(new.message.kind.as_str().to_owned()),
        account_id: Set(new.account.map(AccountId::get)),
        sender_id: Set(new.sender.map(AccountId::get)),
        recipient: Set(new.recipient.clone()),
        subject: Set(new.message.subject.clone()),
        text_body: Set(new.message.text.clone()),
        html_body: Set(new.message.html.clone()),
        created_at: Set(now.0),
        due_at: Set(now.0),
        tries: Set(0),
        state: Set(QUEUED.to_owned()),
        last_error: Set(String::new()),
        ..Default::default()
    };
    for chunk in mails.chunks(ROWS_PER_INSERT) {
        mail::Entity::insert_many(chunk.iter().map(row))
            .exec_without_returning(tx.handle())
            .await?;
    }
    Ok(())
}

/// How many mails of a kind went to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SentCount {
    pub(crate) count: u64,
    pub(crate) latest: Option<Millis>,
}

/// How many mails an account has caused since.
pub(crate) async fn sent_by(db: &impl Db, sender: AccountId, since: Millis) -> Result<u64, Error> {
    mail::Entity::find()
        .filter(mail::Column::SenderId.eq(sender.get()))
        .filter(mail::Column::CreatedAt.gt(since.0))
        .count(db.handle())
        .await
        .map_err(Error::from)
}

/// How many mails of a kind went to an address since.
pub(crate) async fn sent_to(
    db: &impl Db,
    kind: &str,
    recipient: &str,
    since: Millis,
) -> Result<SentCount, Error> {
    let times: Vec<i64> = mail::Entity::find()
        .select_only()
        .column(mail::Column::CreatedAt)
        .filter(mail::Column::Recipient.eq(recipient))
        .filter(mail::Column::Kind.eq(kind))
        .filter(mail::Column::CreatedAt.gt(since.0))
        .into_tuple()
        .all(db.handle())
        .await?;
    Ok(SentCount {
        count: times.len() as u64,
        latest: times.into_iter().max().map(Millis),
    })
}

/// Whether any mail is due.
pub(crate) async fn is_due(db: &impl Db, now: Millis) -> Result<bool, Error> {
    let first: Option<i64> = mail::Entity::find()
        .select_only()
        .column(mail::Column::Id)
        .filter(mail::Column::State.eq(QUEUED))
        .filter(mail::Column::DueAt.lte(now.0))
        .limit(1)
        .into_tuple()
        .one(db.handle())
        .await?;
    Ok(first.is_some())
}

/// Claims due mails until `until`, oldest first, and counts the attempt.
pub(crate) async fn claim(
    tx: &Tx,
    now: Millis,
    until: Millis,
    rows_max: u64,
) -> Result<Vec<ClaimedMail>, Error> {
    let mut query = mail::Entity::find()
        .filter(mail::Column::State.eq(QUEUED))
        .filter(mail::Column::DueAt.lte(now.0))
        .order_by_asc(mail::Column::DueAt)
        .order_by_asc(mail::Column::Id)
        .limit(rows_max);
    if tx.locks_rows() {
        query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    }
    let rows = query.all(tx.handle()).await?;
    mail::Entity::update_many()
        .col_expr(mail::Column::DueAt, Expr::value(until.0))
        .col_expr(mail::Column::Tries, Expr::col(mail::Column::Tries).add(1))
        .filter(mail::Column::Id.is_in(rows.iter().map(|row| row.id)))
        .exec(tx.handle())
        .await?;
    Ok(rows.into_iter().map(claimed).collect())
}

/// Stores how an attempt ended, unless the claim ran out and another sender has the mail by now.
pub(crate) async fn settle(tx: &Tx, mail: &ClaimedMail, outcome: SendOutcome) -> Result<(), Error> {
    let tried = signed(mail.tries);
    let row = match outcome {
        SendOutcome::Sent => mail::ActiveModel {
            state: Set(SENT.to_owned()),
            // The text is no longer needed, and may be personal.
            text_body: Set(String::new()),
            html_body: Set(String::new()),
            last_error: Set(String::new()),
            ..Default::default()
        },
        SendOutcome::Again { due, error } => mail::ActiveModel {
            due_at: Set(due.0),
            last_error: Set(error),
            ..Default::default()
        },
        SendOutcome::Untried { due } => mail::ActiveModel {
            due_at: Set(due.0),
            tries: Set(tried.saturating_sub(1)),
            ..Default::default()
        },
        SendOutcome::Failed { error } => mail::ActiveModel {
            state: Set(FAILED.to_owned()),
            last_error: Set(error),
            ..Default::default()
        },
    };
    mail::Entity::update_many()
        .set(row)
        .filter(mail::Column::Id.eq(mail.id))
        .filter(mail::Column::State.eq(QUEUED))
        .filter(mail::Column::Tries.eq(tried))
        .exec(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}

/// Deletes the oldest mails from before a moment, whatever their state. Returns how many.
pub(crate) async fn prune(tx: &Tx, before: Millis, rows_max: u64) -> Result<u64, Error> {
    let old: Vec<i64> = mail::Entity::find()
        .select_only()
        .column(mail::Column::Id)
        .filter(mail::Column::CreatedAt.lt(before.0))
        .order_by_asc(mail::Column::CreatedAt)
        .limit(rows_max)
        .into_tuple()
        .all(tx.handle())
        .await?;
    let dropped = mail::Entity::delete_many()
        .filter(mail::Column::Id.is_in(old))
        .exec(tx.handle())
        .await?;
    Ok(dropped.rows_affected)
}

/// Living accounts with an id above `after`, ascending, with their verified addresses: the account at `dna` and, if it
/// is a group, those below it.
pub(crate) async fn readers(
    db: &impl Db,
    (dna, is_group): (&str, bool),
    after: i64,
    rows_max: u64,
) -> Result<Vec<(AccountId, String)>, Error> {
    let rows: Vec<(i64, String)> = account::Entity::find()
        .select_only()
        .columns([account::Column::Id, account::Column::Email])
        .filter(account::Column::DeletedAt.is_null())
        .filter(account::Column::Enabled.eq(true))
        .filter(account::Column::EmailVerifiedAt.is_not_null())
        .filter(if is_group {
            account::Column::Dna.starts_with(dna)
        } else {
            account::Column::Dna.eq(dna)
        })
        .filter(account::Column::Id.gt(after))
        .order_by_asc(account::Column::Id)
        .limit(rows_max)
        .into_tuple()
        .all(db.handle())
        .await?;
    rows.into_iter()
        .map(|(id, email)| AccountId::new(id).map(|id| (id, email)))
        .collect::<Result<_, _>>()
        .map_err(Error::from)
}

/// The verified address that gets an account's bills. Empty without one.
const RECIPIENT: &str = "CASE WHEN a.billing_email <> '' AND a.billing_verified_at IS NOT NULL THEN a.billing_email \
    WHEN a.email_verified_at IS NOT NULL THEN a.email ELSE '' END";

/// Bill lines of the next recipients after one, sorted by address. Root pays nothing and gets none.
pub(crate) async fn bills(
    db: &impl Db,
    days: DateRange,
    after: &str,
    recipients_max: u64,
) -> Result<BTreeMap<String, Vec<BillMailLine>>, Error> {
    let sql = format!(
        "SELECT r.recipient, a.name, a.id, u.model, \
           CAST(SUM(u.requests) AS BIGINT) AS requests, CAST(SUM(u.input) AS BIGINT) AS input, \
           CAST(SUM(u.cached) AS BIGINT) AS cached, CAST(SUM(u.output) AS BIGINT) AS output, \
           CAST(SUM(u.cost) AS BIGINT) AS cost \
         FROM (SELECT DISTINCT {RECIPIENT} AS recipient FROM account a \
               WHERE a.id <> 1 AND {RECIPIENT} > $1 \
                 AND EXISTS (SELECT 1 FROM usage_daily u WHERE u.account_id = a.id AND u.day BETWEEN $2 AND $3) \
               ORDER BY 1 LIMIT $4) r \
         JOIN account a ON a.id <> 1 AND {RECIPIENT} = r.recipient \
         JOIN usage_daily u ON u.account_id = a.id AND u.day BETWEEN $2 AND $3 \
         GROUP BY r.recipient, a.name, a.id, u.model ORDER BY r.recipient, a.id, cost DESC, u.model"
    );
    let handle = db.handle();
    let values = [
        after.into(),
        days.start.to_string().into(),
        days.end.to_string().into(),
        signed(recipients_max).into(),
    ];
    let statement = Statement::from_sql_and_values(handle.get_database_backend(), sql, values);
    let rows = handle.query_all_raw(statement).await?;
    let mut bills: BTreeMap<String, Vec<BillMailLine>> = BTreeMap::new();
    for row in rows {
        let (recipient, line) = bill_line(&row)?;
        bills.entry(recipient).or_default().push(line);
    }
    Ok(bills)
}

fn bill_line(row: &sea_orm::QueryResult) -> Result<(String, BillMailLine), sea_orm::DbErr> {
    let count = |name: &str| row.try_get::<i64>("", name).map(unsigned);
    let (name, id): (String, i64) = (row.try_get("", "name")?, row.try_get("", "id")?);
    let line = BillMailLine {
        account: format!("{name} ({id})"),
        model: row.try_get("", "model")?,
        totals: UsageTotals {
            requests: count("requests")?,
            input: count("input")?,
            cached: count("cached")?,
            output: count("output")?,
            cost: Money::from_nanos(row.try_get("", "cost")?),
        },
    };
    Ok((row.try_get("", "recipient")?, line))
}

fn claimed(row: mail::Model) -> ClaimedMail {
    let mail::Model {
        id,
        kind,
        account_id: _,
        recipient,
        subject,
        text_body,
        html_body,
        created_at,
        due_at: _,
        tries,
        state: _,
        last_error: _,
        sender_id: _,
    } = row;
    ClaimedMail {
        id,
        kind,
        recipient,
        subject,
        text: text_body,
        html: html_body,
        created: Millis(created_at),
        tries: unsigned(tries).saturating_add(1),
    }
}

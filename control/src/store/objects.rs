//! Objects stored at providers: their account and upstream key, and the state of work that some do after the call that
//! made them.

use proxyxai_contract::{
    Invalid,
    clock::Millis,
    id::{AccountId, ClientKeyId, KeyId},
    money::Money,
    object::{CreatedObject, DueWork, ObjectKind, OwnedObject, PendingWork, next_poll_ms},
    usage::UsageRecord,
};
use sea_orm::{ConnectionTrait as _, QueryResult, Value};

use super::{Db, Tx, corrupt, in_batches, number, signed, statement, unsigned};
use crate::Error;

const COLUMNS: &str = "key_id, object_id, kind, account_id, created_at, expires_at, status, state, \
     model, held, settlement, looks, look_at, overdue_at, client_key_id";
/// The holder of what is reserved for later work, in place of a data plane's name.
pub(crate) const HOLDER: &str = "later-work";
/// State: the work is not paid yet.
const PENDING: &str = "pending";
/// State: the work is paid.
const SETTLED: &str = "settled";
/// State: the object does no work by itself.
const KEPT: &str = "kept";

/// The state of an object's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ObjectWork {
    /// Not paid yet.
    Pending {
        account: AccountId,
        client_key: Option<ClientKeyId>,
        held: Money,
    },
    /// Paid by this settlement.
    Settled(String),
    /// The object does no work.
    None,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub(crate) struct ObjectQuery {
    pub(crate) account: AccountId,
    pub(crate) kind: ObjectKind,
    pub(crate) limit: u32,
    /// The page begins after this object.
    pub(crate) after: Option<String>,
    /// The page ends before this object.
    pub(crate) before: Option<String>,
    pub(crate) ascending: bool,
}

/// Stores objects that do no work by themselves. The first account to make an object keeps it.
pub(crate) async fn keep(tx: &Tx, records: &[UsageRecord], now: Millis) -> Result<(), Error> {
    let mut rows = Vec::new();
    for record in records {
        let (Some(key), Some(objects)) = (record.key, &record.objects) else {
            continue;
        };
        let made = objects.made.iter().skip(usize::from(objects.pending));
        rows.extend(made.map(|made| {
            let worth = made.calls.as_ref().map(|calls| calls.held);
            row(key, record, made, (KEPT, worth.unwrap_or_default()), now)
        }));
    }
    let sql = |rows: &str| {
        format!(
            "INSERT INTO provider_object ({COLUMNS}) {rows} ON CONFLICT (key_id, object_id) DO NOTHING"
        )
    };
    in_batches(tx, rows, sql).await.map(drop)
}

/// Stores an object whose work is not paid yet. Returns `false` if it already exists with unpaid work, or belongs to
/// another account.
pub(crate) async fn keep_pending(
    tx: &Tx,
    (key, record, made): (KeyId, &UsageRecord, &CreatedObject),
    held: Money,
    now: Millis,
) -> Result<bool, Error> {
    let row = row(key, record, made, (PENDING, held), now);
    let sql = |row: &str| {
        format!(
            "INSERT INTO provider_object ({COLUMNS}) {row} ON CONFLICT (key_id, object_id) DO UPDATE SET \
             state = excluded.state, model = excluded.model, held = excluded.held, settlement = '', looks = 0, \
             look_at = excluded.look_at, overdue_at = excluded.overdue_at, expires_at = excluded.expires_at, \
             client_key_id = excluded.client_key_id \
             WHERE provider_object.account_id = excluded.account_id AND provider_object.state <> '{PENDING}'"
        )
    };
    in_batches(tx, vec![row], sql)
        .await
        .map(|written| written == 1)
}

/// Locks an object until the transaction ends and returns the state of its work.
pub(crate) async fn lock(tx: &Tx, key: KeyId, id: &str) -> Result<ObjectWork, Error> {
    let lock = if tx.locks_rows() { " FOR UPDATE" } else { "" };
    let sql = format!(
        "SELECT account_id, client_key_id, state, held, settlement FROM provider_object WHERE key_id = ? AND object_id = ?{lock}"
    );
    let values = [key.get().into(), id.into()];
    let row = tx
        .handle()
        .query_one_raw(statement(tx, &sql, values))
        .await?;
    let Some(row) = row else {
        return Ok(ObjectWork::None);
    };
    let state: String = row.try_get("", "state")?;
    Ok(match state.as_str() {
        PENDING => ObjectWork::Pending {
            account: AccountId::new(number(&row, "account_id")?)?,
            client_key: client_key(&row)?,
            held: Money::from_nanos(number(&row, "held")?),
        },
        SETTLED => ObjectWork::Settled(row.try_get("", "settlement")?),
        _ => ObjectWork::None,
    })
}

/// Marks an object's work as paid.
pub(crate) async fn settle(tx: &Tx, key: KeyId, id: &str, settlement: &str) -> Result<(), Error> {
    let sql = format!(
        "UPDATE provider_object SET state = '{SETTLED}', held = 0, status = '', settlement = ? \
         WHERE key_id = ? AND object_id = ?"
    );
    let values = [settlement.into(), key.get().into(), id.into()];
    let done = tx.handle().execute_raw(statement(tx, &sql, values)).await;
    done.map(drop).map_err(Error::from)
}

/// Deletes an object, unless its work is not paid yet.
pub(crate) async fn forget(tx: &Tx, key: KeyId, id: &str) -> Result<(), Error> {
    let sql = format!(
        "DELETE FROM provider_object WHERE key_id = ? AND object_id = ? AND state <> '{PENDING}'"
    );
    let values = [key.get().into(), id.into()];
    let done = tx.handle().execute_raw(statement(tx, &sql, values)).await;
    done.map(drop).map_err(Error::from)
}

/// All objects with these ids.
pub(crate) async fn find(
    db: &impl Db,
    ids: &[String],
    now: Millis,
) -> Result<Vec<OwnedObject>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let marks = vec!["?"; ids.len()].join(",");
    let sql = format!(
        "SELECT {COLUMNS} FROM provider_object WHERE object_id IN ({marks}) AND (expires_at > ? OR state = '{PENDING}')"
    );
    let ids = ids.iter().map(|id| Value::from(id.as_str()));
    let values = ids.chain([now.0.into()]);
    let rows = db
        .handle()
        .query_all_raw(statement(db, &sql, values))
        .await?;
    rows.iter().map(read).collect()
}

#[expect(clippy::format_push_string, reason = "a list is seldom asked for")]
/// A page of an account's objects, and whether there are more.
pub(crate) async fn list(
    db: &impl Db,
    wanted: &ObjectQuery,
    now: Millis,
) -> Result<(Vec<OwnedObject>, bool), Error> {
    let ObjectQuery {
        account,
        kind,
        limit,
        after,
        before,
        ascending,
    } = wanted;
    let (order, behind, ahead) = if *ascending {
        ("ASC", ">", "<")
    } else {
        ("DESC", "<", ">")
    };
    let mut sql = format!(
        "SELECT {COLUMNS} FROM provider_object WHERE account_id = ? AND kind = ? AND expires_at > ?"
    );
    let mut values: Vec<Value> = vec![account.get().into(), kind.as_str().into(), now.0.into()];
    for (cursor, sign) in [(after, behind), (before, ahead)] {
        let Some(id) = cursor else {
            continue;
        };
        // A cursor that is none of the account's objects gives an empty page.
        sql += &format!(
            " AND EXISTS (SELECT 1 FROM provider_object c WHERE c.account_id = provider_object.account_id \
             AND c.object_id = ? AND (provider_object.created_at {sign} c.created_at OR \
             (provider_object.created_at = c.created_at AND provider_object.object_id {sign} c.object_id)))"
        );
        values.push(id.as_str().into());
    }
    sql += &format!(
        " ORDER BY created_at {order}, object_id {order} LIMIT {}",
        limit.saturating_add(1)
    );
    let rows = db
        .handle()
        .query_all_raw(statement(db, &sql, values))
        .await?;
    let mut page: Vec<_> = rows.iter().map(read).collect::<Result<_, _>>()?;
    let shown = usize::try_from(*limit).unwrap_or(usize::MAX);
    let more = page.len() > shown;
    page.truncate(shown);
    Ok((page, more))
}

/// Whether any work is due.
pub(crate) async fn is_due(db: &impl Db, now: Millis) -> Result<bool, Error> {
    let sql = format!(
        "SELECT 1 AS number FROM provider_object WHERE state = '{PENDING}' AND look_at <= ? LIMIT 1"
    );
    let row = db
        .handle()
        .query_one_raw(statement(db, &sql, [now.0.into()]));
    Ok(row.await?.is_some())
}

/// Claims work that is due. Other replicas get it only after the next wait.
pub(crate) async fn claim(tx: &Tx, limit: u32, now: Millis) -> Result<Vec<DueWork>, Error> {
    let lock = if tx.locks_rows() {
        " FOR UPDATE SKIP LOCKED"
    } else {
        ""
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM provider_object WHERE state = '{PENDING}' AND look_at <= ? \
         ORDER BY look_at LIMIT {limit}{lock}"
    );
    let rows = tx
        .handle()
        .query_all_raw(statement(tx, &sql, [now.0.into()]))
        .await?;
    let mut due = Vec::with_capacity(rows.len());
    for row in &rows {
        let object = read(row)?;
        let looks = unsigned(number(row, "looks")?);
        let overdue = number(row, "overdue_at")? <= now.0;
        let wait = next_poll_ms(object.kind, u32::try_from(looks).unwrap_or(u32::MAX));
        let sql =
            "UPDATE provider_object SET looks = ?, look_at = ? WHERE key_id = ? AND object_id = ?";
        let values = [
            signed(looks.saturating_add(1)).into(),
            now.plus(wait).0.into(),
            object.key.get().into(),
            object.id.as_str().into(),
        ];
        tx.handle().execute_raw(statement(tx, sql, values)).await?;
        due.push(DueWork { object, overdue });
    }
    Ok(due)
}

/// Deletes expired objects, at most `rows_max`. Returns how many.
pub(crate) async fn prune(tx: &Tx, now: Millis, rows_max: u64) -> Result<u64, Error> {
    let sql = format!(
        "DELETE FROM provider_object WHERE (key_id, object_id) IN (SELECT key_id, object_id FROM provider_object \
         WHERE expires_at <= ? AND state <> '{PENDING}' LIMIT {rows_max})"
    );
    let done = tx
        .handle()
        .execute_raw(statement(tx, &sql, [now.0.into()]))
        .await?;
    Ok(done.rows_affected())
}

/// The first account whose reserved amount for later work differs from the lease of `node`: its id, the objects' sum
/// and the lease.
pub(super) async fn unlike(
    tx: &Tx,
    node: &str,
) -> Result<Option<(AccountId, Money, Money)>, Error> {
    // Root's own work reserves from the limits of its keys alone.
    let root = AccountId::ROOT;
    let sql = format!(
        "SELECT account_id, CAST(SUM(held) AS BIGINT) AS held, CAST(SUM(leased) AS BIGINT) AS leased FROM (\
         SELECT account_id, held, 0 AS leased FROM provider_object WHERE state = '{PENDING}' AND account_id <> {root} \
         UNION ALL \
         SELECT account_id, 0, amount FROM lease WHERE node = ? AND client_key_id = 0) work \
         GROUP BY account_id HAVING SUM(held) <> SUM(leased) ORDER BY account_id LIMIT 1"
    );
    let row = tx
        .handle()
        .query_one_raw(statement(tx, &sql, [node.into()]))
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    Ok(Some((
        AccountId::new(number(&row, "account_id")?)?,
        Money::from_nanos(number(&row, "held")?),
        Money::from_nanos(number(&row, "leased")?),
    )))
}

/// How many objects have unpaid work, and what is reserved for it.
pub(super) async fn pending(tx: &Tx) -> Result<(u64, Money), Error> {
    let sql = format!(
        "SELECT COUNT(*) AS number, CAST(COALESCE(SUM(held), 0) AS BIGINT) AS held FROM provider_object \
         WHERE state = '{PENDING}'"
    );
    let row = tx.handle().query_one_raw(statement(tx, &sql, [])).await?;
    row.map_or(Ok((0, Money::ZERO)), |row| {
        let held = Money::from_nanos(number(&row, "held")?);
        Ok((unsigned(number(&row, "number")?), held))
    })
}

fn row(
    key: KeyId,
    record: &UsageRecord,
    made: &CreatedObject,
    (state, held): (&str, Money),
    now: Millis,
) -> [Value; 15] {
    // Of what does nothing by itself there is a model only where calls are in it.
    let model = match (&made.calls, state) {
        (Some(calls), _) => calls.model.clone(),
        (None, KEPT) => String::new(),
        (None, _) => record.model_used.clone(),
    };
    [
        key.get().into(),
        made.id.as_str().into(),
        made.kind.as_str().into(),
        record.account.get().into(),
        record.start.0.into(),
        made.expires.0.into(),
        made.status.as_str().into(),
        state.into(),
        model.as_str().into(),
        held.nanos().into(),
        "".into(),
        0i64.into(),
        now.plus(made.kind.first_poll_ms()).0.into(),
        now.plus(made.kind.work_timeout_ms()).0.into(),
        record.client_key.map(ClientKeyId::get).into(),
    ]
}

fn client_key(row: &QueryResult) -> Result<Option<ClientKeyId>, Error> {
    let id: Option<i64> = row.try_get("", "client_key_id")?;
    Ok(id.map(ClientKeyId::new).transpose()?)
}

fn read(row: &QueryResult) -> Result<OwnedObject, Error> {
    let key = number(row, "key_id")?;
    read_owned(row, key)?.map_err(|error| corrupt("object of key", key, error))
}

fn read_owned(row: &QueryResult, key: i64) -> Result<Result<OwnedObject, Invalid>, Error> {
    let kind: String = row.try_get("", "kind")?;
    let state: String = row.try_get("", "state")?;
    let model: String = row.try_get("", "model")?;
    let held = Money::from_nanos(number(row, "held")?);
    let (account, client_key) = (number(row, "account_id")?, client_key(row)?);
    let (id, status) = (row.try_get("", "object_id")?, row.try_get("", "status")?);
    let (created, expires) = (
        Millis(number(row, "created_at")?),
        Millis(number(row, "expires_at")?),
    );
    let owned = || {
        Ok(OwnedObject {
            id,
            kind: ObjectKind::parse(&kind).ok_or_else(|| Invalid::new("kind", "is not known"))?,
            account: AccountId::new(account)?,
            client_key,
            key: KeyId::new(key)?,
            created,
            expires,
            status,
            calls: (state == KEPT && !model.is_empty()).then(|| PendingWork {
                model: model.clone(),
                held,
            }),
            pending: (state == PENDING).then_some(PendingWork { model, held }),
        })
    };
    Ok(owned())
}

//! Accounts: finding, listing, locking and storing them.

mod listing;
mod snapshot;

use std::collections::BTreeMap;

use proxyxai_contract::{
    client_key::KeyHash,
    clock::Millis,
    id::{AccountId, Revision},
    money::{Money, Multiplier},
};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait as _, EntityTrait as _, ExprTrait, QueryFilter, QueryOrder as _, QuerySelect as _,
    Select, Value,
    sea_query::Expr,
};

pub(crate) use self::{
    listing::{AccountQuery, list},
    snapshot::{changed_since, snapshot_page},
};
use super::{
    AccountRecord, Db, ROWS_PER_INSERT, Tx, all_rows, cards, entity::account, in_batches, is_among,
    one_row, signed, unsigned, write_error,
};
use crate::{
    Error,
    domain::{
        account::{AccountIdentifier, Dna},
        name,
    },
    model::AccountLabels,
};

/// A rule that an account may override for itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AccountOverride {
    ModelMapper,
    LevelMapper,
    SwitchOver,
    ModelFailover,
    ModelLimits,
    Resources,
}

/// An account by id, also if it is deleted, with cards and number of children.
pub(crate) async fn get(
    db: &impl Db,
    id: AccountId,
    now: Millis,
) -> Result<Option<AccountRecord>, Error> {
    let found: Vec<_> = childless(db, id, now).await?.into_iter().collect();
    with_children(db, found).await.map(|mut found| found.pop())
}

/// Like `get`, without the number of children: counting many takes long.
pub(crate) async fn childless(
    db: &impl Db,
    id: AccountId,
    now: Millis,
) -> Result<Option<AccountRecord>, Error> {
    let found = records(db, account::Entity::find_by_id(id.get()), now).await;
    found.map(|mut found| found.pop())
}

/// A living account by id, DNA, address or name. An exact name beats an older account's that differs in case alone.
pub(crate) async fn find(
    db: &impl Db,
    identifier: &AccountIdentifier,
    now: Millis,
) -> Result<Option<AccountRecord>, Error> {
    let named = match identifier {
        AccountIdentifier::Id(id) => account::Column::Id.eq(id.get()),
        AccountIdentifier::Dna(dna) => account::Column::Dna.eq(dna.as_str()),
        AccountIdentifier::Email(email) => account::Column::Email.eq(email.as_str()),
        AccountIdentifier::Name(name) => ExprTrait::or(
            account::Column::Name.eq(name.as_str()),
            account::Column::NameKey.eq(name::folded(name)),
        ),
    };
    let mut found = records(db, living().filter(named), now).await?;
    if let AccountIdentifier::Name(name) = identifier {
        found.sort_by_key(|record| record.account.name == *name);
    }
    with_children(db, found).await.map(|mut found| found.pop())
}

/// Id and name of the living account whose first key this is, and whether it may make calls.
pub(crate) async fn by_key(
    db: &impl Db,
    hash: KeyHash,
) -> Result<Option<(AccountId, String, bool)>, Error> {
    let row: Option<(i64, String, bool, bool)> = living()
        .filter(account::Column::KeyHash.eq(hash.0.to_vec()))
        .select_only()
        .columns([
            account::Column::Id,
            account::Column::Name,
            account::Column::Enabled,
            account::Column::Suspended,
        ])
        .into_tuple()
        .one(db.handle())
        .await?;
    row.map(|(id, name, enabled, suspended)| {
        AccountId::new(id).map(|id| (id, name, enabled && !suspended))
    })
    .transpose()
    .map_err(Error::from)
}

/// Removes one override from every account that has it.
pub(crate) async fn clear_own(
    tx: &Tx,
    rules: AccountOverride,
    revision: Revision,
) -> Result<(), Error> {
    let (column, none) = match rules {
        AccountOverride::ModelMapper => (account::Column::ModelMapper, ""),
        AccountOverride::LevelMapper => (account::Column::LevelMapper, ""),
        AccountOverride::SwitchOver => (account::Column::SwitchOver, ""),
        AccountOverride::ModelFailover => (account::Column::ModelFailover, ""),
        AccountOverride::ModelLimits => (account::Column::ModelLimits, ""),
        AccountOverride::Resources => (account::Column::Resources, "*"),
    };
    let cleared = account::Entity::update_many()
        .col_expr(column, Expr::value(none))
        .col_expr(account::Column::Revision, Expr::value(signed(revision.0)))
        .filter(column.ne(none))
        .exec(tx.handle());
    Box::pin(cleared).await.map(drop).map_err(Error::from)
}

/// The living ones among these accounts, without the number of children.
pub(crate) async fn some(
    db: &impl Db,
    ids: &[AccountId],
    now: Millis,
) -> Result<Vec<AccountRecord>, Error> {
    let mut found = Vec::new();
    for chunk in ids.chunks(ROWS_PER_INSERT) {
        let ids = chunk.iter().map(|id| id.get()).collect();
        let these = living().filter(is_among(db, account::Column::Id, ids));
        found.extend(records(db, these, now).await?);
    }
    Ok(found)
}

/// Locks the living ones among these accounts for a movement of money and reads them, by ascending id so that two
/// movements never deadlock.
pub(crate) async fn lock(
    tx: &Tx,
    ids: impl IntoIterator<Item = AccountId>,
    now: Millis,
) -> Result<BTreeMap<AccountId, AccountRecord>, Error> {
    let mut locked = lock_all(tx, ids, now).await?;
    locked.retain(|_, record| record.deleted.is_none());
    Ok(locked)
}

/// Like `lock`, with deleted accounts: calls from before the deletion are still charged.
pub(crate) async fn lock_all(
    tx: &Tx,
    ids: impl IntoIterator<Item = AccountId>,
    now: Millis,
) -> Result<BTreeMap<AccountId, AccountRecord>, Error> {
    let mut ids: Vec<i64> = ids.into_iter().map(AccountId::get).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut locked = BTreeMap::new();
    for chunk in ids.chunks(ROWS_PER_INSERT) {
        let mut query = account::Entity::find()
            .filter(is_among(tx, account::Column::Id, chunk.to_vec()))
            .order_by_asc(account::Column::Id);
        if tx.locks_rows() {
            query = query.lock_exclusive();
        }
        locked.extend(
            records(tx, query, now)
                .await?
                .into_iter()
                .map(|record| (record.account.id, record)),
        );
    }
    Ok(locked)
}

/// Living direct children by parent.
pub(crate) async fn children(
    db: &impl Db,
    parents: &[AccountId],
) -> Result<BTreeMap<AccountId, u64>, Error> {
    let mut counts = BTreeMap::new();
    for chunk in parents.chunks(ROWS_PER_INSERT) {
        let rows: Vec<(i64, i64)> = living()
            .select_only()
            .column(account::Column::ParentId)
            .column_as(account::Column::Id.count(), "children")
            .filter(account::Column::ParentId.is_in(chunk.iter().map(|id| id.get())))
            .group_by(account::Column::ParentId)
            .into_tuple()
            .all(db.handle())
            .await?;
        for (parent, count) in rows {
            counts.insert(AccountId::new(parent)?, unsigned(count));
        }
    }
    Ok(counts)
}

/// Whether any living account is below this one.
pub(crate) async fn has_living_below(db: &impl Db, dna: &str) -> Result<bool, Error> {
    let below = living()
        .filter(account::Column::Dna.starts_with(dna))
        .filter(account::Column::Dna.ne(dna));
    let first: Option<i64> = below
        .select_only()
        .column(account::Column::Id)
        .limit(1)
        .into_tuple()
        .one(db.handle())
        .await?;
    Ok(first.is_some())
}

/// Stores a new account below its parent and fills in its id and DNA. Root gets its fixed id.
pub(crate) async fn insert(
    tx: &Tx,
    record: &mut AccountRecord,
    parent: Option<&Dna>,
) -> Result<(), Error> {
    check_namesakes(tx, record).await?;
    let mut row = record.to_row();
    if parent.is_some() {
        row.id = NotSet;
    }
    let insert = account::Entity::insert(row).exec(tx.handle());
    let inserted = Box::pin(insert).await.map_err(write_error)?;
    let id = AccountId::new(inserted.last_insert_id)?;
    record.account.id = id;
    record.stored_name_key = record.name_key();
    let dna = parent.map_or_else(Dna::root, |parent| parent.child(id));
    dna.as_str().clone_into(&mut record.account.dna);
    let named = account::ActiveModel {
        dna: Set(record.account.dna.clone()),
        ..Default::default()
    };
    set(tx, id, named).await?;
    cards::replace(tx, id, &record.stored_cards, &record.account.cards).await
}

/// Refuses a new name that an older account has under a `name_key` of its own. The unique index refuses all other
/// duplicates.
async fn check_namesakes(tx: &Tx, record: &AccountRecord) -> Result<(), Error> {
    let key = record.name_key();
    if key == record.stored_name_key {
        return Ok(());
    }
    let (from, before) = name::namesakes(&key);
    let namesakes = living()
        .filter(account::Column::NameKey.gte(from))
        .filter(account::Column::NameKey.lt(before));
    let namesakes = namesakes.select_only().column(account::Column::Id);
    let found: Option<i64> = namesakes.limit(1).into_tuple().one(tx.handle()).await?;
    match found {
        None => Ok(()),
        Some(_) => Err(Error::Conflict {
            field: "Name",
            with: String::new(),
        }),
    }
}

/// Stores every column and the cards of an account.
pub(crate) async fn update(tx: &Tx, record: &AccountRecord) -> Result<(), Error> {
    check_namesakes(tx, record).await?;
    set(tx, record.account.id, record.to_row()).await?;
    cards::replace(
        tx,
        record.account.id,
        &record.stored_cards,
        &record.account.cards,
    )
    .await
}

/// Stores the columns that a charge changes.
pub(crate) async fn update_money(tx: &Tx, record: &AccountRecord) -> Result<(), Error> {
    let row = account::ActiveModel {
        debt: Set(record.debt.nanos()),
        leased: Set(record.leased.nanos()),
        credit_used: Set(record.account.credit_used.nanos()),
        requests: Set(signed(record.account.requests)),
        hard_limit: Set(record.account.hard_limit.map(Money::nanos)),
        revision: Set(signed(record.revision)),
        ..Default::default()
    };
    set(tx, record.account.id, row).await?;
    cards::replace(
        tx,
        record.account.id,
        &record.stored_cards,
        &record.account.cards,
    )
    .await
}

/// Like `update_money`, for many accounts. PostgreSQL checks the parent of a row that a transaction writes twice, and
/// waits for the lock on it; so all that a charge changes is written in one statement.
pub(crate) async fn update_money_of_all(
    tx: &Tx,
    records: impl Iterator<Item = &AccountRecord>,
) -> Result<(), Error> {
    let (mut rows, mut wallets) = (Vec::<[Value; 8]>::new(), Vec::new());
    for record in records {
        let view = &record.account;
        rows.push([
            view.id.get().into(),
            record.debt.nanos().into(),
            record.leased.nanos().into(),
            view.credit_used.nanos().into(),
            signed(view.requests).into(),
            view.hard_limit.map(Money::nanos).into(),
            signed(record.revision).into(),
            record.closing.into(),
        ]);
        wallets.push((
            view.id,
            record.stored_cards.as_slice(),
            view.cards.as_slice(),
        ));
    }
    let (count, sql) = (rows.len(), |rows: &str| {
        format!(
            "UPDATE account SET debt = new.column2, leased = new.column3, credit_used = new.column4, \
             requests = new.column5, hard_limit = new.column6, revision = new.column7, closing = new.column8 \
             FROM ({rows}) AS new WHERE account.id = new.column1"
        )
    });
    all_rows(in_batches(tx, rows, sql).await?, count)?;
    cards::replace_all(tx, wallets).await
}

/// Stores the revision, so that data planes get the account again.
pub(crate) async fn update_revision(tx: &Tx, record: &AccountRecord) -> Result<(), Error> {
    let row = account::ActiveModel {
        revision: Set(signed(record.revision)),
        ..Default::default()
    };
    set(tx, record.account.id, row).await
}

/// Stores the leased amount.
pub(crate) async fn update_leased(tx: &Tx, record: &AccountRecord) -> Result<(), Error> {
    let row = account::ActiveModel {
        leased: Set(record.leased.nanos()),
        ..Default::default()
    };
    set(tx, record.account.id, row).await
}

/// Writes columns of one row. The ORM's own update of a single row would read it back.
async fn set(tx: &Tx, id: AccountId, mut row: account::ActiveModel) -> Result<(), Error> {
    row.id = NotSet;
    let update = account::Entity::update_many().set(row);
    let update = update.filter(account::Column::Id.eq(id.get()));
    let written = Box::pin(update.exec(tx.handle())).await;
    one_row(&written.map_err(write_error)?)
}

/// The columns that these labels select, each with the value it must have.
pub(super) fn label_values(labels: AccountLabels) -> impl Iterator<Item = (account::Column, i64)> {
    let AccountLabels {
        level,
        gear,
        role,
        tier,
        factor,
    } = labels;
    let wanted = [
        (
            account::Column::Level,
            level.map(|level| level.get().into()),
        ),
        (account::Column::Gear, gear.map(i64::from)),
        (account::Column::Role, role.map(i64::from)),
        (account::Column::Tier, tier.map(i64::from)),
        (account::Column::Factor, factor.map(Multiplier::micros)),
    ];
    wanted
        .into_iter()
        .filter_map(|(column, value)| Some((column, value?)))
}

fn living() -> Select<account::Entity> {
    account::Entity::find().filter(account::Column::DeletedAt.is_null())
}

/// Reads rows and their cards. A row that cannot be read is skipped, so that it does not block the others.
async fn records(
    db: &impl Db,
    query: Select<account::Entity>,
    now: Millis,
) -> Result<Vec<AccountRecord>, Error> {
    let rows = query.all(db.handle()).await?;
    with_cards(db, rows, now).await
}

async fn with_cards(
    db: &impl Db,
    rows: Vec<account::Model>,
    now: Millis,
) -> Result<Vec<AccountRecord>, Error> {
    let mut found: Vec<_> = rows.into_iter().filter_map(readable).collect();
    let ids: Vec<_> = found.iter().map(|record| record.account.id).collect();
    let mut cards = cards::of(db, &ids).await?;
    for record in &mut found {
        record.stored_cards = cards.remove(&record.account.id).unwrap_or_default();
        record.account.cards.clone_from(&record.stored_cards);
        record.refresh_balance(now);
    }
    Ok(found)
}

async fn with_children(
    db: &impl Db,
    mut found: Vec<AccountRecord>,
) -> Result<Vec<AccountRecord>, Error> {
    let ids: Vec<_> = found.iter().map(|record| record.account.id).collect();
    let counts = children(db, &ids).await?;
    for record in &mut found {
        record.account.children = counts.get(&record.account.id).copied().unwrap_or_default();
    }
    Ok(found)
}

fn readable(row: account::Model) -> Option<AccountRecord> {
    let id = row.id;
    AccountRecord::from_row(row)
        .inspect_err(
            |error| tracing::error!(account.id = id, error = ?error, "an account is left out"),
        )
        .ok()
}

//! Credit cards, stored in their order of expiry.

use std::collections::BTreeMap;

use proxyxai_contract::{clock::Millis, id::AccountId, money::Money};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Value,
};

use super::{Db, ROWS_PER_INSERT, Tx, all_rows, entity::credit_card, in_batches, is_among};
use crate::{Error, model::Card};

/// At most this many accounts are cleared of expired cards at a time.
const EXPIRED_ACCOUNTS_MAX: u64 = 500;

/// Cards by account, sorted by expiry.
pub(crate) async fn of(
    db: &impl Db,
    accounts: &[AccountId],
) -> Result<BTreeMap<AccountId, Vec<Card>>, Error> {
    let mut cards: BTreeMap<AccountId, Vec<Card>> = BTreeMap::new();
    for chunk in accounts.chunks(ROWS_PER_INSERT) {
        let ids = chunk.iter().map(|id| id.get()).collect();
        let rows = credit_card::Entity::find()
            .filter(is_among(db, credit_card::Column::AccountId, ids))
            .order_by_asc(credit_card::Column::AccountId)
            .order_by_asc(credit_card::Column::Position)
            .all(db.handle())
            .await?;
        for row in rows {
            let account = AccountId::new(row.account_id)?;
            cards.entry(account).or_default().push(card(row));
        }
    }
    Ok(cards)
}

/// Accounts with an expired card.
pub(crate) async fn expired(db: &impl Db, now: Millis) -> Result<Vec<AccountId>, Error> {
    let ids: Vec<i64> = credit_card::Entity::find()
        .select_only()
        .column(credit_card::Column::AccountId)
        .distinct()
        .filter(credit_card::Column::ExpiresAt.lte(now.0))
        .limit(EXPIRED_ACCOUNTS_MAX)
        .into_tuple()
        .all(db.handle())
        .await?;
    ids.into_iter()
        .map(|id| AccountId::new(id).map_err(Error::from))
        .collect()
}

/// Replaces the stored cards of an account. Usually one card has changed, and only its row is written.
pub(crate) async fn replace(
    tx: &Tx,
    account: AccountId,
    stored: &[Card],
    cards: &[Card],
) -> Result<(), Error> {
    replace_all(tx, vec![(account, stored, cards)]).await
}

/// Like `replace`, for many accounts: the stored cards and the new ones.
pub(crate) async fn replace_all(
    tx: &Tx,
    wallets: Vec<(AccountId, &[Card], &[Card])>,
) -> Result<(), Error> {
    let mut changed = Vec::new();
    for (account, stored, cards) in wallets {
        let numbered = cards.iter().zip(0i64..);
        if stored.len() == cards.len() {
            let pairs = stored
                .iter()
                .zip(numbered)
                .filter(|(old, (new, _))| *old != *new);
            changed.extend(pairs.map(|(_, (card, position))| values(account, position, card)));
            continue;
        }
        let mine = credit_card::Entity::delete_many()
            .filter(credit_card::Column::AccountId.eq(account.get()));
        mine.exec(tx.handle()).await?;
        let rows = numbered.map(|(card, position)| values(account, position, card));
        let sql = |rows: &str| {
            format!(
                "INSERT INTO credit_card (account_id, position, amount, balance, reference, granted_at, expires_at) \
                 {rows}"
            )
        };
        in_batches(tx, rows.collect(), sql).await?;
    }
    let (count, sql) = (changed.len(), |rows: &str| {
        format!(
            "UPDATE credit_card SET amount = new.column3, balance = new.column4, reference = new.column5, \
             granted_at = new.column6, expires_at = new.column7 FROM ({rows}) AS new \
             WHERE credit_card.account_id = new.column1 AND credit_card.position = new.column2"
        )
    });
    all_rows(in_batches(tx, changed, sql).await?, count)
}

fn card(row: credit_card::Model) -> Card {
    let credit_card::Model {
        account_id: _,
        position: _,
        amount,
        balance,
        reference,
        granted_at,
        expires_at,
    } = row;
    Card {
        amount: Money::from_nanos(amount),
        balance: Money::from_nanos(balance),
        reference,
        granted: Millis(granted_at),
        expires: Millis(expires_at),
    }
}

fn values(account: AccountId, position: i64, card: &Card) -> [Value; 7] {
    let Card {
        amount,
        balance,
        reference,
        granted,
        expires,
    } = card;
    [
        account.get().into(),
        position.into(),
        amount.nanos().into(),
        balance.nanos().into(),
        reference.as_str().into(),
        granted.0.into(),
        expires.0.into(),
    ]
}

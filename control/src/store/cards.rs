//! Credit cards, kept in their order of expiry.

use std::collections::BTreeMap;

use proxyxai_contract::{clock::Millis, id::AccountId, money::Money};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, sea_query::ExprTrait as _,
};

use super::{Db, ROWS_PER_INSERT, Tx, entity::credit_card, one_row};
use crate::{Error, domain::credit::Card};

/// At most this many accounts are cleared of expired cards in one go.
const EXPIRED_ACCOUNTS_MAX: u64 = 500;

/// Cards by account, ordered by expiry.
pub(crate) async fn of(
    db: &impl Db,
    accounts: &[AccountId],
) -> Result<BTreeMap<AccountId, Vec<Card>>, Error> {
    let mut cards: BTreeMap<AccountId, Vec<Card>> = BTreeMap::new();
    for chunk in accounts.chunks(ROWS_PER_INSERT) {
        let rows = credit_card::Entity::find()
            .filter(credit_card::Column::AccountId.is_in(chunk.iter().map(|id| id.get())))
            .order_by_asc(credit_card::Column::AccountId)
            .order_by_asc(credit_card::Column::Position)
            .all(db.handle())
            .await
            .map_err(Error::internal)?;
        for row in rows {
            let account = AccountId::new(row.account_id).map_err(Error::internal)?;
            cards.entry(account).or_default().push(card(row));
        }
    }
    Ok(cards)
}

/// Accounts that have a card which expired by now.
pub(crate) async fn expired(db: &impl Db, now: Millis) -> Result<Vec<AccountId>, Error> {
    let ids: Vec<i64> = credit_card::Entity::find()
        .select_only()
        .column(credit_card::Column::AccountId)
        .distinct()
        .filter(credit_card::Column::ExpiresAt.lte(now.0))
        .limit(EXPIRED_ACCOUNTS_MAX)
        .into_tuple()
        .all(db.handle())
        .await
        .map_err(Error::internal)?;
    ids.into_iter()
        .map(|id| AccountId::new(id).map_err(Error::internal))
        .collect()
}

/// Makes the stored cards those given. Usually one card has changed, and only that row is written.
pub(crate) async fn replace(
    tx: &Tx,
    account: AccountId,
    stored: &[Card],
    cards: &[Card],
) -> Result<(), Error> {
    let numbered = || cards.iter().zip(0i64..);
    if stored.len() == cards.len() {
        let pairs = stored.iter().zip(numbered());
        for (_, (card, position)) in pairs.filter(|(old, (new, _))| *old != *new) {
            let mine = credit_card::Column::AccountId
                .eq(account.get())
                .and(credit_card::Column::Position.eq(position));
            let update = credit_card::Entity::update_many()
                .set(row(account, position, card))
                .filter(mine);
            let written = update.exec(tx.handle()).await;
            written
                .map_err(Error::internal)
                .and_then(|written| one_row(&written))?;
        }
        return Ok(());
    }
    let mine =
        credit_card::Entity::delete_many().filter(credit_card::Column::AccountId.eq(account.get()));
    mine.exec(tx.handle()).await.map_err(Error::internal)?;
    if !cards.is_empty() {
        credit_card::Entity::insert_many(
            numbered().map(|(card, position)| row(account, position, card)),
        )
        .exec_without_returning(tx.handle())
        .await
        .map_err(Error::internal)?;
    }
    Ok(())
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

fn row(account: AccountId, position: i64, card: &Card) -> credit_card::ActiveModel {
    let Card {
        amount,
        balance,
        reference,
        granted,
        expires,
    } = card;
    credit_card::ActiveModel {
        account_id: Set(account.get()),
        position: Set(position),
        amount: Set(amount.nanos()),
        balance: Set(balance.nanos()),
        reference: Set(reference.clone()),
        granted_at: Set(granted.0),
        expires_at: Set(expires.0),
    }
}

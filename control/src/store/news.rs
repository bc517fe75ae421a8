//! News: posted, read by their audience, and deleted.

use std::collections::{BTreeMap, BTreeSet};

use proxyxai_contract::{clock::Millis, id::AccountId};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, Condition, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Select,
    sea_query::{ExprTrait as _, LockBehavior, LockType},
};

use super::{
    Db, Tx, corrupt,
    entity::{account, news},
};
use crate::{
    Error,
    model::{Listing, NewsItem, NewsScope, Page},
};

/// The author and the audience.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewsAudience<'a> {
    pub(crate) scope: NewsScope,
    /// Empty for all accounts.
    pub(crate) target_dna: &'a str,
    pub(crate) author: AccountId,
    pub(crate) author_dna: &'a str,
}

/// News that were not mailed to all readers yet.
#[derive(Debug)]
pub(crate) struct UnmailedNews {
    pub(crate) news: NewsItem,
    /// The DNA of the author's account, which gets no mail.
    pub(crate) author_dna: String,
    /// Empty for all accounts.
    pub(crate) target_dna: String,
    /// Accounts up to this id got a mail.
    pub(crate) mailed_to: i64,
}

/// Stores news and fills in the id. Their readers get a mail if `mailed` is set.
pub(crate) async fn insert(
    tx: &Tx,
    view: &mut NewsItem,
    address: NewsAudience<'_>,
    mailed: bool,
) -> Result<(), Error> {
    let row = news::ActiveModel {
        scope: Set(address.scope.as_str().to_owned()),
        target_dna: Set(address.target_dna.to_owned()),
        author_id: Set(address.author.get()),
        author_dna: Set(address.author_dna.to_owned()),
        title: Set(view.title.clone()),
        content: Set(view.content.clone()),
        created_at: Set(view.created.0),
        expires_at: Set(view.expires.0),
        mailed_to: Set(mailed.then_some(0)),
        ..Default::default()
    };
    let inserted = news::Entity::insert(row).exec(tx.handle()).await?;
    view.id = inserted.last_insert_id;
    Ok(())
}

/// How many news of a scope are shown now.
pub(crate) async fn count(
    db: &impl Db,
    scope: NewsScope,
    target_dna: &str,
    now: Millis,
) -> Result<u64, Error> {
    of(scope, [target_dna])
        .filter(news::Column::ExpiresAt.gt(now.0))
        .count(db.handle())
        .await
        .map_err(Error::from)
}

/// The newest unexpired news of a scope.
pub(crate) async fn newest(
    db: &impl Db,
    scope: NewsScope,
    targets: &[String],
    now: Millis,
    rows_max: u64,
) -> Result<Vec<NewsItem>, Error> {
    let rows = of(scope, targets.iter().map(String::as_str))
        .filter(news::Column::ExpiresAt.gt(now.0))
        .order_by_desc(news::Column::Id)
        .limit(rows_max)
        .all(db.handle())
        .await?;
    named(db, rows.into_iter().map(read).collect::<Result<_, _>>()?).await
}

/// News with the DNA of their audience; empty for all accounts.
pub(crate) type AddressedNews = (NewsItem, String);

/// Unexpired news by accounts at or below a DNA, newest first.
pub(crate) async fn posted(
    db: &impl Db,
    author_dna: &str,
    now: Millis,
    page: Page,
) -> Result<Listing<AddressedNews>, Error> {
    let these = news::Entity::find()
        .filter(news::Column::AuthorDna.starts_with(author_dna))
        .filter(news::Column::ExpiresAt.gt(now.0));
    let total = these.clone().count(db.handle()).await?;
    let rows = these
        .order_by_desc(news::Column::Id)
        .limit(page.size)
        .offset(page.page.saturating_sub(1).saturating_mul(page.size))
        .all(db.handle())
        .await?;
    let targets: Vec<_> = rows.iter().map(|row| row.target_dna.clone()).collect();
    let news = named(db, rows.into_iter().map(read).collect::<Result<_, _>>()?).await?;
    Ok(Listing {
        rows: news.into_iter().zip(targets).collect(),
        total,
    })
}

/// An item by an account at or below a DNA.
pub(crate) async fn find(
    db: &impl Db,
    id: i64,
    author_dna: &str,
) -> Result<Option<AddressedNews>, Error> {
    let row = news::Entity::find_by_id(id)
        .filter(news::Column::AuthorDna.starts_with(author_dna))
        .one(db.handle())
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let target = row.target_dna.clone();
    Ok(Some((read(row)?, target)))
}

pub(crate) async fn delete_one(tx: &Tx, id: i64) -> Result<(), Error> {
    let dropped = news::Entity::delete_by_id(id).exec(tx.handle()).await?;
    if dropped.rows_affected == 1 {
        Ok(())
    } else {
        Err(Error::internal("news vanished before they were deleted"))
    }
}

/// Fills in the names of authors.
async fn named(db: &impl Db, mut news: Vec<NewsItem>) -> Result<Vec<NewsItem>, Error> {
    if news.is_empty() {
        return Ok(news);
    }
    let ids: BTreeSet<_> = news.iter().map(|view| view.author.get()).collect();
    let names: Vec<(i64, String)> = account::Entity::find()
        .select_only()
        .columns([account::Column::Id, account::Column::Name])
        .filter(account::Column::Id.is_in(ids))
        .into_tuple()
        .all(db.handle())
        .await?;
    let names: BTreeMap<_, _> = names.into_iter().collect();
    for view in &mut news {
        let name = names.get(&view.author.get()).cloned();
        view.author_name = name.unwrap_or_default();
    }
    Ok(news)
}

/// Deletes the news of a scope by the author or an account below it. Returns how many.
pub(crate) async fn delete(tx: &Tx, address: NewsAudience<'_>) -> Result<u64, Error> {
    let dropped = news::Entity::delete_many()
        .filter(news::Column::Scope.eq(address.scope.as_str()))
        .filter(news::Column::TargetDna.eq(address.target_dna))
        .filter(news::Column::AuthorDna.starts_with(address.author_dna))
        .exec(tx.handle())
        .await?;
    Ok(dropped.rows_affected)
}

/// Deletes news that expired before a moment.
pub(crate) async fn prune(tx: &Tx, before: Millis) -> Result<u64, Error> {
    let dropped = news::Entity::delete_many()
        .filter(news::Column::ExpiresAt.lt(before.0))
        .exec(tx.handle())
        .await?;
    Ok(dropped.rows_affected)
}

/// Whether any news are still to be mailed.
pub(crate) async fn has_unmailed(db: &impl Db) -> Result<bool, Error> {
    let count = news::Entity::find()
        .filter(news::Column::MailedTo.is_not_null())
        .count(db.handle());
    count.await.map(|count| count > 0).map_err(Error::from)
}

/// The oldest news still to be mailed, unless their author is at or below a resting account. Locked, so that two
/// replicas take turns.
pub(crate) async fn unmailed(tx: &Tx, resting: &[String]) -> Result<Option<UnmailedNews>, Error> {
    let resting = resting.iter().fold(Condition::all(), |all, dna| {
        all.add(news::Column::AuthorDna.starts_with(dna).not())
    });
    let mut query = news::Entity::find()
        .filter(news::Column::MailedTo.is_not_null())
        .filter(resting)
        .order_by_asc(news::Column::Id)
        .limit(1);
    if tx.locks_rows() {
        query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    }
    let row = query.one(tx.handle()).await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let (target_dna, mailed_to) = (row.target_dna.clone(), row.mailed_to.unwrap_or_default());
    let author_dna = row.author_dna.clone();
    let news = named(tx, vec![read(row)?]).await?.pop();
    Ok(news.map(|news| UnmailedNews {
        news,
        author_dna,
        target_dna,
        mailed_to,
    }))
}

/// Stores up to which account readers got a mail; `None` means all of them.
pub(crate) async fn mailed(tx: &Tx, id: i64, mailed_to: Option<i64>) -> Result<(), Error> {
    let row = news::ActiveModel {
        mailed_to: Set(mailed_to),
        ..Default::default()
    };
    news::Entity::update_many()
        .set(row)
        .filter(news::Column::Id.eq(id))
        .exec(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}

fn of<'a>(scope: NewsScope, targets: impl IntoIterator<Item = &'a str>) -> Select<news::Entity> {
    let these = Condition::all()
        .add(news::Column::Scope.eq(scope.as_str()))
        .add(news::Column::TargetDna.is_in(targets));
    news::Entity::find().filter(these)
}

fn read(row: news::Model) -> Result<NewsItem, Error> {
    let news::Model {
        id,
        scope,
        target_dna: _,
        author_id,
        author_dna: _,
        title,
        content,
        created_at,
        expires_at,
        mailed_to: _,
    } = row;
    let scope = NewsScope::parse(&scope).ok_or_else(|| corrupt("news", id, "unknown scope"))?;
    Ok(NewsItem {
        id,
        scope,
        author: AccountId::new(author_id)?,
        author_name: String::new(),
        title,
        content,
        created: Millis(created_at),
        expires: Millis(expires_at),
    })
}

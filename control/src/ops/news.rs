//! News for all accounts, for one account, or for an account and all below it.

use std::collections::BTreeSet;

use proxyxai_contract::Invalid;

use crate::{
    Control, Error,
    domain::{
        account::{AccountIdentifier, Dna},
        audit::{AuditAction, AuditField, AuditFields, news as fields},
        news::{LIVE_MAX, SHOWN_MAX, check},
    },
    model::{
        Account, Caller, Listing, NewsBoard, NewsDraft, NewsItem, NewsScope, Page, PostedNews,
    },
    ops::{self, audit, audit::AuditTarget},
    publish::EffectiveSettings,
    store::{self, AccountRecord, Db, news::NewsAudience},
};

const ROOT_ONLY: &str = "only root may post or delete news for all accounts";

/// Posts news. No target means all accounts; a DNA means the account and all below it.
pub(crate) async fn post(
    control: &Control,
    caller: &Caller,
    target: Option<&str>,
    new: NewsDraft,
) -> Result<NewsItem, Error> {
    let now = control.now();
    let tx = control.store().begin().await?;
    let NewsParties { own, scope, target } = parties(control, &tx, caller, target).await?;
    let checked = check(&new, scope, now)?;
    let mut view = NewsItem {
        id: 0,
        scope,
        author: own.account.id,
        author_name: own.account.name.clone(),
        title: checked.title,
        content: checked.content,
        created: now,
        expires: checked.expires,
    };
    let address = address(&own, scope, target.as_ref());
    if store::news::count(&tx, scope, address.target_dna, now).await? >= LIVE_MAX {
        let problem = format!("already has {LIVE_MAX} news; delete them first");
        return Err(Invalid::new("target", problem).into());
    }
    let settings = EffectiveSettings::read(&tx, control.config()).await?;
    let mailed = ops::mail::is_on(&settings)?;
    store::news::insert(&tx, &mut view, address, mailed).await?;
    let what = (AuditAction::AddNews, AuditTarget::news(target.as_ref()));
    let sides = (AuditFields::new(), fields(&view));
    audit::record(control, &tx, caller, what, sides).await?;
    tx.commit().await?;
    tracing::info!(
        news.id = view.id,
        operator.id = caller.account.get(),
        "news posted"
    );
    Ok(view)
}

/// Deletes all news of a scope by the caller or a descendant. Returns how many.
pub(crate) async fn delete(
    control: &Control,
    caller: &Caller,
    target: Option<&str>,
) -> Result<u64, Error> {
    let tx = control.store().begin().await?;
    let NewsParties { own, scope, target } = parties(control, &tx, caller, target).await?;
    let deleted = store::news::delete(&tx, address(&own, scope, target.as_ref())).await?;
    let before = AuditFields::from([("Count".to_owned(), AuditField::Open(deleted.into()))]);
    let what = (AuditAction::DeleteNews, AuditTarget::news(target.as_ref()));
    audit::record(control, &tx, caller, what, (before, AuditFields::new())).await?;
    tx.commit().await?;
    tracing::info!(deleted, operator.id = caller.account.get(), "news deleted");
    Ok(deleted)
}

/// Deletes one news item by the caller or a descendant.
pub(crate) async fn delete_one(control: &Control, caller: &Caller, id: i64) -> Result<u64, Error> {
    let tx = control.store().begin().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let found = store::news::find(&tx, id, &own.account.dna).await?;
    let (news, target) = found.ok_or_else(|| Error::NotFound {
        kind: "News",
        name: id.to_string(),
    })?;
    ops::may_manage(control, &tx, &own).await?;
    let target = match target.as_str() {
        "" => None,
        dna => store::accounts::find(&tx, &AccountIdentifier::parse(dna)?, control.now()).await?,
    };
    store::news::delete_one(&tx, id).await?;
    let target = target.map(|record| record.account);
    let what = (AuditAction::DeleteNews, AuditTarget::news(target.as_ref()));
    audit::record(
        control,
        &tx,
        caller,
        what,
        (fields(&news), AuditFields::new()),
    )
    .await?;
    tx.commit().await?;
    tracing::info!(
        news.id = id,
        operator.id = caller.account.get(),
        "news deleted"
    );
    Ok(1)
}

/// Unexpired news by the caller and its descendants, newest first.
pub(crate) async fn posted(
    control: &Control,
    caller: &Caller,
    page: Page,
) -> Result<Listing<PostedNews>, Error> {
    let tx = control.store().begin_reading().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let now = control.now();
    let listing = store::news::posted(&tx, &own.account.dna, now, page.bounded()).await?;
    let last = |dna: &str| dna.trim_end_matches('.').rsplit('.').next()?.parse().ok();
    let ids: BTreeSet<i64> = listing
        .rows
        .iter()
        .filter_map(|(_, dna)| last(dna))
        .collect();
    let names = store::calls::account_names(&tx, ids.into_iter().collect()).await?;
    let posted = |(news, dna): (NewsItem, String)| {
        let id: Option<i64> = last(&dna);
        PostedNews {
            target_name: id
                .and_then(|id| names.get(&id).cloned())
                .unwrap_or_default(),
            target: match (news.scope, id) {
                (NewsScope::Account, Some(id)) => id.to_string(),
                _ => dna,
            },
            news,
        }
    };
    Ok(Listing {
        rows: listing.rows.into_iter().map(posted).collect(),
        total: listing.total,
    })
}

/// The news for the caller.
pub(crate) async fn board(control: &Control, caller: &Caller) -> Result<NewsBoard, Error> {
    let tx = control.store().begin_reading().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let dna = Dna::parse(&own.account.dna).map_err(Error::internal)?;
    let newest = async |scope, targets: &[String]| {
        store::news::newest(&tx, scope, targets, control.now(), SHOWN_MAX).await
    };
    Ok(NewsBoard {
        system: newest(NewsScope::System, &[String::new()]).await?,
        user: newest(NewsScope::Account, std::slice::from_ref(&own.account.dna)).await?,
        group: newest(NewsScope::Group, &dna.heads()).await?,
    })
}

struct NewsParties {
    own: AccountRecord,
    scope: NewsScope,
    /// `None` for all accounts.
    target: Option<Account>,
}

/// The author and the audience, if the caller may post to it.
async fn parties(
    control: &Control,
    db: &impl Db,
    caller: &Caller,
    target: Option<&str>,
) -> Result<NewsParties, Error> {
    let own = ops::caller_account(control, db, caller).await?;
    let Some(identifier) = target else {
        ops::root_only(caller, ROOT_ONLY)?;
        return Ok(NewsParties {
            own,
            scope: NewsScope::System,
            target: None,
        });
    };
    let scope = match AccountIdentifier::parse(identifier)? {
        AccountIdentifier::Dna(_) => NewsScope::Group,
        AccountIdentifier::Id(_) | AccountIdentifier::Email(_) | AccountIdentifier::Name(_) => {
            NewsScope::Account
        }
    };
    let record = ops::visible(control, db, &own, identifier).await?;
    ops::may_manage(control, db, &own).await?;
    Ok(NewsParties {
        own,
        scope,
        target: Some(record.account),
    })
}

fn address<'a>(
    own: &'a AccountRecord,
    scope: NewsScope,
    target: Option<&'a Account>,
) -> NewsAudience<'a> {
    NewsAudience {
        scope,
        target_dna: target.map_or("", |view| &view.dna),
        author: own.account.id,
        author_dna: &own.account.dna,
    }
}

//! News for everybody, for one account, or for an account and all below it.

use proxyxai_contract::Invalid;

use crate::{
    Control, Error,
    domain::{
        account::{Dna, Identifier},
        audit::{Action, Field, Fields, news as fields},
        news::{LIVE_MAX, SHOWN_MAX, check},
    },
    ops::{self, audit, audit::Target},
    store::{self, AccountRecord, Db, news::Address},
    view::{AccountView, Caller, NewNews, NewsBoard, NewsView, Scope},
};

const ROOT_ONLY: &str = "only root may post news for everybody, or delete them";

/// Posts news. No target means everybody; a DNA means the account and all below it.
pub(crate) async fn post(
    control: &Control,
    caller: &Caller,
    target: Option<&str>,
    new: NewNews,
) -> Result<NewsView, Error> {
    let now = control.now();
    let tx = control.store().begin().await?;
    let Parties { own, scope, target } = parties(control, &tx, caller, target).await?;
    let checked = check(&new, scope, now)?;
    let mut view = NewsView {
        id: 0,
        scope,
        author: own.view.id,
        author_name: own.view.name.clone(),
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
    let mailed = ops::mail::is_on(control, &tx).await?;
    store::news::insert(&tx, &mut view, address, mailed).await?;
    let what = (Action::AddNews, Target::news(target.as_ref()));
    let sides = (Fields::new(), fields(&view));
    audit::record(control, &tx, caller, what, sides).await?;
    tx.commit().await?;
    tracing::info!(
        news.id = view.id,
        operator.id = caller.account.get(),
        "news posted"
    );
    Ok(view)
}

/// Deletes all news of a scope that the caller or a descendant posted. Says how many there were.
pub(crate) async fn delete(
    control: &Control,
    caller: &Caller,
    target: Option<&str>,
) -> Result<u64, Error> {
    let tx = control.store().begin().await?;
    let Parties { own, scope, target } = parties(control, &tx, caller, target).await?;
    let deleted = store::news::delete(&tx, address(&own, scope, target.as_ref())).await?;
    let before = Fields::from([("Count".to_owned(), Field::Open(deleted.into()))]);
    let what = (Action::DeleteNews, Target::news(target.as_ref()));
    audit::record(control, &tx, caller, what, (before, Fields::new())).await?;
    tx.commit().await?;
    tracing::info!(deleted, operator.id = caller.account.get(), "news deleted");
    Ok(deleted)
}

/// What the caller has to read.
pub(crate) async fn board(control: &Control, caller: &Caller) -> Result<NewsBoard, Error> {
    let tx = control.store().begin_reading().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let dna = Dna::parse(&own.view.dna).map_err(Error::internal)?;
    let newest = async |scope, targets: &[String]| {
        store::news::newest(&tx, scope, targets, control.now(), SHOWN_MAX).await
    };
    Ok(NewsBoard {
        system: newest(Scope::System, &[String::new()]).await?,
        user: newest(Scope::Account, std::slice::from_ref(&own.view.dna)).await?,
        group: newest(Scope::Group, &dna.heads()).await?,
    })
}

struct Parties {
    own: AccountRecord,
    scope: Scope,
    /// None for everybody.
    target: Option<AccountView>,
}

/// Who posts for whom, once it is clear that they may.
async fn parties(
    control: &Control,
    db: &impl Db,
    caller: &Caller,
    target: Option<&str>,
) -> Result<Parties, Error> {
    let own = ops::caller_account(control, db, caller).await?;
    let Some(identifier) = target else {
        ops::root_only(caller, ROOT_ONLY)?;
        return Ok(Parties {
            own,
            scope: Scope::System,
            target: None,
        });
    };
    let scope = match Identifier::parse(identifier)? {
        Identifier::Dna(_) => Scope::Group,
        Identifier::Id(_) | Identifier::Email(_) | Identifier::Name(_) => Scope::Account,
    };
    let record = ops::visible(control, db, &own, identifier).await?;
    ops::may_manage(control, db, &own).await?;
    Ok(Parties {
        own,
        scope,
        target: Some(record.view),
    })
}

fn address<'a>(
    own: &'a AccountRecord,
    scope: Scope,
    target: Option<&'a AccountView>,
) -> Address<'a> {
    Address {
        scope,
        target_dna: target.map_or("", |view| &view.dna),
        author: own.view.id,
        author_dna: &own.view.dna,
    }
}

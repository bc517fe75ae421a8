//! The list of calls: an account's own, and those of all accounts below it.

use std::collections::{BTreeMap, BTreeSet};

use proxyxai_contract::{
    Invalid,
    id::{AccountId, ClientKeyId, KeyId},
    secret::Secret,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Control, Error,
    domain::{
        account::{AccountIdentifier, check_text},
        cursor::{CallCursor, CallPosition, PostedWatermark},
    },
    model::{Call, CallFilter, CallPage, Caller, ModelFilter, PageCursor, PostedUsage},
    ops::{self, reports::hide_from},
    store::{
        self, AccountRecord, Tx,
        calls::{CallScope, NewerCalls, OlderCalls},
    },
};

/// Default and greatest number of rows in a page.
pub(crate) const SIZE: u64 = 50;
pub(crate) const SIZE_MAX: u64 = 500;
const TEXT_BYTES_MAX: usize = 512;
/// Contexts that cursors are sealed for, so that one kind is not accepted as the other. Sealing hides from clients how
/// busy other accounts are.
const BEFORE: &str = "calls before";
const AFTER: &str = "calls after";

/// Single calls of the caller or a descendant, and of those below it.
pub(crate) async fn list(
    control: &Control,
    caller: &Caller,
    filter: CallFilter,
    (from, size): (PageCursor, u64),
) -> Result<CallPage, Error> {
    check(caller, &filter, size)?;
    let now = control.now();
    let size = usize::try_from(size).map_err(Error::internal)?;
    // One consistent snapshot, so that the watermark matches the rows.
    let tx = control.store().begin_reading().await?;
    let whose = whose(control, &tx, caller, &filter).await?;
    let search = store::calls::search(&tx, &whose, &filter).await?;
    let (rows, next, mark) = match from {
        PageCursor::Latest => {
            let mark = store::calls::mark(&tx, now).await?;
            let place = CallPosition::below(filter.end.map_or(i64::MAX, |end| end.plus(1).0));
            let OlderCalls { rows, next } =
                store::calls::older(&tx, &search, (place, None), size).await?;
            (rows, before(control, &mark, next)?, mark)
        }
        PageCursor::Before(text) => {
            let CallCursor { mark, mut place } = opened(control, ("before", BEFORE), &text)?;
            if let Some(end) = filter.end.filter(|end| end.0 < place.start) {
                place = CallPosition::below(end.plus(1).0);
            }
            let older = store::calls::older(&tx, &search, (place, Some(&mark)), size);
            let OlderCalls { rows, next } = older.await?;
            (rows, before(control, &mark, next)?, mark)
        }
        PageCursor::After(text) => {
            let mark: PostedWatermark = opened(control, ("after", AFTER), &text)?;
            let newer = store::calls::newer(&tx, &search, &mark, (size, now)).await?;
            let NewerCalls {
                mut rows,
                mark,
                more,
            } = newer;
            rows.sort_by(|one, other| order(other).cmp(&order(one)));
            let next = more.then(|| sealed(control, AFTER, &mark)).transpose()?;
            (rows, next, mark)
        }
    };
    Ok(CallPage {
        calls: named(&tx, caller, rows).await?,
        next,
        latest: sealed(control, AFTER, &mark)?,
    })
}

fn check(caller: &Caller, filter: &CallFilter, size: u64) -> Result<(), Error> {
    if filter.key.is_some() {
        ops::root_only(
            caller,
            "only root may look for the calls of an upstream key",
        )?;
    }
    if !(1..=SIZE_MAX).contains(&size) {
        return Err(Invalid::new("size", format!("must be from 1 to {SIZE_MAX}")).into());
    }
    let texts = [
        ("model", filter.model.as_ref().map(ModelFilter::text)),
        ("request_id", filter.request_id.as_deref()),
    ];
    for (name, text) in texts {
        check_text(name, text.unwrap_or_default(), TEXT_BYTES_MAX)?;
    }
    match (filter.start, filter.end) {
        (Some(start), Some(end)) if start > end => {
            Err(Invalid::new("start", "must not be after end").into())
        }
        _ => Ok(()),
    }
}

/// The accounts whose calls are listed.
async fn whose(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    filter: &CallFilter,
) -> Result<CallScope, Error> {
    let own = ops::caller_account(control, tx, caller).await?;
    let account = filter.account.as_deref().map(str::trim);
    let record = match account.filter(|text| !text.is_empty()) {
        Some(identifier) => known(control, tx, own, identifier).await?,
        None => own,
    };
    Ok(match (filter.alone, record.account.id) {
        (true, id) => CallScope::One(id),
        (false, AccountId::ROOT) => CallScope::Everybody,
        (false, _) => CallScope::Below(record.account.dna),
    })
}

/// An account that the caller may see. A deleted one is found by id or DNA only, since its name is free again.
async fn known(
    control: &Control,
    tx: &Tx,
    own: AccountRecord,
    identifier: &str,
) -> Result<AccountRecord, Error> {
    let found = ops::visible(control, tx, &own, identifier).await;
    if !matches!(found, Err(Error::NotFound { .. })) {
        return found;
    }
    let id = match AccountIdentifier::parse(identifier)? {
        AccountIdentifier::Id(id) => Some(id),
        AccountIdentifier::Dna(dna) => dna.ids().last().copied(),
        AccountIdentifier::Email(_) | AccountIdentifier::Name(_) => None,
    };
    let Some(id) = id else { return found };
    let record = store::accounts::childless(tx, id, control.now()).await?;
    let is_same =
        |record: &AccountRecord| !identifier.starts_with('.') || record.account.dna == identifier;
    match record.filter(|record| is_same(record) && ops::is_at_or_below(&own, record)) {
        Some(record) => Ok(record),
        None => found,
    }
}

/// Adds names to the rows, and removes what the caller may not see.
async fn named(tx: &Tx, caller: &Caller, rows: Vec<PostedUsage>) -> Result<Vec<Call>, Error> {
    let ids: BTreeSet<i64> = rows.iter().map(|row| row.record.account.get()).collect();
    let names = store::calls::account_names(tx, ids.into_iter().collect()).await?;
    let mut keys = BTreeMap::new();
    if caller.is_root() {
        let ids = rows.iter().filter_map(|row| row.record.key);
        let ids: BTreeSet<i64> = ids.map(KeyId::get).collect();
        keys = store::calls::key_names(tx, ids.into_iter().collect()).await?;
    }
    let ids = rows.iter().filter_map(|row| row.record.client_key);
    let ids: BTreeSet<i64> = ids.map(ClientKeyId::get).collect();
    let client_keys = store::client_keys::names(tx, ids.into_iter().collect()).await?;
    let call = |mut usage: PostedUsage| {
        hide_from(caller, &mut usage);
        let client_key = usage.record.client_key.map_or(0, ClientKeyId::get);
        let key = usage.record.key.map_or(0, KeyId::get);
        Call {
            account_name: names
                .get(&usage.record.account.get())
                .cloned()
                .unwrap_or_default(),
            key_name: caller
                .is_root()
                .then(|| keys.get(&key).cloned().unwrap_or_default()),
            client_key_name: client_keys.get(&client_key).cloned().unwrap_or_default(),
            usage,
        }
    };
    Ok(rows.into_iter().map(call).collect())
}

fn order(row: &PostedUsage) -> (i64, &str, u64, u64) {
    let PostedUsage {
        node,
        epoch,
        record,
        ..
    } = row;
    (record.start.0, node, *epoch, record.sequence)
}

fn before(
    control: &Control,
    mark: &PostedWatermark,
    place: Option<CallPosition>,
) -> Result<Option<String>, Error> {
    let cursor = |place| CallCursor {
        mark: mark.clone(),
        place,
    };
    let cursor = place.map(|place| sealed(control, BEFORE, &cursor(place)));
    cursor.transpose()
}

fn sealed(control: &Control, context: &str, cursor: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string(cursor).map_err(Error::internal)?;
    control.vault().seal_text(context, &Secret::new(text))
}

fn opened<C: DeserializeOwned>(
    control: &Control,
    (name, context): (&str, &str),
    text: &str,
) -> Result<C, Error> {
    let bad = || Invalid::new(name, "is not a cursor of this list");
    let clear = control
        .vault()
        .open_text(context, text)
        .map_err(|_| bad())?;
    serde_json::from_str(clear.expose()).map_err(|_| bad().into())
}

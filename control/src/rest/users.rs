//! `/x-users` and `/x-dna`: accounts below the caller.

mod body;
mod detail;
mod response;

use axum::{Json, extract::State};
use proxyxai_contract::{Invalid, id::AccountId, money::Money};

pub(super) use self::{
    body::{CreateAccount, UpdateAccount},
    response::actions,
};
use self::{
    detail::AccountDetail,
    response::{AccountChanged, AccountDeleted, AccountRow},
};
use super::{
    error::RestError,
    query::{ID, PAGE, ParamType, QueryParam, SIZE, query},
    request::{AccountCaller, JsonBody, PathParam, QueryParams},
    response::{PagedResponse, paged},
};
use crate::{
    Control,
    model::{AccountFilter, Caller, Listing},
    ops,
};

/// `/x-users`: direct children.
pub(super) async fn children(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<PagedResponse<AccountRow>, RestError> {
    let filter = filter(&params, false)?;
    listed(&control, &caller, filter, &params).await
}

/// `/x-dna`: all descendants.
pub(super) async fn descendants(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<PagedResponse<AccountRow>, RestError> {
    let filter = filter(&params, true)?;
    listed(&control, &caller, filter, &params).await
}

/// `/x-users/{identifier}`: one account, or direct children with a label (`L3`).
pub(super) async fn child(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
    params: QueryParams,
) -> Result<PagedResponse<AccountRow>, RestError> {
    one(&control, &caller, segment, &params, false).await
}

/// `/x-dna/{identifier}`: one account, or descendants with a label (`L3`).
pub(super) async fn descendant(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
    params: QueryParams,
) -> Result<PagedResponse<AccountRow>, RestError> {
    one(&control, &caller, segment, &params, true).await
}

pub(super) async fn create(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    JsonBody(body): JsonBody<CreateAccount>,
) -> Result<Json<AccountChanged>, RestError> {
    let new = body::new_account(body)?;
    let (changed, key) = ops::accounts::create(&control, &caller, new).await?;
    Ok(Json(response::created(&changed, &key, &control.zone())))
}

pub(super) async fn update(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
    JsonBody(body): JsonBody<UpdateAccount>,
) -> Result<Json<AccountChanged>, RestError> {
    let change = body::change(body)?;
    let moved = change.credit.unwrap_or(Money::ZERO);
    let changed = ops::accounts::update(&control, &caller, &segment.0, change).await?;
    Ok(Json(response::updated(&changed, moved, &control.zone())))
}

pub(super) async fn delete(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
) -> Result<Json<AccountDeleted>, RestError> {
    let changed = ops::accounts::delete(&control, &caller, &segment.0).await?;
    Ok(Json(response::deleted(&changed, &control.zone())))
}

/// `/x-info?user=`: the details of one account; of the caller if none is named.
pub(super) async fn info(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<Json<AccountDetail>, RestError> {
    let user = params.text("user").or_else(|| params.text("u"));
    let account = match user {
        Some(identifier) => ops::accounts::find(&control, &caller, identifier).await?,
        None => ops::accounts::caller(&control, &caller).await?,
    };
    let (today, month) = ops::reports::today_and_month(&control, &caller, user).await?;
    let detail = detail::detail(account, today, month, &control.zone());
    Ok(Json(detail))
}

async fn one(
    control: &Control,
    caller: &Caller,
    segment: PathParam,
    params: &QueryParams,
    descendants: bool,
) -> Result<PagedResponse<AccountRow>, RestError> {
    // Parsed for a single account too, so that a wrong parameter is refused instead of ignored.
    let filter = filter(params, descendants)?;
    // No account can be called `L3`: names have at least four characters.
    if let Some(labels) = segment.labels()? {
        let filter = AccountFilter { labels, ..filter };
        return listed(control, caller, filter, params).await;
    }
    let page = params.page()?;
    let account = ops::accounts::find(control, caller, &segment.0).await?;
    let listing = Listing {
        rows: vec![account],
        total: 1,
    };
    let zone = control.zone();
    Ok(paged(listing, page, |account| {
        response::row(&account, &zone)
    }))
}

async fn listed(
    control: &Control,
    caller: &Caller,
    filter: AccountFilter,
    params: &QueryParams,
) -> Result<PagedResponse<AccountRow>, RestError> {
    let page = params.page()?;
    let listing = ops::accounts::list(control, caller, filter, page).await?;
    let zone = control.zone();
    Ok(paged(listing, page, |account| {
        response::row(&account, &zone)
    }))
}

/// Query parameters that select accounts.
pub(super) const QUERY: [QueryParam; 8] = [
    query("id", ID, "The account with this ID"),
    query("name", ParamType::Text, "The account with this name"),
    query("email", ParamType::Text, "The account with this address"),
    query(
        "dna",
        ParamType::Text,
        "The account with this DNA path, and all below it",
    ),
    query(
        "search",
        ParamType::Text,
        "Names and addresses that begin with this, and the account with this ID",
    ),
    query(
        "order",
        ParamType::Words(&ORDERS),
        "The field to sort by, preceded by `-` for descending order",
    ),
    PAGE,
    SIZE,
];
const ORDERS: [&str; 12] = [
    "id", "name", "email", "balance", "used", "-id", "-name", "-email", "-balance", "-used", "asc",
    "desc",
];

/// Reads the query's filter: one account by `id`, `email` or `name`, in this order, or a subtree by `dna`.
fn filter(params: &QueryParams, descendants: bool) -> Result<AccountFilter, Invalid> {
    let id = params.int("id")?.map(AccountId::new).transpose()?;
    let text = |name| params.text(name).map(ToOwned::to_owned);
    let identifier = id
        .map(|id| id.to_string())
        .or_else(|| text("email"))
        .or_else(|| text("name"));
    Ok(AccountFilter {
        descendants,
        identifier,
        subtree: text("dna"),
        search: text("search"),
        labels: params.labels()?,
        order: params.order()?,
    })
}

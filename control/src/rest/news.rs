//! `/x-news` and `/dashboard/news`.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{Body, Shape, body},
    error::RestError,
    fields::{Text, Whole},
    query::{ID, PAGE, QueryParam, query, size},
    request::{AccountCaller, JsonBody, PathParam, QueryParams},
    response::{PagedResponse, paged},
};
use crate::{
    Control,
    model::{Caller, NewsDraft, NewsItem, PostedNews},
    ops,
};

/// The default and largest page size: news are long.
const ROWS: u64 = 20;
const ROWS_MAX: u64 = 100;

pub(super) const QUERY: [QueryParam; 2] = [PAGE, size(ROWS_MAX)];
pub(super) const DELETE_QUERY: [QueryParam; 1] = [query(
    "id",
    ID,
    "ID of one item; by default all news for all accounts",
)];

/// `POST /x-news`: for all accounts.
pub(super) async fn post(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    JsonBody(body): JsonBody<PostNews>,
) -> Result<Json<NewsPosted>, RestError> {
    post_for(&control, &caller, None, body).await
}

/// `POST /x-news/{target}`: for an account, or for an account and all below it (`.1.42.`).
pub(super) async fn post_to(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
    JsonBody(body): JsonBody<PostNews>,
) -> Result<Json<NewsPosted>, RestError> {
    post_for(&control, &caller, Some(&segment.0), body).await
}

/// `GET /x-news`: news that the caller and the accounts below it posted.
pub(super) async fn posted(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<PagedResponse<PostedRow>, RestError> {
    params.reject_unknown(&QUERY)?;
    let page = params.page_of(ROWS, ROWS_MAX)?;
    let listing = ops::news::posted(&control, &caller, page).await?;
    Ok(paged(listing, page, |posted: PostedNews| PostedRow {
        id: posted.news.id,
        target: posted.target,
        target_name: posted.target_name,
        news: row(&posted.news),
    }))
}

/// `DELETE /x-news`: all news for all accounts or, with `id`, one item with any target.
pub(super) async fn delete(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<Json<NewsDeleted>, RestError> {
    params.reject_unknown(&DELETE_QUERY)?;
    let deleted = match params.int("id")? {
        Some(id) => ops::news::delete_one(&control, &caller, id).await?,
        None => ops::news::delete(&control, &caller, None).await?,
    };
    Ok(Json(NewsDeleted {
        success: true,
        deleted,
    }))
}

/// `DELETE /x-news/{target}`.
pub(super) async fn delete_of(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
) -> Result<Json<NewsDeleted>, RestError> {
    let deleted = ops::news::delete(&control, &caller, Some(&segment.0)).await?;
    Ok(Json(NewsDeleted {
        success: true,
        deleted,
    }))
}

/// `/dashboard/news` and its older path.
pub(super) async fn board(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
) -> Result<Json<NewsBoardResponse>, RestError> {
    let board = ops::news::board(&control, &caller).await?;
    let rows = |news: Vec<NewsItem>| news.iter().map(row).collect();
    Ok(Json(NewsBoardResponse {
        success: true,
        system_news: rows(board.system),
        user_news: rows(board.user),
        dna_news: rows(board.group),
    }))
}

async fn post_for(
    control: &Control,
    caller: &Caller,
    target: Option<&str>,
    body: PostNews,
) -> Result<Json<NewsPosted>, RestError> {
    let new = NewsDraft {
        title: body.title.0,
        content: body.content.0,
        days: body.days.map(|it| it.0),
    };
    let news = ops::news::post(control, caller, target, new).await?;
    Ok(Json(NewsPosted {
        success: true,
        news: row(&news),
    }))
}

/// News for the board of its readers.
#[derive(Deserialize, ToSchema)]
pub(super) struct PostNews {
    /// One line.
    title: Text,
    /// May have several lines.
    content: Text,
    /// How many days it is shown; by default 7 if it is for all accounts, else 32.
    #[schema(value_type = Option<i64>, minimum = 1)]
    days: Option<Whole<i64>>,
}
body!(PostNews);

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewsBoard)]
pub(super) struct NewsBoardResponse {
    success: bool,
    system_news: Vec<NewsRow>,
    user_news: Vec<NewsRow>,
    dna_news: Vec<NewsRow>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PostedNews)]
pub(super) struct PostedRow {
    id: i64,
    /// As in the path they were posted to.
    target: String,
    target_name: String,
    #[serde(flatten)]
    news: NewsRow,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewsPosted)]
pub(super) struct NewsPosted {
    success: bool,
    news: NewsRow,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewsDeleted)]
pub(super) struct NewsDeleted {
    success: bool,
    deleted: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewsItem)]
struct NewsRow {
    /// The author.
    from: String,
    title: String,
    content: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

fn row(news: &NewsItem) -> NewsRow {
    NewsRow {
        from: news.author_name.clone(),
        title: news.title.clone(),
        content: news.content.clone(),
        // These two are always in UTC.
        created_at: news.created.timestamp().to_string(),
        expires_at: news.expires.timestamp().to_string(),
    }
}

//! `/x-news` and `/dashboard/news`.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    answer::{Paged, paged},
    body::{Body, Shape, body},
    failure::Failure,
    fields::{Text, Whole},
    query::{ID, PAGE, Query, query, size},
    request::{Asker, JsonBody, Params, Segment},
};
use crate::{
    Control, ops,
    view::{Caller, NewNews, NewsView, PostedNews},
};

/// Rows of a page when it is not said, and at most: news are long.
const ROWS: u64 = 20;
const ROWS_MAX: u64 = 100;

pub(super) const QUERY: [Query; 2] = [PAGE, size(ROWS_MAX)];
pub(super) const DELETE_QUERY: [Query; 1] = [query(
    "id",
    ID,
    "The ID of one; all for everybody when missing",
)];

/// `POST /x-news`: for everybody.
pub(super) async fn post(
    State(control): State<Control>,
    Asker(caller): Asker,
    JsonBody(body): JsonBody<PostNews>,
) -> Result<Json<Posted>, Failure> {
    post_for(&control, &caller, None, body).await
}

/// `POST /x-news/{target}`: for an account, or for an account and all below it (`.1.42.`).
pub(super) async fn post_to(
    State(control): State<Control>,
    Asker(caller): Asker,
    segment: Segment,
    JsonBody(body): JsonBody<PostNews>,
) -> Result<Json<Posted>, Failure> {
    post_for(&control, &caller, Some(&segment.0), body).await
}

/// `GET /x-news`: what the caller and those below it have posted.
pub(super) async fn posted(
    State(control): State<Control>,
    Asker(caller): Asker,
    params: Params,
) -> Result<Paged<PostedRow>, Failure> {
    params.only(&QUERY)?;
    let page = params.page_of(ROWS, ROWS_MAX)?;
    let listing = ops::news::posted(&control, &caller, page).await?;
    Ok(paged(listing, page, |posted: PostedNews| PostedRow {
        id: posted.news.id,
        target: posted.target,
        target_name: posted.target_name,
        news: row(&posted.news),
    }))
}

/// `DELETE /x-news`: all for everybody, or, with `id`, one for whomever.
pub(super) async fn delete(
    State(control): State<Control>,
    Asker(caller): Asker,
    params: Params,
) -> Result<Json<Removed>, Failure> {
    params.only(&DELETE_QUERY)?;
    let deleted = match params.whole("id")? {
        Some(id) => ops::news::delete_one(&control, &caller, id).await?,
        None => ops::news::delete(&control, &caller, None).await?,
    };
    Ok(Json(Removed {
        success: true,
        deleted,
    }))
}

/// `DELETE /x-news/{target}`.
pub(super) async fn delete_of(
    State(control): State<Control>,
    Asker(caller): Asker,
    segment: Segment,
) -> Result<Json<Removed>, Failure> {
    let deleted = ops::news::delete(&control, &caller, Some(&segment.0)).await?;
    Ok(Json(Removed {
        success: true,
        deleted,
    }))
}

/// `/dashboard/news` and its older path.
pub(super) async fn board(
    State(control): State<Control>,
    Asker(caller): Asker,
) -> Result<Json<Board>, Failure> {
    let board = ops::news::board(&control, &caller).await?;
    let rows = |news: Vec<NewsView>| news.iter().map(row).collect();
    Ok(Json(Board {
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
) -> Result<Json<Posted>, Failure> {
    let new = NewNews {
        title: body.title.0,
        content: body.content.0,
        days: body.days.map(|it| it.0),
    };
    let news = ops::news::post(control, caller, target, new).await?;
    Ok(Json(Posted {
        success: true,
        news: row(&news),
    }))
}

/// News for the board of whoever it is meant for.
#[derive(Deserialize, ToSchema)]
pub(super) struct PostNews {
    /// One line.
    title: Text,
    /// May have several lines.
    content: Text,
    /// How many days it is shown; 7 by default when it is for everybody, else 32.
    #[schema(value_type = Option<i64>, minimum = 1)]
    days: Option<Whole<i64>>,
}
body!(PostNews);

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewsBoard)]
pub(super) struct Board {
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
pub(super) struct Posted {
    success: bool,
    news: NewsRow,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewsDeleted)]
pub(super) struct Removed {
    success: bool,
    deleted: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewsItem)]
struct NewsRow {
    /// Whose words they are.
    from: String,
    title: String,
    content: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

fn row(news: &NewsView) -> NewsRow {
    NewsRow {
        from: news.author_name.clone(),
        title: news.title.clone(),
        content: news.content.clone(),
        // These two are in UTC wherever the gateway is.
        created_at: news.created.timestamp().to_string(),
        expires_at: news.expires.timestamp().to_string(),
    }
}

//! Service `News`.

use proxyxai_contract::{
    convert::millis_to_wire,
    wire::{self, news_server::News},
};
use tonic::{Request, Response, Status};

use super::{auth, count, page_from_wire};
use crate::{
    Control, Error,
    model::{NewsBoard, NewsDraft, NewsItem, Page, PostedNews},
    ops,
};

/// Smaller than usual, because news are long.
const POSTED_ROWS_MAX: u64 = 100;

#[derive(Debug)]
pub(super) struct NewsService(pub(super) Control);

#[tonic::async_trait]
impl News for NewsService {
    async fn post_news(
        &self,
        request: Request<wire::PostNewsRequest>,
    ) -> Result<Response<wire::NewsItem>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::PostNewsRequest {
            target,
            title,
            content,
            days,
        } = request.into_inner();
        let new = NewsDraft {
            title,
            content,
            days,
        };
        let news = ops::news::post(&self.0, &caller, named(&target), new).await?;
        Ok(Response::new(item_to_wire(news)))
    }

    async fn delete_news(
        &self,
        request: Request<wire::DeleteNewsRequest>,
    ) -> Result<Response<wire::DeleteNewsResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::DeleteNewsRequest { target, id } = request.into_inner();
        let deleted = match id {
            0 => ops::news::delete(&self.0, &caller, named(&target)).await?,
            id => ops::news::delete_one(&self.0, &caller, id).await?,
        };
        Ok(Response::new(wire::DeleteNewsResponse {
            deleted: count(deleted),
        }))
    }

    async fn list_news(
        &self,
        request: Request<wire::ListNewsRequest>,
    ) -> Result<Response<wire::ListNewsResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let NewsBoard {
            system,
            user,
            group,
        } = ops::news::board(&self.0, &caller).await?;
        let items = |news: Vec<NewsItem>| news.into_iter().map(item_to_wire).collect();
        Ok(Response::new(wire::ListNewsResponse {
            system: items(system),
            user: items(user),
            group: items(group),
        }))
    }

    async fn list_posted_news(
        &self,
        request: Request<wire::ListPostedNewsRequest>,
    ) -> Result<Response<wire::ListPostedNewsResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let page = page_from_wire(request.into_inner().page).map_err(Error::from)?;
        let page = Page {
            size: page.size.min(POSTED_ROWS_MAX),
            ..page
        };
        let listing = ops::news::posted(&self.0, &caller, page).await?;
        let posted = |posted: PostedNews| wire::PostedNews {
            news: Some(item_to_wire(posted.news)),
            target: posted.target,
            target_name: posted.target_name,
        };
        Ok(Response::new(wire::ListPostedNewsResponse {
            news: listing.rows.into_iter().map(posted).collect(),
            total: count(listing.total),
        }))
    }
}

fn named(target: &str) -> Option<&str> {
    (!target.trim().is_empty()).then_some(target)
}

fn item_to_wire(news: NewsItem) -> wire::NewsItem {
    let NewsItem {
        id,
        scope: _,
        author,
        author_name,
        title,
        content,
        created,
        expires,
    } = news;
    wire::NewsItem {
        title,
        content,
        create_time: Some(millis_to_wire(created)),
        expire_time: Some(millis_to_wire(expires)),
        author_name,
        author_id: author.get(),
        id,
    }
}

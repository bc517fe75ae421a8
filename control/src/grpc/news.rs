//! Service `News`.

use proxyxai_contract::{
    convert::millis_to_wire,
    wire::{self, news_server::News},
};
use tonic::{Request, Response, Status};

use super::{auth, count};
use crate::{
    Control, ops,
    view::{NewNews, NewsBoard, NewsView},
};

#[derive(Debug)]
pub(super) struct Service(pub(super) Control);

#[tonic::async_trait]
impl News for Service {
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
        let new = NewNews {
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
        let wire::DeleteNewsRequest { target } = request.into_inner();
        let deleted = ops::news::delete(&self.0, &caller, named(&target)).await?;
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
        let items = |news: Vec<NewsView>| news.into_iter().map(item_to_wire).collect();
        Ok(Response::new(wire::ListNewsResponse {
            system: items(system),
            user: items(user),
            group: items(group),
        }))
    }
}

fn named(target: &str) -> Option<&str> {
    (!target.trim().is_empty()).then_some(target)
}

fn item_to_wire(news: NewsView) -> wire::NewsItem {
    let NewsView {
        id: _,
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
    }
}

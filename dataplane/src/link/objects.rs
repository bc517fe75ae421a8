//! Asks control who owns objects, for lists of them, and for finished work whose results no client has fetched.

use std::{sync::Arc, time::Duration};

use proxyxai_contract::{
    Invalid,
    convert::{due_from_wire, owned_from_wire},
    object::{DueWork, OwnedObject},
    wire,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::ControlLink;
use crate::state::{ControlQuery, ObjectListQuery};

/// Requests in flight at once.
const UNDER_WAY_MAX: usize = 64;
/// Timeout for control.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Runs until it is cancelled. A failed request drops its reply channel, which the caller sees as the reply.
pub(crate) async fn run(
    link: ControlLink,
    mut questions: mpsc::Receiver<ControlQuery>,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    while let Some(Some(question)) = stop.run_until_cancelled(questions.recv()).await {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let link = link.clone();
        tokio::spawn(async move {
            let answered = answer(&link, question).await;
            if let Err(status) = answered {
                tracing::warn!(code = ?status.code(), message = status.message(), "control cannot be asked for objects");
            }
            drop(place);
        });
    }
}

async fn answer(link: &ControlLink, question: ControlQuery) -> Result<(), Status> {
    match question {
        ControlQuery::Find(ids, answer) => drop(answer.send(find(link, ids).await?)),
        ControlQuery::List(wanted, answer) => drop(answer.send(list(link, *wanted).await?)),
        ControlQuery::Claim(limit, answer) => drop(answer.send(claim(link, limit).await?)),
    }
    Ok(())
}

async fn find(link: &ControlLink, ids: Vec<String>) -> Result<Vec<OwnedObject>, Status> {
    let mut found = Vec::new();
    for ids in ids.chunks(64) {
        let request = in_time(wire::FindObjectsRequest {
            node: link.node.to_string(),
            ids: ids.to_vec(),
        });
        let answer = link.client.clone().find_objects(request).await?;
        let objects = answer.into_inner().objects.into_iter();
        let objects: Result<Vec<_>, Invalid> = objects.map(owned_from_wire).collect();
        found.extend(objects.map_err(unread)?);
    }
    Ok(found)
}

async fn list(
    link: &ControlLink,
    wanted: ObjectListQuery,
) -> Result<(Vec<OwnedObject>, bool), Status> {
    let ObjectListQuery {
        account,
        kind,
        limit,
        after,
        before,
        ascending,
    } = wanted;
    let request = in_time(wire::ListObjectsRequest {
        node: link.node.to_string(),
        account_id: account.get(),
        kind: kind.as_str().to_owned(),
        limit: i32::try_from(limit).unwrap_or(i32::MAX),
        after,
        before,
        ascending,
    });
    let answer = link
        .client
        .clone()
        .list_objects(request)
        .await?
        .into_inner();
    let objects: Result<_, Invalid> = answer.objects.into_iter().map(owned_from_wire).collect();
    Ok((objects.map_err(unread)?, answer.has_more))
}

async fn claim(link: &ControlLink, limit: u32) -> Result<Vec<DueWork>, Status> {
    let request = in_time(wire::ClaimWorkRequest {
        node: link.node.to_string(),
        limit: i32::try_from(limit).unwrap_or(i32::MAX),
    });
    let answer = link.client.clone().claim_work(request).await?.into_inner();
    let works: Result<_, Invalid> = answer.works.into_iter().map(due_from_wire).collect();
    works.map_err(unread)
}

fn in_time<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_MAX);
    request
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what errors are turned with"
)]
fn unread(error: Invalid) -> Status {
    Status::internal(error.to_string())
}

//! Requests of data planes: the stream of updates, acknowledgements, usage, key health.

mod client_key_lease;
mod credit_lease;
pub(crate) mod objects;
mod posting;
mod quarantine;
mod rate_change_cover;
mod window_lease;

pub(crate) use credit_lease::{
    bring_back, bring_back_of_key, come_home, has_planes, lease_credit, release_covers,
    release_lost,
};
use futures_util::Stream;
pub(crate) use posting::{ReportReceipt, UsageReport, report_usage};
use proxyxai_contract::{
    id::{NodeName, Revision},
    snapshot::{KeyHealthReport, RejectedItem, SnapshotUpdate},
};
pub(crate) use rate_change_cover::cover_rise;
pub(crate) use window_lease::{lease_windows, prune as prune_windows};

use crate::{
    Control, Error,
    model::{Caller, Node, NodeFilter, NodeProcess},
    ops, store,
};

/// Versions are shown to operators; longer ones cannot be real.
const VERSION_CHARS_MAX: usize = 64;
/// More than this many problems of one update help no operator.
const REJECTIONS_MAX: usize = 100;
const PROBLEM_CHARS_MAX: usize = 500;

/// Streams the full configuration first, then its changes.
///
/// # Errors
/// Errors if another process with this name watches, here or at another replica.
pub(crate) async fn watch(
    control: &Control,
    process: NodeProcess,
    version: String,
) -> Result<impl Stream<Item = SnapshotUpdate> + Send + 'static + use<>, Error> {
    let version: String = version
        .chars()
        .filter(|char| !char.is_control())
        .take(VERSION_CHARS_MAX)
        .collect();
    let NodeProcess {
        name: node, epoch, ..
    } = &process;
    if ops::replicas::is_name_taken(control, &process).await? {
        tracing::error!(
            node = node.as_str(),
            epoch,
            "a second data plane with this name is refused: give each a NODE_NAME of its own"
        );
        return Err(Error::Conflict {
            field: "NODE_NAME",
            with: " by another data plane that is connected: give each a NODE_NAME of its own"
                .to_owned(),
        });
    }
    let tx = control.store().begin().await?;
    store::nodes::seen(&tx, node, *epoch, &version, control.now()).await?;
    tx.commit().await?;
    tracing::info!(node = node.as_str(), epoch, version, "a data plane watches");
    // Another replica may have been asked before; its revisions are known here, too.
    control
        .publisher()
        .refresh(control.store(), control.vault(), control.now())
        .await?;
    control
        .publisher()
        .watch(control.store(), process, control.now())
        .await
}

/// Stores how a data plane applied an update.
pub(crate) async fn acknowledge(
    control: &Control,
    node: &NodeName,
    epoch: u64,
    revision: Revision,
    rejections: Vec<RejectedItem>,
) -> Result<(), Error> {
    // Requests that wait for this do not wait for the write.
    control.publisher().acknowledge(node, revision);
    let short = |text: String| {
        text.chars()
            .filter(|char| *char != '\0')
            .take(PROBLEM_CHARS_MAX)
            .collect()
    };
    let rejections: Vec<_> = rejections
        .into_iter()
        .take(REJECTIONS_MAX)
        .map(
            |RejectedItem {
                 kind,
                 item,
                 problem,
             }| RejectedItem {
                kind,
                item: short(item),
                problem: short(problem),
            },
        )
        .collect();
    for rejection in &rejections {
        tracing::warn!(
            node = node.as_str(),
            kind = rejection.kind,
            item = rejection.item,
            problem = rejection.problem,
            "a data plane could not use an item"
        );
    }
    let tx = control.store().begin().await?;
    store::nodes::applied(&tx, node, epoch, revision, &rejections, control.now()).await?;
    tx.commit().await
}

/// Takes health reports of keys from a data plane and forwards them to the others.
pub(crate) async fn report_health(
    control: &Control,
    node: &NodeName,
    healths: Vec<KeyHealthReport>,
) -> Result<(), Error> {
    for health in &healths {
        tracing::info!(
            node = node.as_str(), key.id = health.key.get(), model = health.model, state = ?health.state,
            reason = health.reason, "key health"
        );
    }
    ops::replicas::share_health(control, node, &healths).await?;
    control.publisher().report_health(node, healths);
    Ok(())
}

/// Data planes that control knows.
pub(crate) async fn nodes(
    control: &Control,
    caller: &Caller,
    filter: NodeFilter,
) -> Result<(Revision, Vec<Node>), Error> {
    ops::root_only(caller, "only root may list the data planes")?;
    let mut nodes = store::nodes::all(control.store()).await?;
    let mut leased = store::leases::by_node(control.store()).await?;
    let elsewhere = ops::replicas::watchers_elsewhere(control).await?;
    for node in &mut nodes {
        node.connected = control.publisher().is_watching(&node.name)
            || elsewhere.iter().any(|(name, _)| *name == node.name);
        node.leased = leased.remove(node.name.as_str()).unwrap_or_default();
    }
    let wanted = |node: &Node| filter.connected.is_none_or(|it| it == node.connected);
    nodes.retain(wanted);
    Ok((control.publisher().revision(), nodes))
}

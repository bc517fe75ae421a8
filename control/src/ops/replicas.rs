//! What replicas of control tell each other over their database: changes at once, how far each has published them, and
//! the health of keys. With SQLite there is one control, and nothing of this does anything.

use std::{str::FromStr as _, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use proxyxai_contract::{
    convert::{health_from_bytes, health_to_bytes},
    id::{NodeName, Revision},
    snapshot::KeyHealthReport,
};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{
    Control, Error,
    model::NodeProcess,
    store::replicas::{self, Notice, Notices},
};

/// Interval at which a replica says that it is there.
const BEAT: Duration = Duration::from_secs(1);
/// Pause after the database failed.
const RETRY: Duration = Duration::from_secs(1);
/// PostgreSQL takes notices of less than 8,000 bytes.
const HEALTH_CHARS_MAX: usize = 7_500;

/// What the others know of this replica.
#[derive(PartialEq, Eq)]
struct Standing {
    /// All data planes here use this revision.
    published: Revision,
    nodes: String,
}

/// Runs until the shutdown.
pub(crate) async fn run(control: Control, shutdown: CancellationToken) {
    if !control.store().is_shared() {
        return;
    }
    let following = async {
        loop {
            if let Err(error) = follow(&control).await {
                tracing::warn!(error = ?error, "other replicas of control cannot be heard and will be tried again");
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    shutdown.run_until_cancelled(following).await;
    if let Err(error) = leave(&control).await {
        tracing::debug!(error = ?error, "the other replicas were not told of the stop");
    }
}

async fn follow(control: &Control) -> Result<(), Error> {
    let Some(mut notices) = Notices::open(control.store()).await? else {
        return Ok(());
    };
    let publisher = control.publisher();
    let mut acknowledged = publisher.acknowledgements();
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    catch_up(control).await?;
    loop {
        let mut is_beat = false;
        tokio::select! {
            notice = notices.next() => match notice? {
                // Without a notice, some may be lost.
                Some(Notice::Changed) | None => catch_up(control).await?,
                Some(Notice::Published) => publisher.others_published(),
                Some(Notice::Health { from, text }) => hear_health(control, &from, &text),
            },
            _ = acknowledged.changed() => {}
            _ = beats.tick() => is_beat = true,
        }
        acknowledged.borrow_and_update();
        let now = standing(control);
        let is_news = last.as_ref() != Some(&now);
        if is_beat || is_news {
            beat(control, &now, is_news).await?;
            last = Some(now);
        }
    }
}

async fn catch_up(control: &Control) -> Result<(), Error> {
    let (store, vault, now) = (control.store(), control.vault(), control.now());
    control.publisher().follow(store, vault, now).await
}

fn standing(control: &Control) -> Standing {
    let (published, processes) = control.publisher().published();
    let nodes: Vec<_> = processes
        .iter()
        .map(|process| format!("{}/{}", process.name, process.number))
        .collect();
    Standing {
        published,
        nodes: nodes.join(" "),
    }
}

/// Says that this replica is there, and tells the others if there is news.
async fn beat(control: &Control, standing: &Standing, is_news: bool) -> Result<(), Error> {
    let Standing { published, nodes } = standing;
    let tx = control.store().begin().await?;
    replicas::beat(&tx, control.replica(), *published, nodes).await?;
    if is_news {
        replicas::notify(&tx, &Notice::Published).await?;
    }
    tx.commit().await
}

async fn leave(control: &Control) -> Result<(), Error> {
    let tx = control.store().begin().await?;
    replicas::leave(&tx, control.replica()).await?;
    replicas::notify(&tx, &Notice::Published).await?;
    tx.commit().await
}

/// Data planes that watch another replica, with the numbers of their processes.
pub(crate) async fn watchers_elsewhere(control: &Control) -> Result<Vec<(NodeName, u64)>, Error> {
    let nodes = replicas::nodes_of_others(control.store(), control.replica()).await?;
    let read = |word: &str| {
        let (name, number) = word.split_once('/')?;
        Some((NodeName::new(name).ok()?, u64::from_str(number).ok()?))
    };
    Ok(nodes
        .iter()
        .flat_map(|nodes| nodes.split_whitespace())
        .filter_map(read)
        .collect())
}

/// Whether another process of the same name watches, here or elsewhere.
pub(crate) async fn is_name_taken(control: &Control, process: &NodeProcess) -> Result<bool, Error> {
    if control.publisher().is_name_taken(process) {
        return Ok(true);
    }
    let elsewhere = watchers_elsewhere(control).await?;
    Ok(elsewhere
        .iter()
        .any(|(name, number)| process.is_other_of_same_name(name, *number)))
}

/// Tells the other replicas what a data plane learnt about keys.
pub(crate) async fn share_health(
    control: &Control,
    node: &NodeName,
    healths: &[KeyHealthReport],
) -> Result<(), Error> {
    if !control.store().is_shared() {
        return Ok(());
    }
    let tx = control.store().begin().await?;
    for health in healths {
        let text = BASE64_STANDARD_NO_PAD.encode(health_to_bytes(health));
        let text = format!("{node} {text}");
        // A reason may be long. Without the notice, the data planes there learn by themselves.
        if text.len() <= HEALTH_CHARS_MAX {
            let from = control.replica().to_owned();
            replicas::notify(&tx, &Notice::Health { from, text }).await?;
        }
    }
    tx.commit().await
}

fn hear_health(control: &Control, from: &str, text: &str) {
    if from == control.replica() {
        return;
    }
    let read = || {
        let (node, health) = text.split_once(' ')?;
        let health = BASE64_STANDARD_NO_PAD.decode(health).ok()?;
        Some((NodeName::new(node).ok()?, health_from_bytes(&health).ok()?))
    };
    if let Some((node, health)) = read() {
        control.publisher().report_health(&node, vec![health]);
    }
}

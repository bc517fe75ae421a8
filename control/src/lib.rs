//! The control plane: owns upstream keys, the account tree, credit and settings; serves gRPC and the REST front;
//! streams the configuration to data planes and posts their usage. It relays no calls.

pub mod config;
pub mod domain;
mod error;
mod grpc;
mod jobs;
pub mod lists;
pub mod model;
mod offline;
mod ops;
pub mod prices;
mod publish;
pub mod remote;
mod rest;
mod store;
#[cfg(test)]
mod testing;
mod vault;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use config::Config;
use domain::admin_rate_limit::AdminRateLimiter;
pub use error::Error;
pub use offline::{CsvPieces, OfflineStore};
use proxyxai_contract::{client_key::ClientKey, clock::Clock, clock::Zone, secret::Secret};
use publish::Publisher;
use store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vault::Vault;

/// Period of the background loop, which looks for other replicas' changes and passes on posted usage.
const TICK_MS: u64 = 100;
/// How many ticks pass between checks for a revision by another replica.
const POLL_TICKS: u64 = 10;
/// How many ticks pass between test writes after the storage has failed.
const PROBE_TICKS: u64 = 5;
/// How many ticks pass between removals of expired cards.
const EXPIRY_TICKS: u64 = 600;
/// How often old usage records are pruned.
const PRUNE_MS: u64 = 10 * 60 * 1000;
/// How many ticks the database keeps pages in memory. Reading all of them again takes some milliseconds.
const RELEASE_TICKS: u64 = 300;
/// The key pool is reloaded every two hours.
const RELOAD_TICKS: u64 = 2 * 60 * 60 * 1000 / TICK_MS;

/// A running control plane. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    inner: Arc<ControlInner>,
}

struct ControlInner {
    config: Config,
    clock: Clock,
    vault: Vault,
    store: Store,
    publisher: Arc<Publisher>,
    /// Random name of this process among replicas.
    replica: String,
    node_token: Secret,
    first_root_key: Option<ClientKey>,
    /// Administrative requests of each account.
    rates: Mutex<AdminRateLimiter>,
    circulation: ops::circulation::Circulation,
    /// Held while the ledger is recomputed.
    verifying: tokio::sync::Mutex<()>,
}

// === impl Control ===

impl Control {
    /// Opens the store, migrates its schema, opens the vault, seeds a new store and loads the configuration.
    ///
    /// # Errors
    /// Errors if the configuration is wrong, the store cannot be opened, or its master key is not available.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, Error> {
        if let Some(problem) = config.check().into_iter().next() {
            return Err(problem.into());
        }
        std::fs::create_dir_all(&config.data_dir).map_err(Error::internal)?;
        let node_token = match &config.node_token {
            Some(token) => token.clone(),
            None => vault::kept_secret(&config.data_dir.join("node.token"))?,
        };
        let store = Store::open(&config.database).await?;
        let ops::seed::BootstrapResult {
            vault,
            root_key: first_root_key,
        } = ops::seed::first_start(&store, &config, clock.now()).await?;
        let replica = vault::random_name()?;
        let publisher = Arc::new(Publisher::new(&config, &replica));
        publisher.refresh(&store, &vault, clock.now()).await?;
        let inner = ControlInner {
            config,
            clock,
            vault,
            store,
            publisher,
            replica,
            node_token,
            first_root_key,
            rates: Mutex::default(),
            circulation: ops::circulation::Circulation::default(),
            verifying: tokio::sync::Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The root key, if this start created root without a given key.
    pub fn first_root_key(&self) -> Option<&ClientKey> {
        self.inner.first_root_key.as_ref()
    }

    /// The token that data planes authenticate with.
    pub fn node_token(&self) -> &Secret {
        &self.inner.node_token
    }

    /// The latest storage failure. It is `None` again once a write has succeeded.
    pub fn storage_fault(&self) -> watch::Receiver<Option<String>> {
        self.store().fault()
    }

    /// The routes of the REST front.
    pub fn rest_router(&self) -> axum::Router {
        rest::router(self.clone())
    }

    /// The `OpenAPI` document of the REST front.
    pub fn rest_document() -> utoipa::openapi::OpenApi {
        rest::document()
    }

    /// All gRPC services.
    pub fn grpc_routes(&self) -> tonic::service::Routes {
        grpc::routes(self.clone())
    }

    /// Runs background work until shutdown: passes postings on to data planes, follows other replicas, removes expired
    /// cards, reloads the key pool, and runs `jobs` and pruning.
    pub async fn run(self, shutdown: CancellationToken) {
        let pruning = async {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.prune() => {}
            }
        };
        tokio::join!(
            jobs::run(self.clone(), shutdown.clone()),
            jobs::prices::run(self.clone(), &shutdown),
            ops::replicas::run(self.clone(), shutdown.clone()),
            self.keep_up(&shutdown),
            pruning,
            async {
                shutdown.cancelled().await;
                self.publisher().close();
            }
        );
    }

    async fn keep_up(&self, shutdown: &CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = 0u64;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            count = count.wrapping_add(1);
            if let Err(error) = self.tick(count).await {
                tracing::warn!(error = ?error, "background work failed and will be tried again");
            }
        }
    }

    async fn prune(&self) {
        let mut rounds = tokio::time::interval(Duration::from_millis(PRUNE_MS));
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let usage = ops::retention::prune_usage(self).await;
            let refusals = ops::retention::prune_refusals(self).await;
            for error in usage.err().into_iter().chain(refusals.err()) {
                tracing::warn!(error = ?error, "pruning failed and will be tried again");
            }
            if let Err(error) = ops::prices::prune_unpriced(self).await {
                tracing::warn!(error = ?error, "pruning of models without a price failed and will be tried again");
            }
        }
    }

    async fn tick(&self, count: u64) -> Result<(), Error> {
        if count.is_multiple_of(PROBE_TICKS) {
            let probed = self.store().probe().await;
            probed.unwrap_or_else(|error| tracing::debug!(?error, "the storage still fails"));
        }
        if count.is_multiple_of(RELOAD_TICKS) {
            ops::keys::reload_pool(self).await?;
        }
        if count.is_multiple_of(EXPIRY_TICKS) {
            ops::expiry::expire_cards(self).await?;
            ops::fleet::prune_windows(self).await?;
            ops::fleet::release_lost(self).await?;
        }
        if count.is_multiple_of(RELEASE_TICKS) {
            self.store().release_memory().await?;
        }
        if count.is_multiple_of(POLL_TICKS) {
            ops::accounts::settle_closed(self).await?;
            self.publisher()
                .follow(self.store(), self.vault(), self.now())
                .await?;
        }
        ops::prices::take_over(self).await?;
        self.publisher()
            .flush_standings(self.store(), self.now())
            .await
    }

    /// The time zone of days and months.
    pub fn zone(&self) -> Zone {
        self.inner.config.zone.clone()
    }

    /// How long leases stay reserved without contact to their data plane.
    pub fn lease_ms(&self) -> u64 {
        self.inner.config.lease_ms
    }

    /// How many characters of a client key may be shown again.
    pub fn partial_key_chars(&self) -> usize {
        self.inner.config.partial_key_chars
    }

    fn now(&self) -> proxyxai_contract::clock::Millis {
        self.inner.clock.now()
    }

    fn circulation(&self) -> &ops::circulation::Circulation {
        &self.inner.circulation
    }

    fn store(&self) -> &Store {
        &self.inner.store
    }

    fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    fn publisher(&self) -> &Arc<Publisher> {
        &self.inner.publisher
    }

    /// Its name among replicas.
    fn replica(&self) -> &str {
        &self.inner.replica
    }

    fn verifying(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.verifying
    }

    fn rates(&self) -> MutexGuard<'_, AdminRateLimiter> {
        // The entries are plain times, so they are valid even after a panic.
        let rates = self.inner.rates.lock();
        rates.unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> &Config {
        &self.inner.config
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("database", &self.inner.config.database)
            .finish_non_exhaustive()
    }
}

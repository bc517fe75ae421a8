//! Test helpers: temporary directories, and control planes on every available database.

use tempfile::TempDir;

use proxyxai_contract::{
    bill::CallBill,
    clock::{Clock, Millis},
    id::{AccountId, KeyId, Level, NodeName},
    money::{Money, Multiplier},
    secret::Secret,
    snapshot::KeyConfig,
    tokens::{ImageUsage, TokenUsage},
    usage::{UsageMeasure, UsageRecord},
};

use crate::{
    Control, Error,
    config::Config,
    model::{
        Account, AccountChange, AccountChangeResult, Caller, LedgerFilter, NewAccount,
        NewUpstreamKey, NodeProcess, Page, UpstreamKey,
    },
    ops::{self, reports::CallsOf},
    store::{self, database::Database, testing::ScratchDatabase},
};

/// 1 November 2026, noon.
pub(crate) const NOON: Millis = Millis(1_793_534_400_000);
pub(crate) const DAY_MS: i64 = 86_400_000;
pub(crate) const ROOT: Caller = Caller {
    client_key: None,
    account: AccountId::ROOT,
    address: None,
};

/// A unique name.
pub(crate) fn random_name() -> String {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).unwrap();
    format!("proxyxai_test_{:016x}", u64::from_be_bytes(bytes))
}

/// A control plane on an empty database, with a clock that tests move.
pub(crate) struct World {
    pub(crate) control: Control,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) dir: TempDir,
}

/// Runs a test on SQLite, and on PostgreSQL when `TEST_DATABASE_URL` names a server.
pub(crate) async fn everywhere(test: impl AsyncFn(&mut World)) {
    let dir = TempDir::new().unwrap();
    let file = Database::Sqlite(dir.path().join("control.db"));
    let mut world = World::start(file, dir).await;
    Box::pin(test(&mut world)).await;
    let server = std::env::var_os("TEST_DATABASE_URL");
    if let Some(server) = server.and_then(|url| url.into_string().ok()) {
        let scratch = ScratchDatabase::create(&server).await;
        let mut world = World::start(scratch.database(), TempDir::new().unwrap()).await;
        Box::pin(test(&mut world)).await;
        scratch.drop_it().await;
    }
}

impl World {
    async fn start(database: Database, dir: TempDir) -> Self {
        let mut config = Config::new(database, dir.path().to_owned());
        config.settings.insert("USER_API_BALANCE", "20".to_owned());
        let clock = Clock::manual(NOON);
        let control = Control::start(config.clone(), clock.clone()).await.unwrap();
        Self {
            control,
            clock,
            config,
            dir,
        }
    }

    /// Another control plane on an empty SQLite database, with the same settings and time of start.
    pub(crate) async fn again(_like: &Self) -> Self {
        Self::file().await
    }

    /// On an empty SQLite database, even if there is another database.
    pub(crate) async fn file() -> Self {
        let dir = TempDir::new().unwrap();
        let file = Database::Sqlite(dir.path().join("control.db"));
        Self::start(file, dir).await
    }

    /// Restarts over the same state.
    pub(crate) async fn restart(&mut self) -> Result<(), Error> {
        self.control = Control::start(self.config.clone(), self.clock.clone()).await?;
        Ok(())
    }

    /// A child of the caller with this much credit.
    pub(crate) async fn child(&self, caller: &Caller, name: &str, credit: f64) -> Account {
        let new = NewAccount {
            name: name.to_owned(),
            email: format!("{name}@example.com"),
            credit: usd(credit),
            ..NewAccount::default()
        };
        ops::accounts::create(&self.control, caller, new)
            .await
            .unwrap()
            .0
            .account
    }

    pub(crate) async fn change(
        &self,
        caller: &Caller,
        account: &Account,
        change: AccountChange,
    ) -> Result<AccountChangeResult, Error> {
        Box::pin(ops::accounts::update(
            &self.control,
            caller,
            &account.id.to_string(),
            change,
        ))
        .await
    }

    pub(crate) async fn view(&self, account: &Account) -> Account {
        ops::accounts::find(&self.control, &ROOT, &account.id.to_string())
            .await
            .unwrap()
    }

    pub(crate) async fn key(&self, secret: &str) -> Result<UpstreamKey, Error> {
        ops::keys::create(&self.control, &ROOT, new_key(secret)).await
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.config.database, Database::Postgres(_))
    }

    /// The integer that a query returns in the column `number`.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        store::testing::number(self.control.store(), sql).await
    }

    /// Whether the database refuses a statement.
    pub(crate) async fn refuses(&self, sql: &str) -> bool {
        let tried = store::testing::try_to_meddle(self.control.store(), sql).await;
        tried.is_err()
    }

    /// Asserts that the ledger balances.
    pub(crate) async fn balanced(&self) {
        let books = ops::reports::verify(&self.control, &ROOT).await.unwrap();
        assert_eq!(books.difference, None);
    }
}

pub(crate) fn usd(dollars: f64) -> Money {
    Money::from_dollars(dollars).unwrap()
}

pub(crate) fn by(account: &Account) -> Caller {
    Caller {
        client_key: None,
        account: account.id,
        address: None,
    }
}

/// All single calls of an account.
pub(crate) fn calls_of(name: &str) -> CallsOf<'_> {
    CallsOf {
        account: Some(name),
        ..CallsOf::default()
    }
}

/// All lines of an account's books.
pub(crate) fn lines_of(name: &str) -> LedgerFilter {
    LedgerFilter {
        account: Some(name.to_owned()),
        ..LedgerFilter::default()
    }
}

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

/// A process of a data plane that does not say which it is.
pub(crate) fn process(name: NodeName, epoch: u64) -> NodeProcess {
    NodeProcess {
        name,
        epoch,
        number: 0,
    }
}

/// An upstream key with every default.
pub(crate) fn new_key(secret: &str) -> NewUpstreamKey {
    NewUpstreamKey {
        secret: Secret::new(secret),
        name: String::new(),
        provider: None,
        level: Level::ZERO,
        enabled: true,
        config: KeyConfig::default(),
    }
}

/// An answered call.
/// A page that no listing of a test is longer than.
pub(crate) const WHOLE: Page = Page {
    page: 1,
    size: 1000,
};

pub(crate) fn call(sequence: u64, account: AccountId, cost: f64) -> UsageRecord {
    UsageRecord {
        sequence,
        request_id: format!("r{sequence}"),
        account,
        client_key: None,
        path: "/v1/chat/completions".to_owned(),
        model_asked: "gpt-4".to_owned(),
        model_used: "gpt-4o".to_owned(),
        key: Some(KeyId::new(1).unwrap()),
        level: Level::ZERO,
        tries: 1,
        status: 200,
        tokens: TokenUsage {
            input: 10,
            cached: 2,
            output: 5,
            ..TokenUsage::default()
        },
        images: ImageUsage::default(),
        tier: String::new(),
        sum: CallBill::default(),
        measure: UsageMeasure::Measured,
        cost: usd(cost),
        priced: true,
        price_version: "v".to_owned(),
        rates: Some(Multiplier::ONE),
        factor: Some(Multiplier::ONE),
        start: NOON,
        duration_ms: 10,
        first_byte_ms: 5,
        streamed: false,
        objects: None,
        tag: String::new(),
        abandoned: None,
        attempts: Vec::new(),
        expense: None,
    }
}

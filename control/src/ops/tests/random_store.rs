//! A random history through the operations and their database, with crashes in the middle of them: the books balance at
//! every check, and each call is charged once.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    task::Poll,
};

use proxyxai_contract::{
    id::{AccountId, NodeName},
    lease::LeaseAsk,
    money::{Money, Multiplier},
    price::PriceTable,
    usage::UsageRecord,
};

use super::{
    prices::{house, load, published, rerate},
    random::{amount, dice, steps},
};
use crate::{
    Error,
    model::{AccountChange, AccountFilter, Caller, NewAccount, Page},
    ops,
    testing::{DAY_MS, NOON, ROOT, World, call, node},
};

/// A step takes a thousand times as long here as in memory.
const STEPS_OF_MEMORY: u32 = 50;
const STEPS_PER_LOOK: u32 = 100;
const ACCOUNTS_MAX: usize = 25;
const NODES: [&str; 2] = ["n1", "n2"];
/// How often an operation is polled before it is cut off, at most.
const WAKES_MAX: usize = 40;

/// A report that was sent: node, and records in order.
type NodeReport = (NodeName, Vec<UsageRecord>);

struct StoreHistory {
    world: World,
    dice: fastrand::Rng,
    table: PriceTable,
    /// Root first.
    living: Vec<AccountId>,
    ever: BTreeSet<AccountId>,
    /// Versions of leases as the data planes know them, maybe outdated.
    leases: BTreeMap<(NodeName, AccountId), u64>,
    sent: Vec<NodeReport>,
    /// Quarantined records.
    unfit: BTreeSet<u64>,
    next: u64,
    done: BTreeMap<&'static str, u32>,
}

impl StoreHistory {
    async fn step(&mut self) {
        let what = match self.dice.u8(..100) {
            0..8 => "create",
            8..24 => "credit",
            24..29 => "rates",
            29..32 => "delete",
            32..56 => "call",
            56..62 => "again",
            62..84 => "lease",
            84..90 => "listing",
            90..97 => "time",
            _ => "prices",
        };
        let wakes = (self.dice.u8(..12) == 0).then(|| self.dice.usize(1..WAKES_MAX));
        let done = match wakes {
            None => Some(self.play(what).await),
            Some(wakes) => cut(self.play(what), wakes).await,
        };
        match done {
            Some(Ok(())) => *self.done.entry(what).or_default() += 1,
            None => *self.done.entry("crash").or_default() += 1,
            Some(Err(Error::Internal(error))) => panic!("{what}: {error:?}"),
            Some(Err(_)) => *self.done.entry("refused").or_default() += 1,
        }
        if matches!(what, "create" | "delete") {
            self.living = living(&self.world).await;
            self.ever.extend(self.living.iter().copied());
        }
    }

    async fn play(&mut self, what: &str) -> Result<(), Error> {
        match what {
            "create" => self.create().await,
            "credit" => self.credit().await,
            "rates" => self.rates().await,
            "delete" => self.delete().await,
            "call" => self.call().await,
            "again" => self.again().await,
            "lease" => self.lease().await,
            "listing" => self.listing().await,
            "time" => self.time().await,
            _ => self.prices().await,
        }
    }

    fn somebody(&mut self) -> AccountId {
        self.living[self.dice.usize(..self.living.len())]
    }

    /// An account that exists or existed.
    fn living_once(&mut self) -> AccountId {
        let ever: Vec<_> = self.ever.iter().copied().collect();
        ever[self.dice.usize(..ever.len())]
    }

    fn caller(&mut self) -> Caller {
        let account = if self.dice.bool() {
            AccountId::ROOT
        } else {
            self.somebody()
        };
        Caller { account, ..ROOT }
    }

    fn somewhere(&mut self) -> NodeName {
        node(NODES[self.dice.usize(..NODES.len())])
    }

    async fn create(&mut self) -> Result<(), Error> {
        if self.living.len() >= ACCOUNTS_MAX {
            return Ok(());
        }
        let caller = self.caller();
        self.next += 1;
        let new = NewAccount {
            name: format!("user-{}", self.next),
            email: format!("user-{}@example.com", self.next),
            credit: amount(&mut self.dice),
            ..NewAccount::default()
        };
        let created = ops::accounts::create(&self.world.control, &caller, new);
        Box::pin(created).await.map(drop)
    }

    async fn change(&mut self, change: AccountChange) -> Result<(), Error> {
        let (caller, whom) = (self.caller(), self.somebody().to_string());
        // The change waits for leases, which takes long if they are not returned.
        self.come_home().await?;
        let changed = ops::accounts::update(&self.world.control, &caller, &whom, change);
        Box::pin(changed).await.map(drop)
    }

    async fn credit(&mut self) -> Result<(), Error> {
        let amount = amount(&mut self.dice);
        let grant = self.dice.u8(..3) > 0;
        let days = self.dice.i64(1..400);
        self.change(AccountChange {
            credit: Some(if grant { amount } else { amount.negated() }),
            days_micros: Some(days * 1_000_000),
            ..AccountChange::default()
        })
        .await
    }

    async fn rates(&mut self) -> Result<(), Error> {
        let rates = Multiplier::from_micros(self.dice.i64(1_000_000..5_000_000))?;
        self.change(AccountChange {
            rates: Some(rates),
            ..AccountChange::default()
        })
        .await
    }

    async fn delete(&mut self) -> Result<(), Error> {
        let (caller, whom) = (self.caller(), self.somebody().to_string());
        let deleted = ops::accounts::delete(&self.world.control, &caller, &whom);
        Box::pin(deleted).await.map(drop)
    }

    /// Reports calls of some accounts, also of deleted and unknown ones.
    async fn call(&mut self) -> Result<(), Error> {
        let name = self.somewhere();
        let now = self.world.control.now();
        let mut records = Vec::new();
        for _ in 0..self.dice.usize(1..6) {
            self.next += 1;
            let account = match self.dice.u8(..20) {
                0 => AccountId::new(9_999)?,
                1 => self.living_once(),
                _ => self.somebody(),
            };
            records.push(if self.dice.u8(..25) == 0 {
                self.unfit.insert(self.next);
                let mut unfit = call(self.next, account, 1.0);
                unfit.tokens.input = u64::MAX / 2;
                unfit
            } else if self.dice.bool() {
                house(self.next, account, now, &self.table)
            } else {
                // Rates of some time, which the account may no longer have.
                let rates = Multiplier::from_micros(self.dice.i64(1_000_000..5_000_000))?;
                UsageRecord {
                    cost: amount(&mut self.dice),
                    rates: Some(rates),
                    start: now,
                    ..call(self.next, account, 0.0)
                }
            });
        }
        self.sent.push((name.clone(), records.clone()));
        // A lost or late report is sent again later.
        if self.dice.u8(..5) == 0 {
            return Ok(());
        }
        self.report(&name, records).await
    }

    async fn again(&mut self) -> Result<(), Error> {
        if self.sent.is_empty() {
            return Ok(());
        }
        let (name, records) = self.sent[self.dice.usize(..self.sent.len())].clone();
        self.report(&name, records).await
    }

    async fn report(&mut self, name: &NodeName, records: Vec<UsageRecord>) -> Result<(), Error> {
        let reported = ops::fleet::report_usage(&self.world.control, name, 1, records);
        let reported = Box::pin(reported).await?;
        for lease in reported.leases {
            self.leases
                .insert((name.clone(), lease.payer.account), lease.version);
        }
        Ok(())
    }

    /// Asks for more or returns some, sometimes with an outdated version.
    async fn lease(&mut self) -> Result<(), Error> {
        let (name, mut account) = (self.somewhere(), self.somebody());
        if self.dice.u8(..10) == 0 {
            account = self.living_once();
        }
        let known = self.leases.get(&(name.clone(), account)).copied();
        let version = known
            .unwrap_or_default()
            .saturating_sub(u64::from(self.dice.u8(..8) == 0));
        let (one, two) = (amount(&mut self.dice), amount(&mut self.dice));
        let change = if self.dice.u8(..3) == 0 {
            one.negated()
        } else {
            one.max(two)
        };
        let ask = LeaseAsk {
            payer: account.into(),
            version,
            change,
            need: one.min(two),
        };
        self.ask(&name, vec![ask]).await
    }

    async fn ask(&mut self, name: &NodeName, asks: Vec<LeaseAsk>) -> Result<(), Error> {
        let answers = ops::fleet::lease_credit(&self.world.control, name, 1, asks);
        for answer in Box::pin(answers).await? {
            let key = (name.clone(), answer.lease.payer.account);
            self.leases.insert(key, answer.lease.version);
        }
        Ok(())
    }

    /// Every data plane returns its leases. Its version may be outdated, so it asks twice.
    async fn come_home(&mut self) -> Result<(), Error> {
        for name in NODES.map(node) {
            for _ in 0..2 {
                let asks: Vec<_> = self
                    .leases
                    .iter()
                    .filter(|((holder, _), _)| *holder == name)
                    .map(|((_, account), version)| LeaseAsk {
                        payer: (*account).into(),
                        version: *version,
                        change: Money::from_nanos(-i64::MAX),
                        need: Money::ZERO,
                    })
                    .collect();
                if !asks.is_empty() {
                    self.ask(&name, asks).await?;
                }
            }
        }
        Ok(())
    }

    /// Lists the caller's accounts, which costs a fee.
    async fn listing(&mut self) -> Result<(), Error> {
        let caller = self.caller();
        let page = Page { page: 1, size: 10 };
        let listed =
            ops::accounts::list(&self.world.control, &caller, AccountFilter::default(), page);
        Box::pin(listed).await.map(drop)
    }

    /// Lets cards and the leases of silent data planes expire.
    async fn time(&mut self) -> Result<(), Error> {
        let step = if self.dice.u8(..10) == 0 {
            30 * DAY_MS
        } else {
            DAY_MS / 12
        };
        self.world.clock.advance(self.dice.i64(1..step));
        ops::expiry::expire_cards(&self.world.control).await?;
        Box::pin(ops::fleet::release_lost(&self.world.control)).await?;
        self.settle().await
    }

    /// Settles deleted accounts whose leases are back.
    async fn settle(&mut self) -> Result<(), Error> {
        Box::pin(ops::accounts::settle_closed(&self.world.control)).await
    }

    /// Changes the price of a model, and prices calls of this month anew.
    async fn prices(&mut self) -> Result<(), Error> {
        // Two tables of one moment would have the same name.
        self.world.clock.advance(1);
        let price = self.dice.u8(1..9).to_string();
        load(&self.world.control, &price, Some(NOON)).await?;
        self.table = published(&self.world.control).await;
        rerate(&self.world.control, false).await;
        Ok(())
    }

    /// Every report arrives in the end, and each call of a known account counts once.
    async fn all_is_counted(&mut self) {
        let mut sent = self.sent.clone();
        self.dice.shuffle(&mut sent);
        let mut expected: BTreeMap<AccountId, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (name, records) in sent {
            for record in &records {
                assert!(seen.insert(record.sequence));
                if self.unfit.contains(&record.sequence) {
                    continue;
                }
                *expected.entry(record.account).or_default() += 1;
            }
            self.report(&name, records).await.unwrap();
        }
        self.world.balanced().await;
        let aside = "SELECT COUNT(*) AS number FROM usage_quarantined";
        let unfit = i64::try_from(self.unfit.len()).unwrap();
        assert_eq!(self.world.number(aside).await, unfit);
        // In the end, all that deleted accounts had or owed belongs to another account.
        self.come_home().await.unwrap();
        self.world.clock.advance(6_000);
        self.settle().await.unwrap();
        let left = "SELECT COUNT(*) AS number FROM account a WHERE a.deleted_at IS NOT NULL AND (a.debt <> 0 \
            OR a.leased <> 0 OR EXISTS (SELECT 1 FROM credit_card c WHERE c.account_id = a.id AND c.balance <> 0))";
        assert_eq!(self.world.number(left).await, 0);
        self.world.balanced().await;
        for (account, calls) in expected {
            let sql =
                format!("SELECT COUNT(*) AS number FROM usage_record WHERE account_id = {account}");
            assert_eq!(self.world.number(&sql).await, calls.cast_signed());
        }
    }
}

/// Drops an operation half-way, as a crash does: uncommitted changes are lost.
async fn cut<T>(work: impl Future<Output = T>, wakes: usize) -> Option<T> {
    let (mut work, mut left) = (pin!(work), wakes);
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

async fn living(world: &World) -> Vec<AccountId> {
    let filter = AccountFilter {
        descendants: true,
        ..AccountFilter::default()
    };
    let page = Page { page: 1, size: 100 };
    let listed = ops::accounts::list(&world.control, &ROOT, filter, page);
    let listed = Box::pin(listed).await.unwrap();
    let ids = listed.rows.into_iter().map(|account| account.id);
    [AccountId::ROOT].into_iter().chain(ids).collect()
}

#[tokio::test]
async fn the_books_balance_through_a_random_history_of_operations_and_crashes() {
    let mut world = World::file().await;
    world.config.publish_wait_ms = 0;
    world.restart().await.unwrap();
    load(&world.control, "2", None).await.unwrap();
    let table = published(&world.control).await;
    let mut history = StoreHistory {
        living: living(&world).await,
        world,
        dice: dice(),
        table,
        ever: BTreeSet::from([AccountId::ROOT]),
        leases: BTreeMap::new(),
        sent: Vec::new(),
        unfit: BTreeSet::new(),
        next: 0,
        done: BTreeMap::new(),
    };
    let steps = steps() / STEPS_OF_MEMORY;
    for step in 1..=steps {
        history.step().await;
        if step % STEPS_PER_LOOK == 0 {
            history.world.balanced().await;
        }
    }
    history.all_is_counted().await;
    eprintln!("{:?}", history.done);
    // A history with few events would prove little.
    for what in [
        "create", "credit", "rates", "delete", "call", "again", "lease", "listing", "time",
        "prices", "crash",
    ] {
        let count = history.done.get(what).copied().unwrap_or_default();
        assert!(count >= steps / 400, "{what}: {:?}", history.done);
    }
}

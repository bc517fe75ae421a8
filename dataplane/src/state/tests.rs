//! How much of an account's credit may be spent, in any order of events.

use std::time::Duration;

use proxyxai_contract::{
    clock::Millis,
    id::ClientKeyId,
    lease::{LeaseAnswer, LeaseShortage, LeasedCredit},
    snapshot::FurtherKey,
    tokens::{ImageUsage, TokenUsage},
    usage::UsageMeasure,
};

use super::*;
use crate::decide::{
    admit::{KeyRefusal, Refusal},
    samples,
};

fn usd(dollars: i64) -> Money {
    Money::from_nanos(dollars * 1_000_000_000)
}

fn lease(version: u64, amount: Money) -> LeasedCredit {
    LeasedCredit {
        payer: AccountId::new(7).unwrap().into(),
        version,
        amount,
    }
}

fn answer(lease: LeasedCredit) -> LeaseAnswer {
    LeaseAnswer {
        lease,
        standing: PostedBalance {
            account: lease.payer.account,
            balance: usd(10),
            month_used: Money::ZERO,
        },
        shortage: None,
        elsewhere: Money::ZERO,
    }
}

fn credit_lease() -> (Arc<CreditLease>, mpsc::Receiver<Arc<CreditLease>>) {
    let (ask_tx, asked) = mpsc::channel(8);
    let credit_lease = CreditLease::new(AccountId::new(7).unwrap(), ask_tx);
    (Arc::new(credit_lease), asked)
}

fn record(cost: Money) -> UsageRecord {
    UsageRecord {
        sequence: 1,
        request_id: "r".to_owned(),
        account: AccountId::new(7).unwrap(),
        client_key: None,
        path: "/v1/chat/completions".to_owned(),
        model_asked: "m".to_owned(),
        model_used: "m".to_owned(),
        key: None,
        level: Level::new(0).unwrap(),
        tries: 1,
        status: 200,
        tokens: TokenUsage::default(),
        measure: UsageMeasure::Measured,
        images: ImageUsage::default(),
        tier: String::new(),
        sum: proxyxai_contract::bill::CallBill::default(),
        attempts: Vec::new(),
        rates: None,
        factor: None,
        cost,
        priced: true,
        price_version: "1".to_owned(),
        start: Millis(1),
        duration_ms: 0,
        first_byte_ms: 0,
        streamed: false,
        objects: None,
        tag: String::new(),
        abandoned: None,
        expense: None,
    }
}

#[tokio::test]
async fn what_was_spent_before_a_restart_is_not_there_to_be_spent_again() {
    let (state, _lease_asks) = RuntimeState::new(
        Clock::system(),
        &[record(usd(3)), record(usd(4))],
        ObjectIndex::new().0,
    );
    state.apply(SnapshotUpdate {
        full: true,
        accounts: vec![samples::account(7).into()],
        settings: Some(samples::settings().into()),
        leases: vec![lease(5, usd(10))],
        ..SnapshotUpdate::empty(Revision(1))
    });
    let credit_lease = state.credit_lease(AccountId::new(7).unwrap()).unwrap();
    assert!(credit_lease.try_reserve(usd(4)).is_none());
    let held = credit_lease.try_reserve(usd(3)).unwrap();
    // Control posts it: the lease shrinks by what was charged, and no more becomes free.
    credit_lease.posted(usd(7), Some(&lease(6, usd(3))));
    assert!(credit_lease.try_reserve(Money::from_nanos(1)).is_none());
    drop(held);
    assert!(credit_lease.try_reserve(usd(3)).is_some());
    // A reconnect sends everything again, and charges nothing twice.
    state.apply(SnapshotUpdate {
        full: true,
        accounts: vec![samples::account(7).into()],
        settings: Some(samples::settings().into()),
        leases: vec![lease(6, usd(3))],
        ..SnapshotUpdate::empty(Revision(2))
    });
    assert!(credit_lease.try_reserve(usd(3)).is_some());
}

#[tokio::test]
async fn credit_whose_return_was_not_confirmed_is_given_back_once() {
    let (credit_lease, _lease_asks) = credit_lease();
    credit_lease.leased(&lease(1, usd(10)));
    credit_lease.charge(usd(2));
    credit_lease.recall();
    let ask = credit_lease.next_ask(ISLAND).unwrap();
    assert_eq!((ask.version, ask.change), (1, usd(8).negated()));
    // Control has applied it, but its reply is lost; then it posts the usage.
    credit_lease.answered(None);
    credit_lease.posted(usd(2), Some(&lease(3, Money::ZERO)));
    let again = credit_lease.next_ask(ISLAND).unwrap();
    assert_eq!((again.version, again.change), (1, usd(8).negated()));
    credit_lease.answered(Some(&answer(lease(3, Money::ZERO))));
    assert!(credit_lease.try_reserve(Money::from_nanos(1)).is_none());
    credit_lease.leased(&lease(4, usd(1)));
    assert!(credit_lease.try_reserve(usd(1)).is_some());
}

#[tokio::test]
async fn leases_count_from_the_first_word_of_control_on() {
    let reach = ControlContact::new();
    assert!(!reach.leases_hold());
    reach.heard(tokio::time::Instant::now(), 60_000);
    assert!(reach.leases_hold());
}

#[tokio::test(start_paused = true)]
async fn patience_that_ends_between_two_answers_ends_with_what_control_last_said() {
    let (credit_lease, mut asked) = credit_lease();
    let reach = ControlContact::new();
    let patience = Duration::from_secs(10);
    // Other data planes hold the credit, and control says so once.
    let says = async {
        let asking = asked.recv().await.unwrap();
        assert!(asking.next_ask(ISLAND).is_some());
        let short = LeaseAnswer {
            shortage: Some(LeaseShortage::Balance),
            elsewhere: usd(5),
            ..answer(lease(1, Money::ZERO))
        };
        asking.answered(Some(&short));
    };
    let (refused, ()) = tokio::join!(
        credit_wait::reserve(&credit_lease, &reach, usd(1), patience),
        says
    );
    assert_eq!(
        refused.unwrap_err(),
        CreditError::Short(LeaseShortage::Balance)
    );
}

#[tokio::test(start_paused = true)]
async fn control_that_says_nothing_at_all_counts_as_out_of_reach() {
    let (credit_lease, _asked) = credit_lease();
    let patience = Duration::from_millis(10);
    let refused =
        credit_wait::reserve(&credit_lease, &ControlContact::new(), usd(1), patience).await;
    assert_eq!(refused.unwrap_err(), CreditError::OutOfReach);
}

fn further(id: i64, secret: &str) -> FurtherKey {
    FurtherKey {
        id: ClientKeyId::new(id).unwrap(),
        name: format!("key-{id}"),
        key_hash: samples::settings().hasher.hash(secret),
        enabled: true,
        expires: None,
        credit_limit: None,
        rpm: None,
        models: proxyxai_contract::access::ModelList::Any,
    }
}

fn with_keys(revision: u64, further_keys: Vec<FurtherKey>) -> SnapshotUpdate {
    let account = AccountConfig {
        key_hash: Some(samples::settings().hasher.hash("first")),
        further_keys,
        ..samples::account(7)
    };
    SnapshotUpdate {
        full: revision == 1,
        accounts: vec![account.into()],
        settings: (revision == 1).then(|| samples::settings().into()),
        ..SnapshotUpdate::empty(Revision(revision))
    }
}

const ISLAND: Duration = Duration::from_mins(10);

#[test]
fn a_further_key_is_its_accounts_from_its_update_until_its_end() {
    let (state, _lease_asks) = RuntimeState::new(Clock::system(), &[], ObjectIndex::new().0);
    let ending = FurtherKey {
        expires: Some(Millis(1000)),
        ..further(1, "ends")
    };
    let off = FurtherKey {
        enabled: false,
        ..further(2, "off")
    };
    // An account's first key always wins.
    let keys = vec![ending, off, further(3, "on"), further(4, "first")];
    state.apply(with_keys(1, keys));
    let found = |secret: &str, now: i64| {
        let snapshot = state.snapshot().unwrap();
        let caller = snapshot.authenticate(secret, || Millis(now));
        caller.map(|caller| {
            assert_eq!(caller.account.account.id, AccountId::new(7).unwrap());
            caller.key.as_ref().map(|key| key.key.id.get())
        })
    };
    let refused = |key: &str, expired| {
        let key = key.to_owned();
        Err(Refusal::Key(KeyRefusal::NotInForce { key, expired }))
    };
    assert_eq!(found("first", 0), Ok(None));
    assert_eq!(found("on", 5000), Ok(Some(3)));
    assert_eq!(found("ends", 999), Ok(Some(1)));
    assert_eq!(found("ends", 1000), refused("key-1", true));
    assert_eq!(found("off", 0), refused("key-2", false));
    assert_eq!(found("nobody", 0), Err(Refusal::Unauthenticated));
    state.apply(with_keys(2, Vec::new()));
    assert_eq!(found("on", 0), Err(Refusal::Unauthenticated));
    assert_eq!(found("first", 0), Ok(None));
}

#[test]
fn a_keys_lease_outlives_changes_of_its_account_and_what_it_had_goes_back_at_its_end() {
    let spent = UsageRecord {
        client_key: ClientKeyId::new(3).ok(),
        ..record(usd(1))
    };
    let (state, mut lease_asks) =
        RuntimeState::new(Clock::system(), &[spent], ObjectIndex::new().0);
    state.apply(with_keys(1, vec![further(3, "on")]));
    let payer = PayerId {
        account: AccountId::new(7).unwrap(),
        client_key: ClientKeyId::new(3).ok(),
    };
    let lease = LeasedCredit {
        payer,
        ..lease(1, usd(5))
    };
    state.credit_lease(payer).unwrap().leased(&lease);
    // A dollar of it was spent before the start, and is not posted yet.
    assert!(
        state
            .credit_lease(payer)
            .unwrap()
            .try_reserve(usd(5))
            .is_none()
    );
    let renamed = FurtherKey {
        name: "other".to_owned(),
        ..further(3, "on")
    };
    state.apply(with_keys(2, vec![renamed]));
    let held = state
        .credit_lease(payer)
        .unwrap()
        .try_reserve(usd(4))
        .unwrap();
    assert!(
        state
            .credit_lease(payer.account)
            .unwrap()
            .try_reserve(usd(1))
            .is_none()
    );
    while lease_asks.try_recv().is_ok() {}
    state.apply(with_keys(3, Vec::new()));
    let leaving = state.credit_lease(payer).unwrap();
    assert_eq!(lease_asks.try_recv().unwrap().payer(), payer);
    drop(held);
    leaving.not_asked();
    let ask = leaving.next_ask(ISLAND).unwrap();
    assert_eq!((ask.payer, ask.change), (payer, usd(-4)));
}

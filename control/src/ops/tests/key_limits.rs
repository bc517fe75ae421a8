//! Tests of further client keys' limits: their leases are bound by the limit as those of accounts are by the balance,
//! and what a key has spent is counted once.

use proxyxai_contract::{
    clock::Millis,
    id::ClientKeyId,
    lease::{LeaseAnswer, LeaseAsk, LeaseShortage, PayerId},
    money::Money,
    object::{CallObjects, CreatedObject, ObjectKind, ObjectSettlement},
    usage::UsageRecord,
};

use super::client_keys::key_of;
use crate::{
    model::{Account, ClientKeyChange, ClientKeyInfo},
    ops::{self, client_keys},
    testing::{NOON, ROOT, World, by, call, everywhere, node, usd},
};

fn limited(dollars: f64) -> ClientKeyChange {
    ClientKeyChange {
        credit_limit: Some(usd(dollars)),
        ..ClientKeyChange::default()
    }
}

fn payer(key: &ClientKeyInfo) -> PayerId {
    PayerId {
        account: key.account,
        client_key: Some(key.id),
    }
}

/// What a data plane has on lease of a key's limit.
struct Plane {
    name: &'static str,
    version: u64,
    amount: Money,
    sequence: u64,
}

impl Plane {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            version: 0,
            amount: Money::ZERO,
            sequence: 0,
        }
    }

    async fn ask(&mut self, world: &World, payer: PayerId, dollars: f64) -> LeaseAnswer {
        let change = usd(dollars);
        let ask = LeaseAsk {
            payer,
            version: self.version,
            change,
            need: change.max(Money::ZERO),
        };
        let name = node(self.name);
        let answers = ops::fleet::lease_credit(&world.control, &name, 1, vec![ask]);
        let answer = answers.await.unwrap().remove(0);
        (self.version, self.amount) = (answer.lease.version, answer.lease.amount);
        answer
    }

    /// Reports a call with the key.
    async fn spend(&mut self, world: &World, payer: PayerId, dollars: f64) -> UsageRecord {
        self.sequence += 1;
        let record = UsageRecord {
            client_key: payer.client_key,
            ..call(self.sequence, payer.account, dollars)
        };
        self.report(world, payer, vec![record.clone()]).await;
        record
    }

    async fn report(&mut self, world: &World, payer: PayerId, records: Vec<UsageRecord>) {
        let name = node(self.name);
        let reported = ops::fleet::report_usage(&world.control, &name, 1, records);
        let leases = reported.await.unwrap().leases;
        if let Some(lease) = leases.iter().find(|lease| lease.payer == payer) {
            (self.version, self.amount) = (lease.version, lease.amount);
        }
    }
}

async fn shown(world: &World, account: &Account, id: ClientKeyId) -> ClientKeyInfo {
    client_keys::get(&world.control, &by(account), None, id)
        .await
        .unwrap()
}

#[tokio::test]
async fn all_data_planes_together_get_no_more_than_the_limit() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let (key, _) = key_of(world, &alice, "ci", limited(10.0)).await;
        let payer = payer(&key);
        let (mut one, mut two) = (Plane::new("n1"), Plane::new("n2"));
        let first = one.ask(world, payer, 6.0).await;
        assert_eq!(
            (first.lease.amount, first.standing.balance),
            (usd(6.0), usd(10.0))
        );
        let short = two.ask(world, payer, 5.0).await;
        assert_eq!(
            (short.shortage, short.elsewhere),
            (Some(LeaseShortage::Balance), usd(6.0))
        );
        assert_eq!(two.ask(world, payer, 4.0).await.lease.amount, usd(4.0));
        // What was spent is gone, and what is returned is available again.
        one.spend(world, payer, 2.0).await;
        assert_eq!(one.amount, usd(4.0));
        one.ask(world, payer, -4.0).await;
        assert!(two.ask(world, payer, 4.5).await.shortage.is_some());
        assert_eq!(two.ask(world, payer, 4.0).await.lease.amount, usd(8.0));
        let seen = shown(world, &alice, key.id).await;
        assert_eq!((seen.credit_used, seen.requests), (usd(2.0), 1));
        assert_eq!(seen.used, Some(call(1, alice.id, 0.0).start));
        // None of it touches the account's own credit.
        assert_eq!(world.view(&alice).await.balance, usd(98.0));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_reported_twice_counts_once_for_its_key() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let (key, _) = key_of(world, &alice, "ci", limited(10.0)).await;
        let payer = payer(&key);
        let mut plane = Plane::new("n1");
        plane.ask(world, payer, 5.0).await;
        let record = plane.spend(world, payer, 1.0).await;
        let left = plane.amount;
        assert_eq!(left, usd(4.0));
        // The response was lost. The next one has the current lease, also with another record beside it.
        plane.amount = Money::ZERO;
        plane.report(world, payer, vec![record.clone()]).await;
        assert_eq!(plane.amount, left);
        let other = call(2, alice.id, 1.0);
        plane.amount = Money::ZERO;
        plane.report(world, payer, vec![record, other]).await;
        assert_eq!(plane.amount, left);
        assert_eq!(shown(world, &alice, key.id).await.credit_used, usd(1.0));
        assert_eq!(world.view(&alice).await.credit_used, usd(2.0));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_off_ended_or_gone_gets_nothing_more_and_its_calls_are_still_posted() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let (key, _) = key_of(world, &alice, "ci", limited(10.0)).await;
        let payer = payer(&key);
        let mut plane = Plane::new("n1");
        plane.ask(world, payer, 5.0).await;
        let off = ClientKeyChange {
            enabled: Some(false),
            ..ClientKeyChange::default()
        };
        client_keys::update(&world.control, &by(&alice), None, (key.id, &off))
            .await
            .unwrap();
        let refused = plane.ask(world, payer, 1.0).await;
        assert_eq!(refused.shortage, Some(LeaseShortage::Balance));
        client_keys::delete(&world.control, &by(&alice), None, key.id)
            .await
            .unwrap();
        plane.spend(world, payer, 2.0).await;
        assert_eq!(
            plane.ask(world, payer, -3.0).await.lease.amount,
            Money::ZERO
        );
        let used = "SELECT credit_used AS number FROM client_key WHERE leased = 0";
        assert_eq!(world.number(used).await, usd(2.0).nanos());
        assert_eq!(world.view(&alice).await.credit_used, usd(2.0));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn what_a_silent_data_plane_had_of_a_limit_comes_back() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let (key, _) = key_of(world, &alice, "ci", limited(10.0)).await;
        let payer = payer(&key);
        let (mut lost, mut other) = (Plane::new("n1"), Plane::new("n2"));
        lost.ask(world, payer, 10.0).await;
        assert!(other.ask(world, payer, 1.0).await.shortage.is_some());
        world.clock.advance(86_400_000);
        ops::fleet::release_lost(&world.control).await.unwrap();
        assert_eq!(other.ask(world, payer, 1.0).await.lease.amount, usd(1.0));
        // A lost spool loses its lease.
        let again = LeaseAsk {
            payer,
            version: 0,
            change: Money::ZERO,
            need: Money::ZERO,
        };
        let answers = ops::fleet::lease_credit(&world.control, &node("n2"), 2, vec![again])
            .await
            .unwrap();
        assert_eq!(answers[0].lease.amount, Money::ZERO);
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_lease_of_a_spool_that_was_lost_comes_home_though_its_node_lives() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let (key, _) = key_of(world, &alice, "ci", limited(10.0)).await;
        for payer in [payer(&key), alice.id.into()] {
            let (mut lost, mut other) = (Plane::new("n1"), Plane::new("n2"));
            lost.ask(world, payer, 10.0).await;
            for _ in 0..3 {
                world.clock.advance(86_400_000);
                // The node is back, without its lease.
                ops::fleet::lease_credit(&world.control, &node("n1"), 2, Vec::new())
                    .await
                    .unwrap();
                other.ask(world, payer, 0.0).await;
            }
            ops::fleet::release_lost(&world.control).await.unwrap();
            let rest = other.ask(world, payer, 10.0).await;
            assert_eq!(rest.lease.amount, usd(10.0), "{payer:?}");
            other.ask(world, payer, -10.0).await;
        }
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn work_that_goes_on_is_set_aside_of_the_limit_of_a_key_of_roots_too() {
    everywhere(async |world: &mut World| {
        let root = ops::accounts::find(&world.control, &ROOT, "root")
            .await
            .unwrap();
        let (key, _) = key_of(world, &root, "ci", limited(10.0)).await;
        let payer = payer(&key);
        let (mut one, mut two) = (Plane::new("n1"), Plane::new("n2"));
        one.ask(world, payer, 4.0).await;
        one.report(world, payer, vec![making(1, &key, 4.0)]).await;
        assert!(two.ask(world, payer, 7.0).await.shortage.is_some());
        assert_eq!(two.ask(world, payer, 6.0).await.lease.amount, usd(6.0));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_limit_that_is_raised_or_lifted_is_in_force_at_once() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let (key, _) = key_of(world, &alice, "ci", limited(1.0)).await;
        let payer = payer(&key);
        let mut plane = Plane::new("n1");
        assert!(plane.ask(world, payer, 2.0).await.shortage.is_some());
        for (limit, asked) in [(3.0, 2.0), (0.0, 50.0)] {
            let what = (key.id, &limited(limit));
            client_keys::update(&world.control, &by(&alice), None, what)
                .await
                .unwrap();
            assert_eq!(
                plane.ask(world, payer, asked).await.shortage,
                None,
                "{limit}"
            );
        }
        world.balanced().await;
    })
    .await;
}

fn making(sequence: u64, key: &ClientKeyInfo, held: f64) -> UsageRecord {
    let made = CreatedObject {
        id: "resp_1".to_owned(),
        kind: ObjectKind::Response,
        expires: Millis(NOON.0 * 2),
        status: "queued".to_owned(),
        calls: None,
    };
    UsageRecord {
        client_key: Some(key.id),
        objects: Some(Box::new(CallObjects {
            made: vec![made],
            pending: true,
            held: usd(held),
            ..CallObjects::default()
        })),
        ..call(sequence, key.account, 0.0)
    }
}

#[tokio::test]
async fn work_that_goes_on_is_set_aside_of_the_limit_and_paid_by_the_key_that_began_it() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let (key, _) = key_of(world, &alice, "ci", limited(10.0)).await;
        let payer = payer(&key);
        let (mut one, mut two) = (Plane::new("n1"), Plane::new("n2"));
        one.ask(world, payer, 4.0).await;
        one.report(world, payer, vec![making(1, &key, 4.0)]).await;
        assert_eq!(one.amount, Money::ZERO);
        assert!(two.ask(world, payer, 7.0).await.shortage.is_some());
        // By any data plane and with any key.
        let settles = ObjectSettlement {
            id: "resp_1".to_owned(),
            settlement: "a".to_owned(),
        };
        let settling = UsageRecord {
            objects: Some(Box::new(CallObjects {
                settles: Some(settles),
                ..CallObjects::default()
            })),
            ..call(1, alice.id, 1.5)
        };
        ops::fleet::report_usage(&world.control, &node("n2"), 1, vec![settling])
            .await
            .unwrap();
        assert_eq!(shown(world, &alice, key.id).await.credit_used, usd(1.5));
        assert_eq!(two.ask(world, payer, 8.5).await.lease.amount, usd(8.5));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn whatever_comes_in_whatever_order_a_key_spends_no_more_than_its_limit() {
    everywhere(async |world: &mut World| {
        for seed in 0..6u64 {
            let name = format!("user{seed}");
            let account = world.child(&ROOT, &name, 100.0).await;
            let (key, _) = key_of(world, &account, "ci", limited(5.0)).await;
            let payer = payer(&key);
            let mut planes = [Plane::new("p1"), Plane::new("p2"), Plane::new("p3")];
            for plane in &mut planes {
                plane.sequence = seed * 1000;
            }
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut random = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            for _ in 0..60 {
                let plane = &mut planes[usize::try_from(random(3)).unwrap()];
                let cents = i64::try_from(random(120)).unwrap() + 1;
                let dollars = Money::from_nanos(cents * 10_000_000);
                match random(3) {
                    0 => drop(plane.ask(world, payer, dollars.dollars()).await),
                    1 => {
                        let back = dollars.min(plane.amount).dollars();
                        plane.ask(world, payer, -back).await;
                    }
                    // A data plane admits only what it has on lease.
                    _ if plane.amount >= dollars => {
                        plane.spend(world, payer, dollars.dollars()).await;
                    }
                    _ => {}
                }
                let used = shown(world, &account, key.id).await.credit_used;
                let leased: Money = planes.iter().map(|plane| plane.amount).sum();
                assert!(used.saturating_add(leased) <= usd(5.0), "seed {seed}");
            }
            world.balanced().await;
        }
    })
    .await;
}

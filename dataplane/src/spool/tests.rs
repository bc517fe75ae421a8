//! What a spool has after it was reopened.

use std::time::{Duration, Instant};
use tempfile::TempDir;

use proxyxai_contract::{
    attempt::{ATTEMPTS_MAX, Attempt, AttemptOutcome},
    bill::{CallBill, PriceLine},
    clock::{Clock, Millis},
    id::{AccountId, Level},
    money::Money,
    part::BillPart,
    tokens::{ImageUsage, TokenUsage},
    usage::{UsageMeasure, UsageRecord},
};

use super::{
    OpenedSpool, decode, journal::Journal, open, record_queue::QueueStore, writer::GATHER_FEW,
};

struct SpoolDir(TempDir);

impl SpoolDir {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn open(&self) -> OpenedSpool {
        open(self.0.path(), &Clock::system()).unwrap()
    }
}

fn record(id: &str) -> UsageRecord {
    UsageRecord {
        sequence: 0,
        request_id: id.to_owned(),
        account: AccountId::new(7).unwrap(),
        client_key: None,
        path: "/v1/chat/completions".to_owned(),
        model_asked: "m".to_owned(),
        model_used: "m".to_owned(),
        key: None,
        level: Level::new(0).unwrap(),
        tries: 1,
        status: 499,
        tokens: TokenUsage::default(),
        measure: UsageMeasure::Partial,
        images: ImageUsage::default(),
        tier: String::new(),
        sum: CallBill::default(),
        attempts: Vec::new(),
        rates: None,
        factor: None,
        cost: Money::from_nanos(5),
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

async fn shelved(opened: &OpenedSpool, records: u64) {
    while opened.record_queue.depth() < records {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn left(opened: &OpenedSpool) -> Vec<(u64, String)> {
    let backlog = opened.backlog.iter();
    backlog
        .map(|record| (record.sequence, record.request_id.clone()))
        .collect()
}

async fn close(opened: OpenedSpool) {
    drop((opened.spool, opened.record_queue));
    opened.writer.close().await;
}

#[tokio::test]
async fn a_call_that_never_ended_is_on_record_after_the_next_start() {
    let dir = SpoolDir::new();
    let opened = dir.open();
    let ended = opened.spool.begin(&record("ended")).unwrap();
    let _open = opened.spool.begin(&record("open")).unwrap();
    opened.spool.push(Some(ended), &record("ended"));
    opened.spool.push(None, &record("not begun"));
    shelved(&opened, 2).await;
    close(opened).await;
    let again = dir.open();
    let expected = [(1, "ended"), (2, "not begun"), (3, "open")];
    assert_eq!(left(&again), expected.map(|(at, id)| (at, id.to_owned())));
    close(again).await;
    let third = dir.open();
    assert_eq!(left(&third), expected.map(|(at, id)| (at, id.to_owned())));
    close(third).await;
}

#[tokio::test]
async fn a_record_that_was_shelved_but_not_taken_out_of_the_journal_comes_once() {
    let dir = SpoolDir::new();
    let opened = dir.open();
    let ticket = opened.spool.begin(&record("once")).unwrap();
    let number = ticket.number;
    opened.spool.push(Some(ticket), &record("once"));
    shelved(&opened, 1).await;
    close(opened).await;
    // The process died between the two.
    let (journal, left_in) = Journal::open(&dir.0.path().join("journal.map"), number - 1).unwrap();
    assert!(left_in.is_empty());
    let bytes = proxyxai_contract::convert::record_to_bytes(&record("once"));
    assert_eq!(journal.add(&bytes).unwrap().number, number);
    let again = dir.open();
    assert_eq!(left(&again), [(1, "once".to_owned())]);
    close(again).await;
}

#[tokio::test]
async fn tickets_are_never_given_again() {
    let dir = SpoolDir::new();
    let mut last = 0;
    for _ in 0..3 {
        let opened = dir.open();
        let ticket = opened.spool.begin(&record("x")).unwrap();
        assert!(ticket.number > last);
        last = ticket.number;
        close(opened).await;
    }
    assert_eq!(
        QueueStore::open(&dir.0.path().join("spool.redb"), &Clock::system())
            .unwrap()
            .next(),
        3
    );
}

#[tokio::test]
async fn of_records_packed_together_those_that_control_has_are_not_sent_again() {
    let dir = SpoolDir::new();
    let opened = dir.open();
    for at in 1..=300 {
        opened.spool.push(None, &record(&at.to_string()));
    }
    shelved(&opened, 300).await;
    let ids = |count| {
        let records = opened.record_queue.oldest(count).unwrap();
        let ids = records.iter().map(|bytes| {
            let record = proxyxai_contract::convert::record_from_bytes(bytes).unwrap();
            assert_eq!(record.request_id, record.sequence.to_string());
            record.sequence
        });
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(300), (1..=300).collect::<Vec<_>>());
    for through in [0, 1, 127, 128, 129, 255, 298] {
        opened.record_queue.acknowledge(through);
        assert_eq!(ids(2), [through + 1, through + 2]);
    }
    opened.record_queue.acknowledge(300);
    assert!(ids(1).is_empty());
    close(opened).await;
}

#[tokio::test]
async fn few_records_wait_for_each_other_and_a_stop_for_none_of_them() {
    let dir = SpoolDir::new();
    let opened = dir.open();
    opened.spool.push(None, &record("first"));
    shelved(&opened, 1).await;
    for id in ["second", "third"] {
        let ticket = opened.spool.begin(&record(id));
        opened.spool.push(ticket, &record(id));
    }
    assert_eq!(opened.record_queue.depth(), 1);
    let began = Instant::now();
    close(opened).await;
    assert!(began.elapsed() < GATHER_FEW);
    let again = dir.open();
    let expected = [(1, "first"), (2, "second"), (3, "third")];
    assert_eq!(left(&again), expected.map(|(at, id)| (at, id.to_owned())));
    close(again).await;
}

#[tokio::test]
async fn the_longest_record_fits_into_the_journal() {
    let long = |bytes| "x".repeat(bytes);
    let all = TokenUsage {
        input: i64::MAX.unsigned_abs(),
        cached: i64::MAX.unsigned_abs(),
        cache_write: i64::MAX.unsigned_abs(),
        cache_write_hour: i64::MAX.unsigned_abs(),
        output: i64::MAX.unsigned_abs(),
        reasoning: i64::MAX.unsigned_abs(),
        input_audio: i64::MAX.unsigned_abs(),
        output_audio: i64::MAX.unsigned_abs(),
        input_image: i64::MAX.unsigned_abs(),
        output_image: i64::MAX.unsigned_abs(),
        input_video: i64::MAX.unsigned_abs(),
        cached_audio: i64::MAX.unsigned_abs(),
        cached_image: i64::MAX.unsigned_abs(),
    };
    let line = |part| PriceLine {
        part,
        quantity: i64::MAX.unsigned_abs(),
        price: Some(Money::from_nanos(i64::MAX)),
    };
    let sum = CallBill {
        lines: BillPart::all().map(line).collect(),
        above: Some(i64::MAX.unsigned_abs()),
        ..CallBill::default()
    };
    let longest = UsageRecord {
        tag: long(64),
        sequence: i64::MAX.unsigned_abs(),
        path: long(255),
        model_asked: long(255),
        model_used: long(255),
        key: proxyxai_contract::id::KeyId::new(i64::MAX).ok(),
        tokens: all,
        images: ImageUsage {
            count: i64::MAX.unsigned_abs(),
            size: long(32),
        },
        tier: long(32),
        sum,
        cost: Money::from_nanos(i64::MAX),
        price_version: long(64),
        start: Millis(i64::MAX),
        duration_ms: i64::MAX.unsigned_abs(),
        first_byte_ms: i64::MAX.unsigned_abs(),
        ..record(&long(128))
    };
    let dir = SpoolDir::new();
    let opened = dir.open();
    let mut ticket = opened.spool.begin(&longest).unwrap();
    opened.spool.note(&mut ticket, &longest);
    opened.spool.push(Some(ticket), &longest);
    shelved(&opened, 1).await;
    close(opened).await;
}

#[tokio::test]
async fn attempts_are_handed_in_whole_however_many_there_are() {
    let attempt = Attempt {
        key: proxyxai_contract::id::KeyId::new(i64::MAX).unwrap(),
        level: Level::new(10).unwrap(),
        model: "m".repeat(255),
        status: Some(503),
        outcome: AttemptOutcome::Failed,
        duration_ms: i64::MAX.unsigned_abs(),
    };
    let retried = UsageRecord {
        attempts: vec![attempt; ATTEMPTS_MAX],
        ..record("r")
    };
    let dir = SpoolDir::new();
    let opened = dir.open();
    let mut ticket = opened.spool.begin(&retried).unwrap();
    opened.spool.note(&mut ticket, &retried);
    opened.spool.push(Some(ticket), &retried);
    shelved(&opened, 1).await;
    let stored = opened.record_queue.oldest(1).unwrap();
    assert_eq!(decode(&stored[0]).unwrap().attempts, retried.attempts);
    close(opened).await;
}

#[test]
fn a_file_that_was_begun_and_not_finished_is_made_anew() {
    let dir = SpoolDir::new();
    // What a process leaves that is killed here: a length, and no header of the store yet.
    let begun = dir.0.path().join("spool.new");
    std::fs::write(&begun, [0; 4096]).unwrap();
    assert!(dir.open().backlog.is_empty());
    assert!(!begun.exists(), "it is not left behind");
    assert!(dir.0.path().join("spool.redb").exists());
}

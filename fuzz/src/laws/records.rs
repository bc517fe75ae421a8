//! What is read back from the spool and from the other plane: usage records, packs of them, updates, leases.

use bytes::Bytes;
use prost::Message as _;
use proxyxai_contract::{
    convert::{
        SpooledReport, answer_from_wire, answer_to_wire, ask_from_wire, ask_to_wire,
        charge_from_bytes, health_from_wire, health_to_wire, lease_from_wire, lease_to_wire,
        pack_records, record_from_bytes, record_to_bytes, sequence_bytes, unpack_records,
        update_from_wire, update_to_wire, window_ask_from_wire, window_ask_to_wire,
        window_grant_from_wire, window_grant_to_wire,
    },
    lease::PayerId,
    wire,
};

const SEQUENCE: u64 = 77;

/// A byte that chooses, then the message.
pub fn records(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    match choice % 4 {
        0 => record(bytes),
        1 => pack(bytes),
        2 => update(bytes),
        _ => small(bytes),
    }
}

fn record(bytes: &[u8]) {
    // What the journal was left with may end anywhere; none of it may do worse than be refused.
    for end in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let _read = record_from_bytes(&bytes[..end]);
    }
    let Ok(read) = record_from_bytes(bytes) else {
        return;
    };
    let mut written = record_to_bytes(&read);
    assert_eq!(record_from_bytes(&written).as_ref(), Ok(&read));
    let payer = PayerId {
        account: read.account,
        client_key: read.client_key,
    };
    assert_eq!(charge_from_bytes(bytes), Ok((payer, read.cost)));
    sequence_bytes(&mut written, SEQUENCE);
    let numbered = record_from_bytes(&written).expect("a number does no harm");
    assert_eq!(numbered.sequence, SEQUENCE);
}

fn pack(bytes: &[u8]) {
    let Ok(records) = unpack_records(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    assert!(records.iter().map(Bytes::len).sum::<usize>() <= bytes.len());
    let packed = pack_records(records.iter().map(Bytes::as_ref));
    assert_eq!(unpack_records(packed.into()).as_ref(), Ok(&records));
    // A report of them is read by control as one of records.
    let report = SpooledReport {
        node: "node".to_owned(),
        epoch: 1,
        records: records.clone(),
    };
    let read = wire::ReportUsageRequest::decode(report.encode_to_vec().as_slice());
    let all_read = records
        .iter()
        .all(|record| wire::UsageRecord::decode(record.as_ref()).is_ok());
    assert_eq!(read.is_ok(), all_read);
}

fn update(bytes: &[u8]) {
    let Ok(sent) = wire::Update::decode(bytes) else {
        return;
    };
    // What can be used of it is used, and says the same when it is told on.
    let (read, _rejected) = update_from_wire(sent);
    let (again, rejected) = update_from_wire(update_to_wire(&read));
    assert!(rejected.is_empty(), "{rejected:?}");
    assert_eq!(again, read);
}

fn small(bytes: &[u8]) {
    macro_rules! reads_back {
        ($message:ty, $read:path, $write:path) => {
            if let Ok(sent) = <$message>::decode(bytes)
                && let Ok(read) = $read(sent)
            {
                assert_eq!($read($write(&read)), Ok(read));
            }
        };
    }
    reads_back!(wire::Lease, lease_from_wire, lease_to_wire);
    reads_back!(wire::LeaseAsk, ask_from_wire, ask_to_wire);
    reads_back!(wire::LeaseAnswer, answer_from_wire, answer_to_wire);
    reads_back!(wire::HealthEntry, health_from_wire, health_to_wire);
    reads_back!(wire::WindowAsk, window_ask_from_wire, window_ask_to_wire);
    reads_back!(
        wire::WindowGrant,
        window_grant_from_wire,
        window_grant_to_wire
    );
}

//! Usage records on their way from a call to control. A data plane keeps and reports them as bytes, because decoding
//! and encoding each of them again costs about as much as posting it.

use bytes::{Buf as _, Bytes};
use prost::Message as _;

use super::leases::payer_from_wire;
use crate::{Invalid, lease::PayerId, money::Money};

/// `ReportUsageRequest` with its records as they were written: the same bytes on the wire.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SpooledReport {
    /// Name of the data plane.
    #[prost(string, tag = "1")]
    pub node: String,
    /// The spool's epoch.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Records that `record_to_bytes` wrote, each with its sequence.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub records: Vec<Bytes>,
}

/// The fields of a `UsageRecord` that concern the credit of its account.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct SpooledCharge {
    #[prost(int64, tag = "3")]
    account_id: i64,
    #[prost(int64, tag = "13")]
    cost_nanos: i64,
    #[prost(int64, tag = "35")]
    held_nanos: i64,
    #[prost(int64, tag = "51")]
    client_key_id: i64,
}

/// The payer of a record and the amount charged, including what stays reserved. If a client key is named, it pays as
/// well as its account.
///
/// # Errors
/// Errors if the bytes are not a record.
pub fn charge_from_bytes(record: &[u8]) -> Result<(PayerId, Money), Invalid> {
    let charge =
        SpooledCharge::decode(record).map_err(|error| Invalid::new("record", error.to_string()))?;
    Ok((
        payer_from_wire(charge.account_id, charge.client_key_id)?,
        Money::from_nanos(charge.cost_nanos.saturating_add(charge.held_nanos)),
    ))
}

/// Joins records, each preceded by its length.
pub fn pack_records<'a>(records: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut packed = Vec::new();
    for record in records {
        prost::encoding::encode_varint(record.len() as u64, &mut packed);
        packed.extend_from_slice(record);
    }
    packed
}

/// Splits what `pack_records` joined.
///
/// # Errors
/// Errors if the bytes end within a record.
pub fn unpack_records(mut packed: Bytes) -> Result<Vec<Bytes>, Invalid> {
    let short = || Invalid::new("records", "end early");
    let mut records = Vec::new();
    while packed.has_remaining() {
        let length = prost::decode_length_delimiter(&mut packed).map_err(|_| short())?;
        if length > packed.len() {
            return Err(short());
        }
        records.push(packed.split_to(length));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn a_report_of_written_records_is_a_report() {
        let record = |sequence| wire::UsageRecord {
            sequence,
            account_id: 7,
            cost_nanos: 9,
            request_id: "r".to_owned(),
            client_key_id: 4,
            ..wire::UsageRecord::default()
        };
        let expected = wire::ReportUsageRequest {
            node: "n".to_owned(),
            epoch: 3,
            records: vec![record(1), record(2)],
        };
        let spooled = SpooledReport {
            node: "n".to_owned(),
            epoch: 3,
            records: [1, 2]
                .map(|sequence| record(sequence).encode_to_vec().into())
                .to_vec(),
        };
        assert_eq!(spooled.encode_to_vec(), expected.encode_to_vec());
        let charge = charge_from_bytes(&record(1).encode_to_vec()).unwrap();
        assert_eq!(
            charge,
            (payer_from_wire(7, 4).unwrap(), Money::from_nanos(9))
        );
    }

    #[test]
    fn packed_records_come_out_as_they_went_in() {
        let records: [&[u8]; 4] = [b"one", b"", &[7; 300], b"four"];
        let packed = Bytes::from(pack_records(records.into_iter()));
        assert_eq!(unpack_records(packed.clone()).unwrap(), records);
        for end in [1, 3, 6, 200, packed.len() - 1] {
            assert!(unpack_records(packed.slice(..end)).is_err(), "{end}");
        }
    }
}

//! Conversion between wire messages and domain values, for what crosses between the planes. Every message is
//! destructured field by field, so that a new field cannot be forgotten.

mod accounts;
mod keys;
mod leases;
mod objects;
mod prices;
mod records;
mod refusals;
mod settings;
mod spooled;
mod updates;
mod windows;

pub use accounts::{access_to_wire, limits_from_wire, limits_to_wire};
pub use keys::{
    config_from_wire, config_to_wire, health_from_bytes, health_from_wire, health_state_to_wire,
    health_to_bytes, health_to_wire,
};
pub use leases::{
    answer_from_wire, answer_to_wire, ask_from_wire, ask_to_wire, lease_from_wire, lease_to_wire,
    standing_from_wire, standing_to_wire,
};
pub use objects::{due_from_wire, due_to_wire, kind, owned_from_wire, owned_to_wire};
pub use records::{
    UnpostableRecord, batch_from_wire, record_from_bytes, record_from_wire, record_to_bytes,
    record_to_wire, sequence_bytes,
};
pub use refusals::{attempt_to_wire, refused_from_wire, refused_to_wire};
pub use settings::routing_to_wire;
pub use spooled::{SpooledReport, charge_from_bytes, pack_records, unpack_records};
pub use updates::{update_from_wire, update_to_wire};
pub use windows::{
    window_ask_from_wire, window_ask_to_wire, window_grant_from_wire, window_grant_to_wire,
};

use crate::{Invalid, clock::Millis, part::BillPart};

/// Milliseconds of a wire timestamp.
///
/// # Errors
/// Errors if it is absent or out of range.
pub fn millis_from_wire(
    field: &str,
    time: Option<&prost_types::Timestamp>,
) -> Result<Millis, Invalid> {
    let time = time.ok_or_else(|| Invalid::new(field, "is missing"))?;
    time.seconds
        .checked_mul(1000)
        .and_then(|ms| ms.checked_add(i64::from(time.nanos) / 1_000_000))
        .map(Millis)
        .ok_or_else(|| Invalid::new(field, "is out of range"))
}

/// Milliseconds of a wire timestamp that may be absent.
///
/// # Errors
/// Errors if it is out of range.
pub fn optional_millis_from_wire(
    field: &str,
    time: Option<&prost_types::Timestamp>,
) -> Result<Option<Millis>, Invalid> {
    time.map(|time| millis_from_wire(field, Some(time)))
        .transpose()
}

/// Wire timestamp of a moment.
pub fn millis_to_wire(at: Millis) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.0.rem_euclid(1000)).unwrap_or_default() * 1_000_000;
    prost_types::Timestamp {
        seconds: at.0.div_euclid(1000),
        nanos,
    }
}

/// A count that the wire carries as a signed number.
pub(crate) fn unsigned(field: &str, value: i64) -> Result<u64, Invalid> {
    u64::try_from(value).map_err(|_| Invalid::new(field, "must not be negative"))
}

/// A count for the wire, clamped to its range.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A part of a bill. Returns `None` if this program does not know it.
pub fn part_from_wire(part: i32) -> Option<BillPart> {
    let place = usize::try_from(part).ok()?.checked_sub(1)?;
    BillPart::all().nth(place)
}

/// A part of a bill for the wire.
pub fn part_to_wire(part: BillPart) -> i32 {
    i32::from(part as u8) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn parts_have_the_names_of_the_contract() {
        for part in BillPart::all() {
            let wire = wire::Part::try_from(part_to_wire(part)).unwrap();
            assert_eq!(format!("{wire:?}"), format!("{part:?}"));
            assert_eq!(part_from_wire(part_to_wire(part)), Some(part));
        }
        assert_eq!(part_from_wire(0), None);
        assert_eq!(part_from_wire(-1), None);
        assert_eq!(part_from_wire(999), None);
    }
}

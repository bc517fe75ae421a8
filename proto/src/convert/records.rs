//! Usage records and posted balances.

use prost::Message as _;

use super::{
    leases::{client_key_from_wire, client_key_to_wire},
    millis_from_wire, millis_to_wire,
    objects::{objects_from_wire, objects_into_wire},
    part_from_wire, part_to_wire,
    refusals::{attempt_to_wire, attempts_from_wire},
    signed, unsigned,
};
use crate::{
    Invalid,
    bill::{CallBill, PriceLine},
    id::{AccountId, KeyId, Level},
    money::{Money, Multiplier},
    tokens::{ImageUsage, TokenUsage},
    usage::{AbandonedPolicy, UsageMeasure, UsageRecord},
    wire,
};

/// Keeps one message far below gRPC's default maximum of 4 MiB.
const BATCH_RECORDS_MAX: usize = 1000;

/// A usage record that control cannot post as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpostableRecord {
    /// Its sequence in its spool.
    pub sequence: u64,
    /// The account that it names.
    pub account: i64,
    /// The call's `x-request-id`.
    pub request_id: String,
    /// What is wrong with it.
    pub reason: String,
    /// The record as it was written.
    pub record: Vec<u8>,
}

impl UnpostableRecord {
    fn new(record: &wire::UsageRecord, reason: impl Into<String>) -> Self {
        Self {
            sequence: record.sequence,
            account: record.account_id,
            request_id: record.request_id.clone(),
            reason: reason.into(),
            record: record.encode_to_vec(),
        }
    }

    /// From a record that could be read.
    pub fn of(record: &UsageRecord, reason: impl Into<String>) -> Self {
        Self::new(&record_to_wire(record), reason)
    }
}

/// Reads the records of a report and separates those that cannot be read.
///
/// # Errors
/// Errors if there are too many, or their sequences do not ascend.
pub fn batch_from_wire(
    records: Vec<wire::UsageRecord>,
) -> Result<(Vec<UsageRecord>, Vec<UnpostableRecord>), Invalid> {
    if records.len() > BATCH_RECORDS_MAX {
        return Err(Invalid::new(
            "records",
            format!("are more than {BATCH_RECORDS_MAX}"),
        ));
    }
    let numbered = records.iter().all(|record| record.sequence > 0);
    if !numbered || !records.is_sorted_by(|one, next| one.sequence < next.sequence) {
        return Err(Invalid::new("records", "must ascend by sequence, from 1"));
    }
    let mut read = Vec::with_capacity(records.len());
    let mut unfit = Vec::new();
    for mut record in records {
        match take_from_wire(&mut record) {
            Ok(record) => read.push(record),
            Err(error) => unfit.push(UnpostableRecord::new(&record, error.to_string())),
        }
    }
    Ok((read, unfit))
}

/// Reads one record.
///
/// # Errors
/// Errors if a field cannot be read; the error names it.
pub fn record_from_wire(mut record: wire::UsageRecord) -> Result<UsageRecord, Invalid> {
    take_from_wire(&mut record)
}

/// Reads one record. If that fails the record is left unchanged, so that it can be reported; so texts are taken last.
#[expect(clippy::too_many_lines, reason = "a line for each field")]
fn take_from_wire(record: &mut wire::UsageRecord) -> Result<UsageRecord, Invalid> {
    let measure = record.measure();
    let abandoned = record.abandoned();
    let wire::UsageRecord {
        sequence,
        request_id,
        account_id,
        path,
        model_asked,
        model_used,
        key_id,
        level,
        tries,
        status,
        tokens,
        measure: _,
        cost_nanos,
        priced,
        price_version,
        start_time,
        duration_ms,
        first_byte_ms,
        streamed,
        images,
        image_size,
        rates_micros,
        factor_micros,
        made,
        held_nanos,
        settles,
        settlement,
        forgets,
        pending,
        tier,
        lines,
        price_above,
        price_rates_micros,
        tag,
        abandoned: _,
        attempts,
        client_key_id,
    } = record;
    if *sequence == 0 {
        return Err(Invalid::new("sequence", "must be positive"));
    }
    let count = unsigned("images", *images)?;
    Ok(UsageRecord {
        sequence: *sequence,
        account: AccountId::new(*account_id).map_err(|error| error.under("account_id"))?,
        client_key: client_key_from_wire(*client_key_id)?,
        key: key_from_wire(*key_id)?,
        level: Level::new((*level).into()).map_err(|error| error.under("level"))?,
        tries: u32::try_from(*tries).map_err(|_| Invalid::new("tries", "must not be negative"))?,
        status: u16::try_from(*status).map_err(|_| Invalid::new("status", "is no HTTP status"))?,
        tokens: tokens_from_wire(tokens.unwrap_or_default())?,
        measure: measure_from_wire(measure)?,
        cost: cost_from_wire(*cost_nanos)?,
        priced: *priced,
        rates: multiplier("rates_micros", *rates_micros)?,
        factor: multiplier("factor_micros", *factor_micros)?,
        start: millis_from_wire("start_time", start_time.as_ref())?,
        duration_ms: unsigned("duration_ms", *duration_ms)?,
        first_byte_ms: unsigned("first_byte_ms", *first_byte_ms)?,
        streamed: *streamed,
        attempts: attempts_from_wire(attempts)?,
        sum: sum_from_wire(lines, *price_above, *price_rates_micros)?,
        objects: objects_from_wire(
            made,
            (*pending, *held_nanos),
            (settles, settlement),
            forgets,
        )?,
        request_id: std::mem::take(request_id),
        path: std::mem::take(path),
        model_asked: std::mem::take(model_asked),
        model_used: std::mem::take(model_used),
        price_version: std::mem::take(price_version),
        tier: std::mem::take(tier),
        tag: std::mem::take(tag),
        abandoned: abandoned_from_wire(abandoned),
        expense: None,
        images: ImageUsage {
            count,
            size: std::mem::take(image_size),
        },
    })
}

fn cost_from_wire(nanos: i64) -> Result<Money, Invalid> {
    let cost = Money::from_nanos(nanos);
    if cost.is_negative() {
        return Err(Invalid::new("cost_nanos", "must not be negative"));
    }
    Ok(cost)
}

fn measure_from_wire(measure: wire::Measure) -> Result<UsageMeasure, Invalid> {
    Ok(match measure {
        wire::Measure::Measured => UsageMeasure::Measured,
        wire::Measure::Partial => UsageMeasure::Partial,
        wire::Measure::Estimated => UsageMeasure::Estimated,
        wire::Measure::Unspecified => return Err(Invalid::new("measure", "is missing")),
    })
}

const fn abandoned_from_wire(abandoned: wire::Abandoned) -> Option<AbandonedPolicy> {
    match abandoned {
        wire::Abandoned::Unspecified => None,
        wire::Abandoned::ReadOn => Some(AbandonedPolicy::ReadOn),
        wire::Abandoned::Cancel => Some(AbandonedPolicy::Cancel),
        wire::Abandoned::Hold => Some(AbandonedPolicy::Hold),
    }
}

const fn abandoned_to_wire(abandoned: Option<AbandonedPolicy>) -> wire::Abandoned {
    match abandoned {
        None => wire::Abandoned::Unspecified,
        Some(AbandonedPolicy::ReadOn) => wire::Abandoned::ReadOn,
        Some(AbandonedPolicy::Cancel) => wire::Abandoned::Cancel,
        Some(AbandonedPolicy::Hold) => wire::Abandoned::Hold,
    }
}

fn key_from_wire(key: i64) -> Result<Option<KeyId>, Invalid> {
    let given = Some(key).filter(|key| *key != 0).map(KeyId::new);
    given.transpose().map_err(|error| error.under("key_id"))
}

/// A record for the wire.
#[expect(clippy::too_many_lines, reason = "a line for each field")]
pub fn record_to_wire(record: &UsageRecord) -> wire::UsageRecord {
    let UsageRecord {
        sequence,
        request_id,
        account,
        client_key,
        path,
        model_asked,
        model_used,
        key,
        level,
        tries,
        status,
        tokens,
        images,
        tier,
        sum,
        measure,
        cost,
        priced,
        price_version,
        rates,
        factor,
        start,
        duration_ms,
        first_byte_ms,
        streamed,
        objects,
        tag,
        abandoned,
        attempts,
        // Known only to control.
        expense: _,
    } = record;
    let measure = match measure {
        UsageMeasure::Measured => wire::Measure::Measured,
        UsageMeasure::Partial => wire::Measure::Partial,
        UsageMeasure::Estimated => wire::Measure::Estimated,
    };
    let mut written = wire::UsageRecord {
        sequence: *sequence,
        request_id: request_id.clone(),
        account_id: account.get(),
        path: path.clone(),
        model_asked: model_asked.clone(),
        model_used: model_used.clone(),
        key_id: key.map_or(0, KeyId::get),
        level: level.get().into(),
        tries: i32::try_from(*tries).unwrap_or(i32::MAX),
        status: (*status).into(),
        tokens: Some(tokens_to_wire(tokens)),
        measure: measure.into(),
        cost_nanos: cost.nanos(),
        priced: *priced,
        price_version: price_version.clone(),
        start_time: Some(millis_to_wire(*start)),
        duration_ms: signed(*duration_ms),
        first_byte_ms: signed(*first_byte_ms),
        streamed: *streamed,
        images: signed(images.count),
        image_size: images.size.clone(),
        rates_micros: rates.map_or(0, Multiplier::micros),
        factor_micros: factor.map_or(0, Multiplier::micros),
        tier: tier.clone(),
        tag: tag.clone(),
        abandoned: abandoned_to_wire(*abandoned).into(),
        attempts: attempts.iter().map(attempt_to_wire).collect(),
        lines: sum.lines.iter().map(line_to_wire).collect(),
        price_above: sum.above.map_or(0, signed),
        price_rates_micros: sum.rates.micros(),
        client_key_id: client_key_to_wire(*client_key),
        ..wire::UsageRecord::default()
    };
    objects_into_wire(objects.as_deref(), &mut written);
    written
}

fn sum_from_wire(
    lines: &[wire::PriceLine],
    above: i64,
    rates_micros: i64,
) -> Result<CallBill, Invalid> {
    Ok(CallBill {
        lines: lines
            .iter()
            .filter_map(|line| line_from_wire(line).transpose())
            .collect::<Result<_, _>>()?,
        above: Some(unsigned("price_above", above)?).filter(|above| *above > 0),
        rates: multiplier("price_rates_micros", rates_micros)?.unwrap_or(Multiplier::ONE),
    })
}

/// A line of a part that this program does not know is left out; the cost includes its amount.
fn line_from_wire(line: &wire::PriceLine) -> Result<Option<PriceLine>, Invalid> {
    let price = line.price_nanos.map(Money::from_nanos);
    if price.is_some_and(Money::is_negative) {
        return Err(Invalid::new("lines.price_nanos", "must not be negative"));
    }
    let quantity = unsigned("lines.quantity", line.quantity)?;
    Ok(part_from_wire(line.part).map(|part| PriceLine {
        part,
        quantity,
        price,
    }))
}

fn line_to_wire(line: &PriceLine) -> wire::PriceLine {
    wire::PriceLine {
        part: part_to_wire(line.part),
        quantity: signed(line.quantity),
        price_nanos: line.price.map(Money::nanos),
    }
}

fn multiplier(field: &str, micros: i64) -> Result<Option<Multiplier>, Invalid> {
    match micros {
        0 => Ok(None),
        micros => Multiplier::from_micros(micros)
            .map(Some)
            .map_err(|error| error.under(field)),
    }
}

/// A record as bytes, to be kept on disk until control has it.
pub fn record_to_bytes(record: &UsageRecord) -> Vec<u8> {
    record_to_wire(record).encode_to_vec()
}

/// Adds a sequence to a record that `record_to_bytes` wrote. If a field comes twice, the last value applies.
pub fn sequence_bytes(record: &mut Vec<u8>, sequence: u64) {
    let numbered = wire::UsageRecord {
        sequence,
        ..wire::UsageRecord::default()
    };
    record.extend_from_slice(&numbered.encode_to_vec());
}

/// Reads what `record_to_bytes` wrote.
///
/// # Errors
/// Errors if the bytes are not a record.
pub fn record_from_bytes(bytes: &[u8]) -> Result<UsageRecord, Invalid> {
    let record = wire::UsageRecord::decode(bytes);
    record_from_wire(record.map_err(|error| Invalid::new("record", error.to_string()))?)
}

fn tokens_from_wire(tokens: wire::Tokens) -> Result<TokenUsage, Invalid> {
    let wire::Tokens {
        input,
        cached,
        cache_write,
        output,
        reasoning,
        input_audio,
        output_audio,
        input_image,
        output_image,
        cache_write_hour,
        input_video,
        cached_audio,
        cached_image,
    } = tokens;
    Ok(TokenUsage {
        input: unsigned("tokens.input", input)?,
        cached: unsigned("tokens.cached", cached)?,
        cache_write: unsigned("tokens.cache_write", cache_write)?,
        cache_write_hour: unsigned("tokens.cache_write_hour", cache_write_hour)?,
        output: unsigned("tokens.output", output)?,
        reasoning: unsigned("tokens.reasoning", reasoning)?,
        input_audio: unsigned("tokens.input_audio", input_audio)?,
        output_audio: unsigned("tokens.output_audio", output_audio)?,
        input_image: unsigned("tokens.input_image", input_image)?,
        output_image: unsigned("tokens.output_image", output_image)?,
        input_video: unsigned("tokens.input_video", input_video)?,
        cached_audio: unsigned("tokens.cached_audio", cached_audio)?,
        cached_image: unsigned("tokens.cached_image", cached_image)?,
    })
}

fn tokens_to_wire(tokens: &TokenUsage) -> wire::Tokens {
    let TokenUsage {
        input,
        cached,
        cache_write,
        cache_write_hour,
        output,
        reasoning,
        input_audio,
        output_audio,
        input_image,
        output_image,
        input_video,
        cached_audio,
        cached_image,
    } = *tokens;
    wire::Tokens {
        input: signed(input),
        cached: signed(cached),
        cache_write: signed(cache_write),
        output: signed(output),
        reasoning: signed(reasoning),
        input_audio: signed(input_audio),
        output_audio: signed(output_audio),
        input_image: signed(input_image),
        output_image: signed(output_image),
        cache_write_hour: signed(cache_write_hour),
        input_video: signed(input_video),
        cached_audio: signed(cached_audio),
        cached_image: signed(cached_image),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attempt::{Attempt, AttemptOutcome},
        clock::Millis,
        id::ClientKeyId,
        object::{CallObjects, CreatedObject, ObjectKind, ObjectSettlement},
    };

    fn sum() -> CallBill {
        CallBill {
            lines: vec![
                PriceLine {
                    part: crate::part::BillPart::InputText,
                    quantity: 12,
                    price: Some(Money::from_nanos(5)),
                },
                PriceLine {
                    part: crate::part::BillPart::WebSearch,
                    quantity: 1,
                    price: None,
                },
            ],
            above: Some(200_000),
            rates: Multiplier::from_micros(3).unwrap(),
        }
    }

    fn attempt(outcome: AttemptOutcome, status: Option<u16>, model: &str) -> Attempt {
        Attempt {
            key: KeyId::new(3).unwrap(),
            level: Level::new(2).unwrap(),
            model: model.to_owned(),
            status,
            outcome,
            duration_ms: 12,
        }
    }

    fn record(sequence: u64) -> UsageRecord {
        UsageRecord {
            sequence,
            request_id: "r".to_owned(),
            account: AccountId::ROOT,
            client_key: ClientKeyId::new(4).ok(),
            path: "/v1/chat/completions".to_owned(),
            model_asked: "a".to_owned(),
            model_used: "b".to_owned(),
            key: Some(KeyId::new(3).unwrap()),
            level: Level::new(2).unwrap(),
            tries: 2,
            status: 200,
            tokens: TokenUsage {
                input: 1,
                cached: 2,
                cache_write: 3,
                cache_write_hour: 2,
                output: 4,
                reasoning: 5,
                input_audio: 6,
                output_audio: 7,
                input_image: 8,
                output_image: 9,
                input_video: 10,
                cached_audio: 11,
                cached_image: 12,
            },
            tier: "flex".to_owned(),
            tag: "team-a".to_owned(),
            abandoned: Some(AbandonedPolicy::Hold),
            attempts: vec![
                attempt(AttemptOutcome::Unreached, None, "c"),
                attempt(AttemptOutcome::Answered, Some(200), ""),
            ],
            expense: None,
            sum: sum(),
            images: ImageUsage {
                count: 2,
                size: "1x1".to_owned(),
            },
            measure: UsageMeasure::Partial,
            cost: Money::from_nanos(7),
            priced: true,
            price_version: "v".to_owned(),
            rates: Some(Multiplier::ONE),
            factor: None,
            start: Millis(1_700_000_000_123),
            duration_ms: 5,
            first_byte_ms: 3,
            streamed: true,
            objects: Some(Box::new(CallObjects {
                made: vec![CreatedObject {
                    id: "resp_1".to_owned(),
                    kind: ObjectKind::Response,
                    expires: Millis(1_800_000_000_000),
                    status: "queued".to_owned(),
                    calls: Some(crate::object::PendingWork {
                        model: "m".to_owned(),
                        held: Money::from_nanos(3),
                    }),
                }],
                pending: true,
                held: Money::from_nanos(5),
                settles: Some(ObjectSettlement {
                    id: "resp_0".to_owned(),
                    settlement: "s".to_owned(),
                }),
                forgets: Some("resp_2".to_owned()),
            })),
        }
    }

    #[test]
    fn a_record_survives_the_wire() {
        assert_eq!(
            record_from_bytes(&record_to_bytes(&record(9))).unwrap(),
            record(9)
        );
    }

    #[test]
    fn a_sequence_can_be_given_later() {
        let mut bytes = record_to_bytes(&record(0));
        assert!(record_from_bytes(&bytes).is_err());
        sequence_bytes(&mut bytes, 9);
        assert_eq!(record_from_bytes(&bytes).unwrap(), record(9));
    }

    #[test]
    fn what_cannot_be_read_is_told_as_it_came() {
        type Spoil = fn(&mut wire::UsageRecord);
        let spoils: [(Spoil, &str); 7] = [
            (|record| record.client_key_id = -1, "client_key_id"),
            (|record| record.cost_nanos = -1, "cost_nanos"),
            (|record| record.images = -1, "images"),
            (|record| record.measure = 0, "measure"),
            (|record| record.held_nanos = -1, "held_nanos"),
            (|record| record.made[0].kind = "?".to_owned(), "kind"),
            (|record| record.made[0].expire_time = None, "expire_time"),
        ];
        for (spoil, field) in spoils {
            let mut wire = record_to_wire(&record(1));
            spoil(&mut wire);
            let batch = vec![wire.clone(), record_to_wire(&record(2))];
            let (read, unfit) = batch_from_wire(batch).unwrap();
            assert_eq!(read, [record(2)], "{field}");
            assert_eq!(unfit.len(), 1, "{field}");
            assert!(unfit[0].reason.contains(field), "{}", unfit[0].reason);
            assert_eq!(unfit[0].request_id, "r", "{field}");
            assert_eq!(unfit[0].record, wire.encode_to_vec(), "{field}");
        }
    }

    #[test]
    fn a_batch_that_does_not_ascend_is_refused() {
        let wire = |sequences: [u64; 2]| sequences.map(|s| record_to_wire(&record(s))).to_vec();
        assert!(batch_from_wire(wire([1, 2])).is_ok());
        assert!(batch_from_wire(wire([2, 2])).is_err());
        assert!(batch_from_wire(wire([2, 1])).is_err());
        assert!(batch_from_wire(wire([0, 1])).is_err());
    }

    #[test]
    fn a_negative_cost_is_refused() {
        let mut wire = record_to_wire(&record(1));
        wire.cost_nanos = -1;
        assert_eq!(record_from_wire(wire).unwrap_err().field, "cost_nanos");
    }
}

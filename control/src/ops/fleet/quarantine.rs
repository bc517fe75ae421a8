//! Usage that cannot be posted: how it is detected and logged.

use proxyxai_contract::{
    convert::UnpostableRecord, id::NodeName, money::Money, usage::UsageRecord,
};

use crate::Error;

/// Far beyond what data planes report, and small enough that the sums of all records stay in range.
const TOKENS_MAX: u64 = 10_000_000_000;
/// A million dollars.
const COST_MAX: Money = Money::from_nanos(1_000_000_000_000_000);

/// What makes a record unfit for posting.
pub(super) fn problem(record: &UsageRecord) -> Option<&'static str> {
    let tokens = &record.tokens;
    let counts = [
        tokens.input,
        tokens.cached,
        tokens.cache_write,
        tokens.cache_write_hour,
        tokens.output,
        tokens.reasoning,
        tokens.input_audio,
        tokens.output_audio,
        tokens.input_image,
        tokens.output_image,
        record.images.count,
    ];
    let lines = record.sum.lines.iter().map(|line| line.quantity);
    if counts
        .into_iter()
        .chain(lines)
        .any(|count| count > TOKENS_MAX)
    {
        return Some("its counts are beyond what any call can have");
    }
    (record.cost > COST_MAX).then_some("its cost is beyond what any call can have")
}

/// An error with its causes, as text.
pub(super) fn reason(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Logs the quarantined records.
pub(super) fn tell(node: &NodeName, unfit: &[UnpostableRecord]) {
    for unfit in unfit {
        tracing::error!(
            %node, sequence = unfit.sequence, request.id = unfit.request_id, account.id = unfit.account,
            reason = unfit.reason, "a usage record cannot be posted and is set aside; `proxyxai verify` lists it"
        );
    }
}

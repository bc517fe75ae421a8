//! The most that a call can cost, which is reserved before it begins. Where neither the request nor the price table
//! sets a bound, one is assumed, and the call is marked as one that may cost more.

use proxyxai_contract::{
    bill::{self, UsageCeiling},
    money::Money,
    part::BillPart,
    price::ModelPrice,
    snapshot::AccountConfig,
    tokens::ImageUsage,
};

use crate::formats::{request::RequestTools, sound::CLAIM_MS_PER_BYTE};

/// Most tokens of a response, where neither the request nor the price table says.
const OUTPUT_TOKENS_DEFAULT: u64 = 16_384;
/// Tokens of a provider's own prompt about tools. Anthropic's is the longest: 346 for any tool, 735 for a screen, 700
/// for an editor (<https://platform.claude.com/docs/en/about-claude/pricing#tool-use-pricing>).
const TOOL_TOKENS: u64 = 2_048;
/// A search unit of a reranker is a query with up to a hundred documents; none is shorter than four bytes.
const SEARCH_UNIT_BYTES: u64 = 400;
/// Bounds to assume where there is nothing better.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assumed {
    /// Tokens that a model reads, where the price table has no maximum.
    pub(crate) input: u64,
    /// Uses of each tool that the provider runs, where the request does not limit them.
    pub(crate) uses: u64,
}

/// Bounds of a call that its request states.
#[derive(Debug, Clone)]
pub(crate) struct RequestBounds<'a> {
    /// Bytes of the request; a token of text has at least one byte.
    pub(crate) body_bytes: usize,
    /// Whether the model may read more than the text in the request.
    pub(crate) reads_more: bool,
    /// Most tokens of the response.
    pub(crate) max_tokens: Option<u64>,
    /// Number of choices in the response.
    pub(crate) choices: u64,
    /// Images in the response.
    pub(crate) images: ImageUsage,
    /// The service tier.
    pub(crate) tier: Option<&'a str>,
    /// Tools, and how often those that the provider runs may be used in all.
    pub(crate) tools: &'a RequestTools,
    pub(crate) tool_calls_max: Option<u64>,
    pub(crate) assumed: Assumed,
}

/// The most a call can cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CostCeiling {
    /// The amount to reserve.
    pub(crate) hold: Money,
    /// Whether it may cost more all the same, because a bound was assumed.
    pub(crate) open: bool,
    /// The most tokens of the response.
    pub(crate) output: u64,
}

/// The most that a call can use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MaxUsage {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) pieces: Vec<(BillPart, u64)>,
    /// Whether a bound was assumed.
    pub(crate) open: bool,
}

/// The most that a call can cost its account. A model without a price costs nothing.
pub(crate) fn ceiling(
    price: Option<&ModelPrice>,
    bounds: &RequestBounds<'_>,
    account: &AccountConfig,
) -> CostCeiling {
    let Some(price) = price else {
        return CostCeiling::default();
    };
    let uses = uses(price, bounds);
    let most = UsageCeiling {
        input: uses.input,
        output: uses.output,
        images: &bounds.images,
        pieces: &uses.pieces,
        tier: bounds.tier,
    };
    let hold = bill::ceiling(price, &most, account.rates, account.factor);
    CostCeiling {
        hold: hold.unwrap_or(Money::MAX),
        open: uses.open,
        output: uses.output,
    }
}

/// The most that a call can use. With each use of a tool that the provider runs, the model reads its context and writes
/// once more: providers report the sum of all passes.
pub(crate) fn uses(price: &ModelPrice, bounds: &RequestBounds<'_>) -> MaxUsage {
    let RequestBounds { assumed, tools, .. } = *bounds;
    let mut pieces = pieces(price, bounds);
    let (mut runs, mut open) = (0u64, false);
    for run in &tools.runs {
        let stated = least(run.uses, bounds.tool_calls_max);
        open |= stated.is_none();
        let uses = stated.unwrap_or(assumed.uses);
        runs = runs.saturating_add(uses);
        pieces.extend(run.fee.map(|fee| (fee, uses)));
    }
    let passes = least(Some(runs), bounds.tool_calls_max).unwrap_or(runs);
    let passes = passes.saturating_add(1);

    let bytes = u64::try_from(bounds.body_bytes).unwrap_or(u64::MAX);
    let sent = bytes.saturating_add(if tools.any { TOOL_TOKENS } else { 0 });
    let input = if bounds.reads_more || !tools.runs.is_empty() {
        open |= price.max_input.is_none();
        price.max_input.unwrap_or_else(|| assumed.input.max(sent))
    } else {
        // A model refuses what exceeds its context.
        least(price.max_input, Some(sent)).unwrap_or(sent)
    };
    let output = least(bounds.max_tokens, price.max_output);
    open |= output.is_none();
    let output = output.unwrap_or(OUTPUT_TOKENS_DEFAULT);
    MaxUsage {
        input: input.saturating_mul(passes),
        output: output
            .saturating_mul(bounds.choices.max(1))
            .saturating_mul(passes),
        pieces,
        open,
    }
}

/// The smaller of two optional bounds.
fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// What a model charges beside tokens and tools, where it has a price for that.
fn pieces(price: &ModelPrice, bounds: &RequestBounds<'_>) -> Vec<(BillPart, u64)> {
    let bytes = u64::try_from(bounds.body_bytes).unwrap_or(u64::MAX);
    let units = &price.standard.units;
    let by_size = [
        BillPart::WebSearchLow,
        BillPart::WebSearchMedium,
        BillPart::WebSearchHigh,
    ];
    // A model with a price by the size of a search searches with every call, asked or not.
    let searches = by_size.iter().any(|part| units.own(*part).is_some());
    let context = price.max_input.unwrap_or(bounds.assumed.input);
    let all = [
        (BillPart::WebSearch, u64::from(searches)),
        (BillPart::Query, bounds.assumed.uses),
        (BillPart::Citation, context),
        (BillPart::Character, bytes),
        (BillPart::AudioHour, bytes.saturating_mul(CLAIM_MS_PER_BYTE)),
        (BillPart::SearchUnit, 1 + bytes / SEARCH_UNIT_BYTES),
        (BillPart::Document, 1 + bytes / SEARCH_UNIT_BYTES),
    ];
    let priced = |part: BillPart| match part {
        BillPart::WebSearch => searches,
        part => units.own(part).is_some(),
    };
    all.into_iter()
        .filter(|(part, quantity)| *quantity > 0 && priced(*part))
        .collect()
}

/// A ceiling that covers several calls together.
pub(crate) fn together(ceilings: impl IntoIterator<Item = CostCeiling>) -> CostCeiling {
    let both = |one: CostCeiling, other: CostCeiling| CostCeiling {
        hold: one.hold.saturating_add(other.hold),
        open: one.open || other.open,
        output: one.output.saturating_add(other.output),
    };
    ceilings.into_iter().fold(CostCeiling::default(), both)
}

/// A ceiling that covers any one of several: a call may be answered by any of its models.
pub(crate) fn dearest(ceilings: impl IntoIterator<Item = CostCeiling>) -> CostCeiling {
    let worse = |one: CostCeiling, other: CostCeiling| CostCeiling {
        hold: one.hold.max(other.hold),
        open: one.open || other.open,
        output: one.output.max(other.output),
    };
    ceilings.into_iter().fold(CostCeiling::default(), worse)
}

#[cfg(test)]
#[path = "ceiling_tests.rs"]
mod tests;

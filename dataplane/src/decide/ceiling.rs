//! What a call may cost at most: that much is set aside before it begins. What its request and the price table do not
//! bound is assumed, and the call is known for one that may cost more.

use proxyxai_contract::{
    bill::{self, UsageCeiling},
    money::Money,
    part::BillPart,
    price::ModelPrice,
    snapshot::AccountConfig,
    tokens::ImageUsage,
};

use crate::formats::{request::RequestTools, sound::CLAIM_MS_PER_BYTE};

/// Most tokens of an answer when neither the request nor the price table tells.
const OUTPUT_TOKENS_DEFAULT: u64 = 16_384;
/// What providers tell a model about tools in words of their own, in tokens. Anthropic tells the most: 346 for any, 735
/// for a screen, 700 for an editor (<https://platform.claude.com/docs/en/about-claude/pricing#tool-use-pricing>).
const TOOL_TOKENS: u64 = 2_048;
/// A search unit of a reranker is a query with up to a hundred documents; none is shorter than four bytes.
const SEARCH_UNIT_BYTES: u64 = 400;
/// What counts where nothing tells better.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assumed {
    /// Tokens that a model reads, where the price table does not have the most.
    pub(crate) input: u64,
    /// Uses of each tool that the provider runs, where the request does not say how many there may be.
    pub(crate) uses: u64,
}

/// Bounds of a call as its request states them.
#[derive(Debug, Clone)]
pub(crate) struct RequestBounds<'a> {
    /// Bytes of the request; a token of text is at least one.
    pub(crate) body_bytes: usize,
    /// Whether the model may read what is not there as text.
    pub(crate) reads_more: bool,
    /// Most tokens the answer may have.
    pub(crate) max_tokens: Option<u64>,
    /// Answers asked for.
    pub(crate) choices: u64,
    /// Pictures asked for.
    pub(crate) images: ImageUsage,
    /// The tier asked for.
    pub(crate) tier: Option<&'a str>,
    /// Tools, and how often those that the provider runs may be used in all.
    pub(crate) tools: &'a RequestTools,
    pub(crate) tool_calls_max: Option<u64>,
    pub(crate) assumed: Assumed,
}

/// The most a call can cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CostCeiling {
    /// What is set aside.
    pub(crate) hold: Money,
    /// Whether it may cost more all the same, because something was assumed.
    pub(crate) open: bool,
    /// The most tokens that its answer may have.
    pub(crate) output: u64,
}

/// What a call uses at most.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MaxUsage {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) pieces: Vec<(BillPart, u64)>,
    /// Something of it was assumed.
    pub(crate) open: bool,
}

/// The most a call can cost its account. Without a price it costs nothing.
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

/// The most a call can use. With each use of a tool that the provider runs, the model reads its context once more, and
/// writes once more: providers report the sum of all passes.
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
    let told = bytes.saturating_add(if tools.any { TOOL_TOKENS } else { 0 });
    let input = if bounds.reads_more || !tools.runs.is_empty() {
        open |= price.max_input.is_none();
        price.max_input.unwrap_or_else(|| assumed.input.max(told))
    } else {
        // A model refuses what is beyond its context.
        least(price.max_input, Some(told)).unwrap_or(told)
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

/// The smaller of two bounds, of which each may not be there.
fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// What a model is charged for beside tokens and tools, where it has a price for that.
fn pieces(price: &ModelPrice, bounds: &RequestBounds<'_>) -> Vec<(BillPart, u64)> {
    let bytes = u64::try_from(bounds.body_bytes).unwrap_or(u64::MAX);
    let units = &price.standard.units;
    let by_size = [
        BillPart::WebSearchLow,
        BillPart::WebSearchMedium,
        BillPart::WebSearchHigh,
    ];
    // A model with a price by the size of a search does one with every call, asked or not.
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

/// What covers all of several ceilings together.
pub(crate) fn together(ceilings: impl IntoIterator<Item = CostCeiling>) -> CostCeiling {
    let both = |one: CostCeiling, other: CostCeiling| CostCeiling {
        hold: one.hold.saturating_add(other.hold),
        open: one.open || other.open,
        output: one.output.saturating_add(other.output),
    };
    ceilings.into_iter().fold(CostCeiling::default(), both)
}

/// What covers each of several ceilings: a call may be answered by any of its models.
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

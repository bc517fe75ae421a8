//! A call's usage record at its start, and what it takes from the request.

use proxyxai_contract::{
    bill::CallBill,
    clock::Millis,
    money::Money,
    plan::RoutePlan,
    tokens::{ImageUsage, TokenUsage},
    usage::{UsageMeasure, UsageRecord},
};

use super::request::PreparedRequest;
use crate::{
    formats::request::AskedImages,
    state::{Caller, Snapshot},
};

const PATH_BYTES_MAX: usize = 255;
/// Names are part of database keys, whose length is limited.
const NAME_BYTES_MAX: usize = 255;
/// Status of a call whose client or data plane went away before there was a response.
pub(super) const INTERRUPTED: u16 = 499;

/// The record of a call of which only the request is known.
pub(super) fn begun(
    snapshot: &Snapshot,
    Caller { account, key }: &Caller,
    request: &PreparedRequest,
    plan: &RoutePlan,
) -> UsageRecord {
    let asked = request.facts.model.as_deref().unwrap_or_default();
    UsageRecord {
        sequence: 0,
        request_id: request.request_id.clone(),
        account: account.account.id,
        client_key: key.as_ref().map(|state| state.key.id),
        path: short(request.path(), PATH_BYTES_MAX),
        model_asked: short(asked, NAME_BYTES_MAX),
        model_used: short(plan.model(), NAME_BYTES_MAX),
        key: None,
        level: plan.level().unwrap_or(account.account.level),
        tries: 0,
        status: INTERRUPTED,
        tokens: TokenUsage::default(),
        images: images(
            snapshot,
            plan.model(),
            request.path(),
            request.facts.pictures(),
        ),
        tier: String::new(),
        sum: CallBill::default(),
        measure: UsageMeasure::Measured,
        cost: Money::ZERO,
        priced: false,
        price_version: String::new(),
        rates: Some(account.account.rates),
        factor: Some(account.account.factor),
        start: request.start,
        duration_ms: 0,
        first_byte_ms: 0,
        streamed: false,
        objects: None,
        tag: String::new(),
        abandoned: None,
        attempts: Vec::new(),
        expense: None,
    }
}

/// A model's name, cut to the limit.
pub(super) fn name(model: &str) -> String {
    short(model, NAME_BYTES_MAX)
}

/// The images a call asks for, if its model is priced by the image or may be one day.
pub(super) fn images(
    snapshot: &Snapshot,
    model: &str,
    path: &str,
    asked: AskedImages<'_>,
) -> ImageUsage {
    let priced = snapshot.prices.find(model);
    let by_piece = priced.is_some_and(|price| price.image.is_some());
    if !by_piece && !path.starts_with("/v1/images/") {
        return ImageUsage::default();
    }
    ImageUsage {
        count: asked.count,
        size: plain_size(asked.size),
    }
}

/// The size of an image as price tables have it: `1024x1024`.
fn plain_size(said: &str) -> String {
    let kept = said.chars().filter(|char| !char.is_whitespace());
    kept.map(|char| match char {
        'X' | '*' | '\u{d7}' => 'x',
        other => other.to_ascii_lowercase(),
    })
    .collect()
}

pub(super) fn elapsed(start: Millis, now: Millis) -> u64 {
    u64::try_from(now.since(start)).unwrap_or_default()
}

fn short(text: &str, bytes_max: usize) -> String {
    let end = (0..=bytes_max.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default())
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::plain_size;

    #[test]
    fn a_size_is_one_however_it_is_spelled() {
        for said in [
            "1024x1792",
            "1024X1792",
            " 1024 x 1792 ",
            "1024*1792",
            "1024\u{d7}1792",
        ] {
            assert_eq!(plain_size(said), "1024x1792", "{said}");
        }
        assert_eq!(plain_size("Auto"), "auto");
    }
}

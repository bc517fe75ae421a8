//! Properties of what calls on a key cost the operator.

use proptest::prelude::*;

use super::*;
use crate::{
    bill::{self, BilledUsage, CallBill},
    clock::Millis,
    id::{AccountId, KeyId, Level},
    price_file,
    tokens::{ImageUsage, TokenUsage},
    usage::UsageMeasure,
};

const TABLE: &str = r#"{"Version":"2026-10-01","Providers":{"acme":["api.acme.test"]},"ChatPricing":{
    "house":{"InputText":2,"OutputText":10,"CachedText":1,"Rates":3},
    "acme/shared":{"InputText":7,"OutputText":7},
    "shared":{"InputText":1,"OutputText":1}}}"#;

fn record(model: &str) -> UsageRecord {
    let table = price_file::compose(TABLE, None).unwrap();
    let tokens = TokenUsage {
        input: 600_000,
        cached: 100_000,
        output: 50_000,
        ..TokenUsage::default()
    };
    let mut record = UsageRecord {
        sequence: 1,
        request_id: "r".to_owned(),
        account: AccountId::ROOT,
        client_key: None,
        path: "/v1/chat/completions".to_owned(),
        model_asked: model.to_owned(),
        model_used: model.to_owned(),
        key: Some(KeyId::new(1).unwrap()),
        level: Level::ZERO,
        tries: 1,
        status: 200,
        tokens,
        images: ImageUsage::default(),
        tier: String::new(),
        sum: CallBill::default(),
        measure: UsageMeasure::Measured,
        cost: Money::ZERO,
        priced: true,
        price_version: "v".to_owned(),
        rates: Some(Multiplier::from_number(2.0).unwrap()),
        factor: Some(Multiplier::from_number(1.5).unwrap()),
        start: Millis(0),
        duration_ms: 0,
        first_byte_ms: 0,
        streamed: false,
        objects: None,
        tag: String::new(),
        abandoned: None,
        attempts: Vec::new(),
        expense: None,
    };
    let used = BilledUsage {
        tokens: &record.tokens,
        images: &record.images,
        pieces: &[],
        tier: "",
    };
    record.sum = match table.find(model) {
        Some(price) => bill::lines(price, &used),
        None => bill::without_price(&used),
    };
    let (rates, factor) = (record.rates.unwrap(), record.factor.unwrap());
    record.cost = record.sum.cost(rates, factor).unwrap();
    record
}

fn expense(price: &str, model: &str) -> String {
    let list = price_file::compose(TABLE, None).unwrap();
    let fields = PriceEntries::of(TABLE, None).unwrap();
    let terms = KeyPrice::parse(price).unwrap();
    let terms = terms.terms("api.acme.test", &list, &fields);
    assert_eq!(terms.provider, "acme");
    terms.expense(&record(model)).to_string()
}

#[test]
fn a_key_costs_the_list_without_what_is_put_on_top() {
    // 500,000 × $2 + 100,000 × $1 + 50,000 × $10, per million; neither ×3 of the model nor ×2 and ×1.5 of the account.
    assert_eq!(expense("", "house"), "$1.6");
    assert_eq!(record("house").cost.to_string(), "$14.4");
}

#[test]
fn a_rule_says_what_calls_cost_instead() {
    for (price, expected) in [
        (r#"{"Factor":0.7}"#, "$1.12"),
        (r#"{"Factor":0}"#, "$0"),
        (r#"{"Free":true}"#, "$0"),
        (r#"{"Free":false}"#, "$1.6"),
        (r#"{"Monthly":200}"#, "$0"),
        (r#"{"Monthly":200,"Factor":0.5}"#, "$0.8"),
        (r#"{"Models":{"house":{"InputText":1}}}"#, "$1.1"),
        (
            r#"{"Models":{"house":{"CachedText":0}},"Factor":9}"#,
            "$1.5",
        ),
        (
            r#"{"Models":{"other":{"InputText":1}},"Factor":0.5}"#,
            "$0.8",
        ),
    ] {
        assert_eq!(expense(price, "house"), expected, "{price}");
    }
}

#[test]
fn what_the_list_has_of_the_provider_alone_counts_first() {
    assert_eq!(expense("", "shared"), "$4.55");
    assert_eq!(expense(r#"{"Factor":2}"#, "shared"), "$9.1");
    assert_eq!(
        expense(r#"{"Models":{"shared":{"OutputText":0}}}"#, "shared"),
        "$4.2"
    );
}

#[test]
fn a_model_that_no_list_has_can_have_a_price_of_the_keys() {
    assert_eq!(expense("", "unknown"), "$0");
    let own = r#"{"Models":{"unknown":{"InputText":2,"OutputText":2}}}"#;
    assert_eq!(expense(own, "unknown"), "$1.3");
    let half = r#"{"Models":{"unknown":{"CachedText":2}}}"#;
    assert_eq!(expense(half, "unknown"), "$0");
}

#[test]
fn what_was_not_paid_for_and_what_no_key_answered_cost_nothing() {
    let list = price_file::compose(TABLE, None).unwrap();
    let terms = KeyPrice::parse(r#"{"Models":{"house":{"Call":1}}}"#).unwrap();
    let terms = terms.terms(
        "elsewhere.test",
        &list,
        &PriceEntries::of(TABLE, None).unwrap(),
    );
    assert_eq!(terms.provider, "elsewhere.test");
    let nobody = UsageRecord {
        key: None,
        ..record("house")
    };
    let failed = UsageRecord {
        sum: CallBill::default(),
        cost: Money::ZERO,
        ..record("house")
    };
    for record in [nobody, failed] {
        assert_eq!(terms.expense(&record), Money::ZERO);
    }
}

#[test]
fn a_cost_without_lines_is_brought_back_to_the_list() {
    let unseen = UsageRecord {
        sum: CallBill::default(),
        cost: Money::from_nanos(3_000),
        ..record("house")
    };
    let terms = ExpenseRule::default();
    assert_eq!(terms.expense(&unseen).nanos(), 1_000);
}

#[test]
fn what_is_no_rule_is_refused_by_name() {
    for (price, field) in [
        ("x", "price"),
        ("[]", "price"),
        (r#"{"factor":1}"#, "price.factor"),
        (r#"{"Factor":-1}"#, "price.Factor"),
        (r#"{"Factor":"1"}"#, "price.Factor"),
        (r#"{"Free":1}"#, "price.Free"),
        (r#"{"Free":true,"Factor":1}"#, "price.Free"),
        (r#"{"Monthly":-1}"#, "price.Monthly"),
        (r#"{"Models":[]}"#, "price.Models"),
        (r#"{"Models":{"":{}}}"#, "price.Models"),
        (r#"{"Models":{"m":1}}"#, "price.Models.m"),
        (r#"{"Models":{"m":{"Rates":2}}}"#, "price.Models.m"),
        (
            r#"{"Models":{"m":{"InputTxt":2}}}"#,
            "price.Models.m.InputTxt",
        ),
        (
            r#"{"Models":{"m":{"InputText":-2}}}"#,
            "price.Models.m.InputText",
        ),
    ] {
        assert_eq!(KeyPrice::parse(price).unwrap_err().field, field, "{price}");
    }
}

proptest! {
    #[test]
    fn a_rule_is_read_as_it_is_written(factor in proptest::option::of(0u32..10_000), monthly in 0u32..10_000, input in 0u32..100) {
        let factor = factor.map(|factor| format!(r#""Factor":{},"#, f64::from(factor) / 100.0)).unwrap_or_default();
        let text = format!(r#"{{{factor}"Monthly":{monthly},"Models":{{"m":{{"InputText":{input}}}}}}}"#);
        let price = KeyPrice::parse(&text).unwrap();
        prop_assert_eq!(KeyPrice::parse(&price.text()), Ok(price.clone()));
        prop_assert_eq!(price.monthly().nanos(), i64::from(monthly) * Money::PER_DOLLAR);
    }

    #[test]
    fn a_factor_is_one_multiplication_of_the_list(micros in 1i64..10_000_000) {
        let factor = Multiplier::from_micros(micros).unwrap();
        let terms = KeyPrice::parse(&format!(r#"{{"Factor":{}}}"#, factor.number())).unwrap();
        let list = price_file::compose(TABLE, None).unwrap();
        let terms = terms.terms("x", &list, &PriceEntries::default());
        let whole = Money::from_dollars(1.6).unwrap();
        prop_assert_eq!(Some(terms.expense(&record("house"))), whole.scale(factor, Multiplier::ONE));
    }
}

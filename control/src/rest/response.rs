//! Parts that several responses share.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::HeaderValue;
use proxyxai_contract::{
    clock::Zone,
    money::{Money, Multiplier},
};
use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use serde::{Serialize, Serializer};
use utoipa::{
    ToSchema,
    openapi::{
        ObjectBuilder, Schema, Type,
        header::{Header, HeaderBuilder},
    },
};

use crate::model::{Card, Listing, Page, UsageTotals};

/// The headers that describe a page of a listing.
pub(super) const PAGE_HEADERS: [(&str, &str); 4] = [
    ("x-total-count", "Rows of the whole listing"),
    ("x-page", "Number of this page"),
    ("x-per-page", "Rows of a page"),
    ("x-total-pages", "Pages of the whole listing"),
];

/// A response with page headers.
#[derive(Debug)]
pub(super) struct WithPageHeaders<A> {
    pub(super) answer: A,
    pub(super) total: u64,
    pub(super) page: Page,
}

/// A bare array; the page headers describe its place in the listing.
#[derive(Debug)]
pub(super) struct PagedResponse<R>(WithPageHeaders<Vec<R>>);

pub(super) fn paged<T, R: Serialize>(
    listing: Listing<T>,
    page: Page,
    row: impl FnMut(T) -> R,
) -> PagedResponse<R> {
    PagedResponse(WithPageHeaders {
        answer: listing.rows.into_iter().map(row).collect(),
        total: listing.total,
        page,
    })
}

impl<R: Serialize> IntoResponse for PagedResponse<R> {
    fn into_response(self) -> Response {
        let WithPageHeaders {
            answer,
            total,
            page,
        } = self.0;
        let answer = Json(answer);
        WithPageHeaders {
            answer,
            total,
            page,
        }
        .into_response()
    }
}

impl<A: IntoResponse> IntoResponse for WithPageHeaders<A> {
    fn into_response(self) -> Response {
        let Self {
            answer,
            total,
            page,
        } = self;
        let pages = total.div_ceil(page.size.max(1));
        let numbers = [total, page.page, page.size, pages];
        let mut response = answer.into_response();
        for ((name, _), number) in PAGE_HEADERS.into_iter().zip(numbers) {
            let number = HeaderValue::from(number);
            response.headers_mut().insert(name, number);
        }
        response
    }
}

/// The documentation of a page header.
pub(super) fn page_header(about: &str) -> Header {
    let number = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0));
    HeaderBuilder::new()
        .schema(Some(number))
        .description(Some(about))
        .build()
}

/// The schema of a text with a fixed set of values.
pub(super) fn words(words: impl IntoIterator<Item = &'static str>) -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
        .into()
}

/// Shown instead of a secret.
pub(super) const MASK: &str = "***";

pub(super) fn mask() -> Schema {
    words([MASK])
}

/// Money as a JSON number of dollars; whole dollars without a fraction.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(value_type = f64)]
pub(super) struct Dollars(pub(super) Money);

impl Serialize for Dollars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        number(serializer, self.0.nanos(), 1_000_000_000, self.0.dollars())
    }
}

/// A multiplier as a JSON number.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(value_type = f64)]
pub(super) struct Ratio(pub(super) Multiplier);

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        number(serializer, self.0.micros(), 1_000_000, self.0.number())
    }
}

fn number<S: Serializer>(
    serializer: S,
    parts: i64,
    per_whole: i64,
    value: f64,
) -> Result<S::Ok, S::Error> {
    if parts % per_whole == 0 {
        serializer.serialize_i64(parts / per_whole)
    } else {
        serializer.serialize_f64(value)
    }
}

/// Use over a day or a month.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Use)]
pub(super) struct UsedTotals {
    #[serde(rename = "CreditUsed")]
    cost: Dollars,
    requests: u64,
    prompt: u64,
    completion: u64,
    cached: u64,
}

impl From<UsageTotals> for UsedTotals {
    fn from(totals: UsageTotals) -> Self {
        let UsageTotals {
            requests,
            input,
            cached,
            output,
            cost,
        } = totals;
        Self {
            cost: Dollars(cost),
            requests,
            prompt: input,
            completion: output,
            cached,
        }
    }
}

/// The percentage of a part, to two decimals; 0 if the whole is 0.
pub(super) fn percentage(part: impl Into<Decimal>, whole: impl Into<Decimal>) -> f64 {
    let share = part.into().checked_div(whole.into()).unwrap_or_default();
    let percent = share.checked_mul(Decimal::ONE_HUNDRED).unwrap_or_default();
    percent.round_dp(2).to_f64().unwrap_or_default()
}

/// An element of `CreditBalance`.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Card)]
pub(super) struct CardRow {
    amount: Dollars,
    balance: Dollars,
    #[serde(skip_serializing_if = "String::is_empty")]
    reference: String,
    #[schema(format = DateTime)]
    granted_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Cards of an account, in their order.
pub(super) fn cards(cards: &[Card], zone: &Zone) -> Vec<CardRow> {
    let row = |card: &Card| {
        let Card {
            amount,
            balance,
            reference,
            granted,
            expires,
        } = card;
        CardRow {
            amount: Dollars(*amount),
            balance: Dollars(*balance),
            reference: reference.clone(),
            granted_at: zone.rfc3339(*granted),
            expires_at: zone.rfc3339(*expires),
        }
    };
    cards.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_a_json_number_of_dollars() {
        let text = |nanos| serde_json::to_string(&Dollars(Money::from_nanos(nanos))).unwrap();
        assert_eq!(text(100_000_000_000), "100");
        assert_eq!(text(-200_000_000), "-0.2");
        assert_eq!(text(9_719_800_000_000), "9719.8");
        assert_eq!(text(1), "1e-9");
        assert_eq!(text(0), "0");
    }

    #[test]
    fn a_percentage_has_two_places() {
        assert_eq!(percentage(1, 3).to_string(), "33.33");
        assert_eq!(percentage(2, 2).to_string(), "100");
        assert_eq!(percentage(0, 0).to_string(), "0");
    }

    #[test]
    fn the_last_page_counts_in_full() {
        let listing = Listing {
            rows: vec![1, 2],
            total: 5,
        };
        let response = paged(listing, Page { page: 2, size: 2 }, |row| row).into_response();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(
            PAGE_HEADERS.map(|(name, _)| header(name)),
            ["5", "2", "2", "3"]
        );
    }
}

//! What handlers take from a request: who asks, the body, the query, the named part of the path.
//! Every refusal is in the documented error shape.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use axum::{
    body::Bytes,
    extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Query, Request},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use proxyxai_contract::{
    Invalid, client_key,
    id::{KeyId, Level},
    money::Multiplier,
};

use super::{failure::Failure, fields::Fields};
use crate::{
    Control, Error, ops,
    view::{Caller, Labels, Order, Page},
};

/// A body of a MiB comes in less on any line; longer, and it only holds a connection.
const BODY_MAX: Duration = Duration::from_secs(30);
const PAGE_ROWS_MAX: u64 = 1000;
/// Far beyond any listing, and small enough that row numbers cannot overflow.
const PAGE_NUMBER_MAX: u64 = 1_000_000_000;

/// The account whose key the request carries.
#[derive(Debug)]
pub(super) struct Asker(pub(super) Caller);

impl FromRequestParts<Control> for Asker {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Failure> {
        let key = presented(&parts.headers).ok_or(Error::Unauthenticated)?;
        // Whoever serves the routes says where a request came from.
        let address = parts.extensions.get::<ConnectInfo<IpAddr>>();
        let address = address.map(|ConnectInfo(address)| *address);
        let caller = ops::auth::authenticate(control, key, address).await?;
        Ok(Self(caller))
    }
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name)?.to_str().ok();
    client_key::presented(text(header::AUTHORIZATION.as_str()), text("x-api-key"))
}

/// The body, whatever its content type says: `curl -d` calls everything a form.
impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let body = tokio::time::timeout(BODY_MAX, Bytes::from_request(request, state)).await;
        let body = body.map_err(|_| Failure::SLOW_BODY)?;
        let body = body.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Failure::TOO_LARGE,
            _ => Invalid::new("body", "could not be read").into(),
        })?;
        Ok(Self::parse(&body)?)
    }
}

/// The named part of the path, percent-decoded.
#[derive(Debug)]
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(_) => Err(Invalid::new("path", "is not valid text").into()),
        }
    }
}

impl Segment {
    /// `L3` filters by level.
    pub(super) fn level_filter(&self) -> Result<Option<Level>, Invalid> {
        short_filter(&self.0, 'L').map(Level::new).transpose()
    }

    /// `L3`, `G1`, `R2`, `T1` and `F2` filter by level, gear, role, tier and factor.
    pub(super) fn labels(&self) -> Result<Option<Labels>, Invalid> {
        labels_of(&self.0)
    }

    pub(super) fn key_id(&self) -> Result<KeyId, Invalid> {
        let id = self.0.parse().map_err(|_| not_whole("ID"))?;
        KeyId::new(id).map_err(|error| error.under("ID"))
    }
}

/// The query. A parameter without a value counts as absent.
#[derive(Debug)]
pub(super) struct Params(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::<BTreeMap<String, String>>::from_request_parts(parts, state).await {
            Ok(Query(mut params)) => {
                params.retain(|_, value| !value.is_empty());
                Ok(Self(params))
            }
            Err(_) => Err(Invalid::new("query", "is not a valid query").into()),
        }
    }
}

impl Params {
    #[cfg(test)]
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self(pairs.iter().map(owned).collect())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn whole(&self, name: &str) -> Result<Option<i64>, Invalid> {
        let number = self.text(name).map(str::parse).transpose();
        number.map_err(|_| not_whole(name))
    }

    pub(super) fn level(&self) -> Result<Option<Level>, Invalid> {
        let level = self.whole("level")?.map(Level::new).transpose();
        level.map_err(|error| error.under("level"))
    }

    /// Accounts with these labels, by `level`, `gear`, `role`, `tier` and `factor`.
    pub(super) fn labels(&self) -> Result<Labels, Invalid> {
        let out_of_range = |name: &str| Invalid::new(name, "is out of range");
        let label = |name: &str| -> Result<Option<i32>, Invalid> {
            let number = self.whole(name)?.map(i32::try_from).transpose();
            number.map_err(|_| out_of_range(name))
        };
        let gear = self.whole("gear")?.map(u8::try_from).transpose();
        let factor = self.text("factor").map(|text| {
            let number = text
                .parse()
                .map_err(|_| Invalid::new("factor", "must be a number"))?;
            Multiplier::from_number(number).map_err(|error| error.under("factor"))
        });
        Ok(Labels {
            level: self.level()?,
            gear: gear.map_err(|_| out_of_range("gear"))?,
            role: label("role")?,
            tier: label("tier")?,
            factor: factor.transpose()?,
        })
    }

    pub(super) fn order(&self) -> Result<Order, Invalid> {
        let order = self.text("order").map(Order::parse);
        Ok(order.transpose()?.unwrap_or_default())
    }

    pub(super) fn page(&self) -> Result<Page, Invalid> {
        self.page_of(PAGE_ROWS_MAX, PAGE_ROWS_MAX)
    }

    /// A page with this many rows unless another size up to the most is asked for.
    pub(super) fn page_of(&self, rows: u64, rows_max: u64) -> Result<Page, Invalid> {
        let within = |name: &str, otherwise, max| match self.whole(name)?.map(u64::try_from) {
            None => Ok(otherwise),
            Some(Ok(number)) if (1..=max).contains(&number) => Ok(number),
            Some(_) => Err(Invalid::new(name, format!("must be from 1 to {max}"))),
        };
        Ok(Page {
            page: within("page", 1, PAGE_NUMBER_MAX)?,
            size: within("size", rows, rows_max)?,
        })
    }
}

/// A filter that stands where an identifier may stand. With more than two digits it would be a name
/// that somebody may have.
pub(super) fn labels_of(text: &str) -> Result<Option<Labels>, Invalid> {
    let none = Labels::default();
    let Some((letter, number)) = "LGRTF"
        .chars()
        .find_map(|letter| Some((letter, short_filter(text, letter)?)))
    else {
        return Ok(None);
    };
    let label = i32::try_from(number).ok();
    let labels = match letter {
        'L' => Labels {
            level: Some(Level::new(number)?),
            ..none
        },
        'G' => Labels {
            gear: u8::try_from(number).ok(),
            ..none
        },
        'R' => Labels {
            role: label,
            ..none
        },
        'T' => Labels {
            tier: label,
            ..none
        },
        _ => Labels {
            factor: Some(Multiplier::from_micros(number.saturating_mul(1_000_000))?),
            ..none
        },
    };
    Ok(Some(labels))
}

fn short_filter(text: &str, letter: char) -> Option<i64> {
    let digits = text.strip_prefix(letter)?;
    let good = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| good)
}

fn not_whole(field: &str) -> Invalid {
    Invalid::new(field, "must be a whole number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::of(pairs)
    }

    #[test]
    fn all_three_forms_of_a_credential_are_read() {
        for (name, value, key) in [
            ("authorization", "Bearer k", Some("k")),
            ("authorization", "bearer  k ", Some("k")),
            ("authorization", "k", Some("k")),
            ("authorization", "", None),
            ("x-api-key", "k", Some("k")),
            ("api-key", "k", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(presented(&headers), key, "{name}: {value}");
        }
    }

    #[test]
    fn a_page_has_1_to_1000_rows() {
        let page = params(&[("size", "5")]).page().unwrap();
        assert_eq!((page.page, page.size), (1, 5));
        let page = params(&[]).page().unwrap();
        assert_eq!((page.page, page.size), (1, 1000));
        for bad in [
            ("size", "0"),
            ("size", "1001"),
            ("size", "-1"),
            ("page", "0"),
            ("page", "x"),
            ("page", "99999999999999999999"),
        ] {
            assert_eq!(params(&[bad]).page().unwrap_err().field, bad.0, "{bad:?}");
        }
    }

    #[test]
    fn a_letter_and_a_number_filter_by_a_label() {
        let labels = |text| labels_of(text).unwrap();
        let none = Labels::default();
        let gear = Labels {
            gear: Some(2),
            ..none
        };
        assert_eq!(labels("G2"), Some(gear));
        let role = Labels {
            role: Some(12),
            ..none
        };
        assert_eq!(labels("R12"), Some(role));
        let tier = Labels {
            tier: Some(0),
            ..none
        };
        assert_eq!(labels("T0"), Some(tier));
        let factor = Labels {
            factor: Some(Multiplier::ONE),
            ..none
        };
        assert_eq!(labels("F1"), Some(factor));
        for name in ["Gina", "G123", "X1", "F1.5", "g1", ""] {
            assert_eq!(labels(name), None, "{name}");
        }
        assert!(labels_of("L11").is_err());
        assert!(labels_of("F0").is_err());
    }

    #[test]
    fn only_l_and_digits_filter_by_level() {
        let level = |text: &str| Segment(text.to_owned()).level_filter();
        assert_eq!(level("L3").unwrap(), Some(Level::new(3).unwrap()));
        for name in ["Lisa", "L1234", "L-12", "L+12", "L", "3"] {
            assert_eq!(level(name).unwrap(), None, "{name}");
        }
        assert!(level("L11").is_err());
    }
}

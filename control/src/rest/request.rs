//! Extractors of handlers: the caller, the body, the query and the path parameter. Every error has the documented
//! shape.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use axum::{
    body::Bytes,
    extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Query, Request},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use jiff::civil::Date;
use proxyxai_contract::{
    Invalid, client_key,
    clock::{Millis, Zone},
    id::{KeyId, Level},
    money::Multiplier,
};

use super::{
    body::{self, Body, unknown},
    error::RestError,
    query,
};
use crate::{
    Control, Error,
    model::{AccountLabels, Caller, Page, SortOrder},
    ops,
};

/// On any line, a body of 1 MiB arrives sooner; a longer wait only keeps the connection busy.
const BODY_MAX: Duration = Duration::from_secs(30);
const PAGE_ROWS_MAX: u64 = 1000;
/// Far beyond any listing, and small enough that row numbers cannot overflow.
pub(super) const PAGE_NUMBER_MAX: u64 = 1_000_000_000;

/// The account whose first key the request carries.
#[derive(Debug)]
pub(super) struct AccountCaller(pub(super) Caller);

/// The caller, with its first or a further client key: for what an account reads of itself.
#[derive(Debug)]
pub(super) struct AnyKeyCaller(pub(super) Caller);

impl FromRequestParts<Control> for AccountCaller {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, RestError> {
        let (key, address) = credentials(parts)?;
        let caller = ops::auth::authenticate(control, key, address).await?;
        Ok(Self(caller))
    }
}

impl FromRequestParts<Control> for AnyKeyCaller {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, RestError> {
        let (key, address) = credentials(parts)?;
        let caller = ops::auth::identify(control, key, address).await?;
        Ok(Self(caller))
    }
}

fn credentials(parts: &Parts) -> Result<(&str, Option<IpAddr>), Error> {
    let key = credential_from(&parts.headers).ok_or(Error::Unauthenticated)?;
    // The server that mounts these routes adds the client's address.
    let address = parts.extensions.get::<ConnectInfo<IpAddr>>();
    Ok((key, address.map(|ConnectInfo(address)| *address)))
}

/// Root. Other callers are refused before the body is read, because bodies are large.
#[derive(Debug)]
pub(super) struct RootCaller(pub(super) Caller);

impl FromRequestParts<Control> for RootCaller {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, RestError> {
        let AccountCaller(caller) = AccountCaller::from_request_parts(parts, control).await?;
        ops::prices::check_caller(&caller)?;
        Ok(Self(caller))
    }
}

fn credential_from(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name)?.to_str().ok();
    client_key::credential_from(text(header::AUTHORIZATION.as_str()), text("x-api-key"))
}

/// The body. Its content type is ignored: `curl -d` marks everything as a form.
pub(super) struct JsonBody<B>(pub(super) B);

impl<B: Body, S: Send + Sync> FromRequest<S> for JsonBody<B> {
    type Rejection = RestError;

    async fn from_request(request: Request, state: &S) -> Result<Self, RestError> {
        let body = read(request, state).await?;
        Ok(Self(body::read(&body)?))
    }
}

/// The named part of the path, percent-decoded.
#[derive(Debug)]
pub(super) struct PathParam(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathParam {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, RestError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(_) => Err(Invalid::new("path", "is not valid text").into()),
        }
    }
}

/// The body of a request that may have none.
pub(super) struct OptionalBody<B>(pub(super) Option<B>);

impl<B: Body, S: Send + Sync> FromRequest<S> for OptionalBody<B> {
    type Rejection = RestError;

    async fn from_request(request: Request, state: &S) -> Result<Self, RestError> {
        let body = read(request, state).await?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        Ok(Self(Some(body::read(&body)?)))
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, RestError> {
    let body = tokio::time::timeout(BODY_MAX, Bytes::from_request(request, state)).await;
    let body = body.map_err(|_| RestError::SLOW_BODY)?;
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => RestError::TOO_LARGE,
        _ => Invalid::new("body", "could not be read").into(),
    })
}

impl PathParam {
    /// Reads `L3` as a filter by level.
    pub(super) fn level_filter(&self) -> Result<Option<Level>, Invalid> {
        short_filter(&self.0, 'L').map(Level::new).transpose()
    }

    /// Reads `L3`, `G1`, `R2`, `T1` and `F2` as filters by level, gear, role, tier and factor.
    pub(super) fn labels(&self) -> Result<Option<AccountLabels>, Invalid> {
        labels_of(&self.0)
    }

    pub(super) fn key_id(&self) -> Result<KeyId, Invalid> {
        let id = self.0.parse().map_err(|_| not_whole("ID"))?;
        KeyId::new(id).map_err(|error| error.under("ID"))
    }
}

/// The query. A parameter without a value counts as absent.
#[derive(Debug)]
pub(super) struct QueryParams(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for QueryParams {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, RestError> {
        match Query::<BTreeMap<String, String>>::from_request_parts(parts, state).await {
            Ok(Query(mut params)) => {
                params.retain(|_, value| !value.is_empty());
                Ok(Self(params))
            }
            Err(_) => Err(Invalid::new("query", "is not a valid query").into()),
        }
    }
}

impl QueryParams {
    #[cfg(test)]
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self(pairs.iter().map(owned).collect())
    }

    /// Errors if there is another parameter. Ignoring a misspelt filter would list everything.
    pub(super) fn reject_unknown(&self, queries: &[query::QueryParam]) -> Result<(), Invalid> {
        let names = query::names(queries);
        match self.0.keys().find(|name| !names.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(unknown(name, &names)),
        }
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Invalid> {
        let flag = self.text(name).map(str::parse).transpose();
        flag.map_err(|_| Invalid::new(name, "must be true or false"))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Reads a moment or a day. A day means its first moment or, for the end of a span, its last.
    pub(super) fn moment_or_day(
        &self,
        name: &str,
        zone: &Zone,
        is_last: bool,
    ) -> Result<Option<Millis>, Invalid> {
        let text = self.text(name);
        text.map(|text| moment(name, text, zone, is_last))
            .transpose()
    }

    pub(super) fn int(&self, name: &str) -> Result<Option<i64>, Invalid> {
        let number = self.text(name).map(str::parse).transpose();
        number.map_err(|_| not_whole(name))
    }

    /// A moment in RFC 3339.
    pub(super) fn moment(&self, name: &str) -> Result<Option<Millis>, Invalid> {
        let moment = self.text(name).map(Millis::from_rfc3339).transpose();
        moment.map_err(|error| error.under(name))
    }

    pub(super) fn level(&self) -> Result<Option<Level>, Invalid> {
        let level = self.int("level")?.map(Level::new).transpose();
        level.map_err(|error| error.under("level"))
    }

    /// Reads `level`, `gear`, `role`, `tier` and `factor`.
    pub(super) fn labels(&self) -> Result<AccountLabels, Invalid> {
        let out_of_range = |name: &str| Invalid::new(name, "is out of range");
        let label = |name: &str| -> Result<Option<i32>, Invalid> {
            let number = self.int(name)?.map(i32::try_from).transpose();
            number.map_err(|_| out_of_range(name))
        };
        let gear = self.int("gear")?.map(u8::try_from).transpose();
        let factor = self.text("factor").map(|text| {
            let number = text
                .parse()
                .map_err(|_| Invalid::new("factor", "must be a number"))?;
            Multiplier::from_number(number).map_err(|error| error.under("factor"))
        });
        Ok(AccountLabels {
            level: self.level()?,
            gear: gear.map_err(|_| out_of_range("gear"))?,
            role: label("role")?,
            tier: label("tier")?,
            factor: factor.transpose()?,
        })
    }

    pub(super) fn order(&self) -> Result<SortOrder, Invalid> {
        let order = self.text("order").map(SortOrder::parse);
        Ok(order.transpose()?.unwrap_or_default())
    }

    pub(super) fn page(&self) -> Result<Page, Invalid> {
        self.page_of(PAGE_ROWS_MAX, PAGE_ROWS_MAX)
    }

    /// Reads the page. `rows` is the default size, `rows_max` the largest.
    pub(super) fn page_of(&self, rows: u64, rows_max: u64) -> Result<Page, Invalid> {
        let within = |name: &str, otherwise, max| match self.int(name)?.map(u64::try_from) {
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

/// Reads a filter in the place of an identifier. With more than two digits it could be an account's name.
pub(super) fn labels_of(text: &str) -> Result<Option<AccountLabels>, Invalid> {
    let none = AccountLabels::default();
    if let Some(factor) = factor_filter(text) {
        return Ok(Some(AccountLabels {
            factor: Some(factor?),
            ..none
        }));
    }
    let Some((letter, number)) = "LGRT"
        .chars()
        .find_map(|letter| Some((letter, short_filter(text, letter)?)))
    else {
        return Ok(None);
    };
    let label = i32::try_from(number).ok();
    let labels = match letter {
        'L' => AccountLabels {
            level: Some(Level::new(number)?),
            ..none
        },
        'G' => AccountLabels {
            gear: u8::try_from(number).ok(),
            ..none
        },
        'R' => AccountLabels {
            role: label,
            ..none
        },
        _ => AccountLabels {
            tier: label,
            ..none
        },
    };
    Ok(Some(labels))
}

/// Reads `F2` or `F1.5`: one or two digits, then up to six decimals.
fn factor_filter(text: &str) -> Option<Result<Multiplier, Invalid>> {
    let number = text.strip_prefix('F')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str, most| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole, 2) || !digits(fraction, 6) {
        return None;
    }
    let number = number.parse().ok()?;
    Some(Multiplier::from_number(number).map_err(|error| error.under("factor")))
}

fn short_filter(text: &str, letter: char) -> Option<i64> {
    let digits = text.strip_prefix(letter)?;
    let good = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| good)
}

fn moment(name: &str, text: &str, zone: &Zone, is_last: bool) -> Result<Millis, Invalid> {
    let bad = || Invalid::new(name, "must be a moment in RFC 3339 or a day, YYYY-MM-DD");
    if text.contains(':') {
        return Millis::from_rfc3339(text).map_err(|_| bad());
    }
    let day: Date = text.parse().map_err(|_| bad())?;
    if !is_last {
        return Ok(zone.start_of(day));
    }
    let next = day.tomorrow().map_err(|_| bad())?;
    Ok(zone.start_of(next).plus(-1))
}

fn not_whole(field: &str) -> Invalid {
    Invalid::new(field, "must be a whole number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> QueryParams {
        QueryParams::of(pairs)
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
            assert_eq!(credential_from(&headers), key, "{name}: {value}");
        }
    }

    #[test]
    fn a_day_is_from_its_first_to_its_last_moment() {
        let zone = Zone::new("Asia/Shanghai").unwrap();
        let told = |text, is_last| zone.rfc3339(moment("start", text, &zone, is_last).unwrap());
        assert_eq!(told("2026-03-01", false), "2026-03-01T00:00:00+08:00");
        assert_eq!(told("2026-03-01", true), "2026-03-01T23:59:59.999+08:00");
        assert_eq!(
            told("2026-03-01T00:00:00Z", true),
            "2026-03-01T08:00:00+08:00"
        );
        for bad in [
            "2026-02-30",
            "1",
            "yesterday",
            "2026-03-01T00:00:00",
            "12:00",
            "2026-03-01 ",
        ] {
            assert!(moment("start", bad, &zone, false).is_err(), "{bad}");
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
        let none = AccountLabels::default();
        let gear = AccountLabels {
            gear: Some(2),
            ..none
        };
        assert_eq!(labels("G2"), Some(gear));
        let role = AccountLabels {
            role: Some(12),
            ..none
        };
        assert_eq!(labels("R12"), Some(role));
        let tier = AccountLabels {
            tier: Some(0),
            ..none
        };
        assert_eq!(labels("T0"), Some(tier));
        let factor = AccountLabels {
            factor: Some(Multiplier::ONE),
            ..none
        };
        assert_eq!(labels("F1"), Some(factor));
        assert_eq!(
            labels("F1.5").and_then(|labels| labels.factor),
            Some(Multiplier::from_micros(1_500_000).unwrap())
        );
        for name in [
            "Gina",
            "G123",
            "X1",
            "F1.5x",
            "F.5",
            "F1.",
            "F123.5",
            "F1.1234567",
            "G1.5",
            "g1",
            "",
        ] {
            assert_eq!(labels(name), None, "{name}");
        }
        assert!(labels_of("L11").is_err());
        assert!(labels_of("F0").is_err());
    }

    #[test]
    fn only_l_and_digits_filter_by_level() {
        let level = |text: &str| PathParam(text.to_owned()).level_filter();
        assert_eq!(level("L3").unwrap(), Some(Level::new(3).unwrap()));
        for name in ["Lisa", "L1234", "L-12", "L+12", "L", "3"] {
            assert_eq!(level(name).unwrap(), None, "{name}");
        }
        assert!(level("L11").is_err());
    }
}

//! What handlers take from a request: who asks, the body, the query, the named part of the path.
//! Every refusal is in the documented error shape.

use std::{collections::BTreeMap, net::IpAddr};

use axum::{
    body::Bytes,
    extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Query, Request},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use proxyxai_contract::{
    Invalid, client_key,
    id::{KeyId, Level},
};

use super::{failure::Failure, fields::Fields};
use crate::{
    Control, Error, ops,
    view::{Caller, Page},
};

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
        let caller = ops::auth::authenticate(control, key).await?;
        // Whoever serves the routes says where a request came from.
        let address = parts.extensions.get::<ConnectInfo<IpAddr>>();
        Ok(Self(Caller {
            address: address.map(|ConnectInfo(address)| *address),
            ..caller
        }))
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
        let body = Bytes::from_request(request, state).await;
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
    /// `L3` filters by level. With more than two digits it would be a name that somebody may have.
    pub(super) fn level_filter(&self) -> Result<Option<Level>, Invalid> {
        let digits = self.0.strip_prefix('L').unwrap_or_default();
        let digits = Some(digits).filter(|digits| {
            (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        match digits.map(str::parse) {
            Some(Ok(level)) => Level::new(level).map(Some),
            Some(Err(_)) | None => Ok(None),
        }
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

fn not_whole(field: &str) -> Invalid {
    Invalid::new(field, "must be a whole number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Params(pairs.iter().map(owned).collect())
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
    fn only_l_and_digits_filter_by_level() {
        let level = |text: &str| Segment(text.to_owned()).level_filter();
        assert_eq!(level("L3").unwrap(), Some(Level::new(3).unwrap()));
        for name in ["Lisa", "L1234", "L-12", "L+12", "L", "3"] {
            assert_eq!(level(name).unwrap(), None, "{name}");
        }
        assert!(level("L11").is_err());
    }
}

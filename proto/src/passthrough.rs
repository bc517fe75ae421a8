//! Endpoints that an operator opens beyond those that the gateway knows: setting `PASSTHROUGH`.

use std::fmt::Write as _;

use rust_decimal::Decimal;

use crate::{Invalid, access::PathPattern, money::Money, price::ModelPrice};

/// Methods that can be opened.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];

/// At most this many, so that a search through the list stays cheap.
const ENTRIES_MAX: usize = 100;
const FIELD: &str = "PASSTHROUGH";

/// All routes, in the order in which they are searched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passthrough(Vec<PassthroughRoute>);

/// One endpoint or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassthroughRoute {
    /// `None` for all.
    method: Option<String>,
    path: PathPattern,
    /// The price of a call that a provider accepts.
    pub price: ModelPrice,
    /// Names of accounts; empty for all. An account includes its descendants.
    accounts: Vec<String>,
}

impl Passthrough {
    /// Reads entries separated by `;` or line ends: a method or `*`, a path as in resource lists, then optionally
    /// `price=DOLLARS` and `accounts=NAME,NAME`.
    ///
    /// # Errors
    /// Errors if an entry cannot be read.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let entries = text.split([';', '\n']).map(str::trim);
        let entries: Vec<_> = entries
            .filter(|entry| !entry.is_empty())
            .map(PassthroughRoute::parse)
            .collect::<Result<_, _>>()?;
        if entries.len() > ENTRIES_MAX {
            let problem = format!("has more than {ENTRIES_MAX} entries");
            return Err(Invalid::new(FIELD, problem));
        }
        Ok(Self(entries))
    }

    /// The stored form.
    pub fn text(&self) -> String {
        let entries: Vec<_> = self.0.iter().map(PassthroughRoute::text).collect();
        entries.join(";")
    }

    /// The route for this path that is open to one of these names: the account's, or an ancestor's.
    pub fn find<'a>(
        &self,
        method: &str,
        path: &str,
        names: &(impl Iterator<Item = &'a str> + Clone),
    ) -> Option<&PassthroughRoute> {
        self.0.iter().find(|opened| {
            opened.method.as_ref().is_none_or(|own| own == method)
                && opened.path.matches(path)
                && (opened.accounts.is_empty()
                    || names
                        .clone()
                        .any(|name| opened.accounts.iter().any(|own| own == name)))
        })
    }
}

impl PassthroughRoute {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = |problem: &str| Invalid::new(FIELD, format!("{text:?} {problem}"));
        let mut words = text.split_whitespace();
        let method = words.next().unwrap_or_default().to_ascii_uppercase();
        if method != "*" && !METHODS.contains(&method.as_str()) {
            return Err(invalid(
                "begins with no method: GET, POST, PUT, PATCH, DELETE, HEAD or *",
            ));
        }
        let path = words.next().ok_or_else(|| invalid("has no path"))?;
        let path = PathPattern::parse(path).map_err(|_| invalid("has no path"))?;
        let mut opened = Self {
            method: (method != "*").then_some(method),
            path,
            price: ModelPrice::of_call(Money::ZERO),
            accounts: Vec::new(),
        };
        for word in words {
            match word.split_once('=') {
                Some(("price", dollars)) => {
                    let price = dollars.parse::<Decimal>().ok();
                    let price = price.and_then(|price| Money::from_decimal_dollars(price).ok());
                    let price = price.filter(|price| !price.is_negative());
                    let price = price.ok_or_else(|| invalid("has no price in dollars"))?;
                    opened.price = ModelPrice::of_call(price);
                }
                Some(("accounts", names)) => {
                    opened.accounts = names.split(',').map(str::to_owned).collect();
                }
                _ => return Err(invalid("has more than price= and accounts=")),
            }
        }
        Ok(opened)
    }

    /// Whether its calls are free.
    pub fn is_free(&self) -> bool {
        self.price.call() == Money::ZERO
    }

    fn text(&self) -> String {
        let method = self.method.as_deref().unwrap_or("*");
        let mut text = format!("{method} {}", self.path.as_str());
        // Writing to a string cannot fail.
        let mut add = |name: &str, value: &str| {
            let _written: Result<(), std::fmt::Error> = write!(text, " {name}={value}");
        };
        if !self.is_free() {
            add("price", &self.price.call().to_string().replace('$', ""));
        }
        if !self.accounts.is_empty() {
            add("accounts", &self.accounts.join(","));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_that_fits_method_path_and_account_opens() {
        let text =
            "GET /v1/files/{id}; POST /v1/files price=0.01 accounts=alice,bert\n* /v1/tools/*";
        let list = Passthrough::parse(text).unwrap();
        let price = |method, path, names: &[&str]| {
            let found = list.find(method, path, &names.iter().copied());
            found.map(|opened| opened.price.call())
        };
        assert_eq!(price("GET", "/v1/files/f1", &["carl"]), Some(Money::ZERO));
        assert_eq!(price("DELETE", "/v1/files/f1", &["carl"]), None);
        assert_eq!(price("GET", "/v1/files/f1/content", &["carl"]), None);
        let cent = Some(Money::from_nanos(10_000_000));
        assert_eq!(price("POST", "/v1/files", &["child", "bert", "root"]), cent);
        assert_eq!(price("POST", "/v1/files", &["carl", "root"]), None);
        assert_eq!(price("PUT", "/v1/tools/a/b", &[]), Some(Money::ZERO));
        assert_eq!(price("PUT", "/v1/toolsets", &[]), None);
        assert_eq!(Passthrough::parse(&list.text()), Ok(list));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in [
            "GET",
            "/v1/files",
            "GET files",
            "GET /v1/files price=free",
            "GET /v1/files price=-1",
            "GET /v1/files for=alice",
            "GET /v1/f*les",
        ] {
            assert!(Passthrough::parse(text).is_err(), "{text}");
        }
        assert_eq!(Passthrough::parse(" ;\n"), Ok(Passthrough::default()));
    }
}

//! libpq's `name=value` form of a server's address.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proxyxai_contract::secret::Secret;

use super::{DatabaseProblem, hosts};

/// What RFC 3986 leaves as it is in any part of a URL.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const NO_WORD: DatabaseProblem = "has a word that is not name=value";

/// Converts libpq's `name=value` form to a URL.
pub(super) fn url_of(dsn: &str) -> Result<Secret, DatabaseProblem> {
    let mut fields = fields_of(dsn)?;
    let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_empty());
    let host = take("host")
        .or_else(|| take("hostaddr"))
        .unwrap_or_else(|| "localhost".to_owned());
    let port = take("port").unwrap_or_else(|| "5432".to_owned());
    let user = take("user").unwrap_or_else(|| "postgres".to_owned());
    let password = take("password")
        .map(|word| format!(":{}", percent_encoded(&word)))
        .unwrap_or_default();
    let name = take("dbname").unwrap_or_else(|| user.clone());
    // Options that the driver does not know (TimeZone, connect_timeout of other drivers) are dropped: it would refuse
    // the whole URL.
    let known = [
        "sslmode",
        "sslrootcert",
        "application_name",
        "options",
        "target_session_attrs",
    ];
    let options: Vec<_> = known
        .iter()
        .filter_map(|key| take(key).map(|value| format!("{key}={}", percent_encoded(&value))))
        .collect();
    let query = if options.is_empty() {
        String::new()
    } else {
        format!("?{}", options.join("&"))
    };
    let user = percent_encoded(&user);
    let name = percent_encoded(&name);
    let places = hosts::joined(&host, &port, percent_encoded)?;
    Ok(Secret::new(format!(
        "postgres://{user}{password}@{places}/{name}{query}"
    )))
}

/// Fields of a DSN; a value may stand in single quotes with backslash escapes.
fn fields_of(dsn: &str) -> Result<BTreeMap<String, String>, DatabaseProblem> {
    let mut fields = BTreeMap::new();
    let mut rest = dsn.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(NO_WORD)?;
        let (value, after) = value_at(after.trim_start()).ok_or("has an open quote")?;
        let name = name.trim();
        let of_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
        if name.is_empty() || !name.chars().all(of_name) {
            return Err(NO_WORD);
        }
        fields.insert(name.to_owned(), value);
        rest = after.trim_start();
    }
    Ok(fields)
}

fn value_at(text: &str) -> Option<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let mut value = String::new();
    let body = quoted.unwrap_or(text);
    let mut chars = body.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => value.push(chars.next()?.1),
            '\'' if quoted.is_some() => return Some((value, body.get(at + 1..)?)),
            char if quoted.is_none() && char.is_whitespace() => {
                return Some((value, body.get(at..)?));
            }
            char => value.push(char),
        }
    }
    quoted.is_none().then_some((value, ""))
}

/// Percent-encodes a part of a URL.
pub(super) fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

//! The tag that a call is counted under: its header, or else what the body says about its user. Only totals depend on
//! it, so a body's value is not checked. An invalid header is refused, because it would be ignored.

use std::{borrow::Cow, collections::BTreeMap};

use http::{HeaderMap, HeaderName};
use proxyxai_contract::{Invalid, invisible_chars::is_invisible};
use serde_json::value::RawValue;

use super::request::RequestFacts;

/// Not forwarded to the upstream.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-proxyxai-tag");
/// Length of a tag; values from bodies are cut to it. The journal of open calls has no room for more.
const BYTES_MAX: usize = 64;
/// Providers accept 16 short texts.
const METADATA_BYTES_MAX: usize = 32 * 1024;
const USER: &str = "user";
const SAFETY: &str = "safety_identifier";
const METADATA: &str = "metadata.";

/// The members of bodies that hold the tag, in order of precedence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagMembers(Vec<TagMember>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum TagMember {
    User,
    Safety,
    /// A text inside `metadata`.
    Metadata(String),
}

impl TagMembers {
    /// Reads a list of `user`, `safety_identifier` and `metadata.KEY`. An empty text or `-` means none.
    ///
    /// # Errors
    /// Errors if the list has another element.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let names = text.split(',').map(str::trim);
        let member = |name: &str| match name {
            USER => Ok(TagMember::User),
            SAFETY => Ok(TagMember::Safety),
            _ => match name.strip_prefix(METADATA) {
                Some(key) if !key.is_empty() => Ok(TagMember::Metadata(key.to_owned())),
                _ => Err(Invalid::new(
                    "TAG_MEMBERS",
                    "must be a list of user, safety_identifier and metadata.KEY",
                )),
            },
        };
        let names = names.filter(|name| !name.is_empty() && *name != "-");
        names.map(member).collect::<Result<_, _>>().map(Self)
    }
}

/// The tag in the header, if there is one.
///
/// # Errors
/// Errors if it is not 1 to 64 visible ASCII characters, or is given twice.
pub(crate) fn of_header(headers: &HeaderMap) -> Result<Option<&str>, Invalid> {
    let mut given = headers.get_all(&HEADER).iter();
    let Some(first) = given.next() else {
        return Ok(None);
    };
    let text = first.to_str().unwrap_or_default();
    let fits = (1..=BYTES_MAX).contains(&text.len()) && text.trim() == text;
    if given.next().is_some() || !fits {
        let problem = "must be one text of 1 to 64 visible ASCII characters";
        return Err(Invalid::new(HEADER.as_str(), problem));
    }
    Ok(Some(text))
}

/// The tag in the body; empty if there is none.
pub(crate) fn of_body(body: &[u8], facts: &RequestFacts, members: &TagMembers) -> String {
    let [user, safety, metadata] = facts.tag_spans.each_ref().map(|at| {
        let bytes = body.get(at.clone()?)?;
        std::str::from_utf8(bytes).ok()
    });
    let text = |member: &TagMember| match member {
        TagMember::User => word(user?),
        TagMember::Safety => word(safety?),
        TagMember::Metadata(key) => {
            let json = metadata.filter(|json| json.len() <= METADATA_BYTES_MAX)?;
            let texts: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(json).ok()?;
            word(texts.get(key.as_str())?.get())
        }
    };
    members.0.iter().find_map(text).unwrap_or_default()
}

/// A JSON text as a tag.
fn word(json: &str) -> Option<String> {
    let text: Cow<'_, str> = serde_json::from_str(json).ok()?;
    // Stops at the length of a tag: a text may be as long as its body.
    let seen = text.chars().filter(|sign| !is_invisible(*sign));
    let mut tag = String::new();
    for sign in seen.skip_while(|sign| sign.is_whitespace()) {
        if tag.len() + sign.len_utf8() > BYTES_MAX {
            break;
        }
        tag.push(sign);
    }
    tag.truncate(tag.trim_end().len());
    (!tag.is_empty()).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::request::read;

    fn tag(body: &str, members: &str) -> String {
        let facts = read(body.as_bytes(), "application/json", true).unwrap();
        of_body(
            body.as_bytes(),
            &facts,
            &TagMembers::parse(members).unwrap(),
        )
    }

    #[test]
    fn the_first_member_of_the_list_that_says_something_counts() {
        let all = "user,safety_identifier,metadata.user_id";
        for (body, expected) in [
            (r#"{"model":"m"}"#, ""),
            (r#"{"model":"m","user":"anna"}"#, "anna"),
            (
                r#"{"user":"anna","model":"m","safety_identifier":"s"}"#,
                "anna",
            ),
            (r#"{"model":"m","user":"","safety_identifier":"s"}"#, "s"),
            (
                r#"{"model":"m","user":null,"metadata":{"team":"t","user_id":"u"}}"#,
                "u",
            ),
            (r#"{"model":"m","user":7,"metadata":{"user_id":8}}"#, ""),
            (
                r#"{"model":"m","metadata":{"a":[1],"user_id":"\u0075\n1"}}"#,
                "u1",
            ),
            (r#"{"model":"m","metadata":"x"}"#, ""),
        ] {
            assert_eq!(tag(body, all), expected, "{body}");
        }
        let both = r#"{"model":"m","user":"anna","metadata":{"team":"t"}}"#;
        assert_eq!(tag(both, "metadata.team,user"), "t");
        assert_eq!(tag(both, ""), "");
        // No invisible characters: directions, line breaks, zero-width characters, fillers. Marks and characters of
        // other scripts stay.
        let unseen = "{\"model\":\"m\",\"user\":\"\u{200b} \u{202e}an\u{3164}na\u{2028} 7\"}";
        assert_eq!(tag(unseen, "user"), "anna 7");
        let marks = "{\"model\":\"m\",\"user\":\"Jose\u{301} \u{1f600}\"}";
        assert_eq!(tag(marks, "user"), "Jose\u{301} \u{1f600}");
        assert_eq!(
            tag("{\"model\":\"m\",\"user\":\"\u{200b} \u{200b}\"}", "user"),
            ""
        );
        let long = format!(r#"{{"model":"m","user":"{}"}}"#, "ä".repeat(100));
        assert_eq!(tag(&long, all), "ä".repeat(32));
    }

    #[test]
    fn a_header_is_one_short_text_or_refused() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, value.parse().unwrap());
            }
            of_header(&headers).map(|tag| tag.map(str::to_owned))
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["team a/1"]), Ok(Some("team a/1".to_owned())));
        for bad in [&[""][..], &["a", "b"], &["ä"], &[&"x".repeat(65)]] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_member_is_refused() {
        for bad in ["model", "metadata", "metadata.", "user;x"] {
            assert!(TagMembers::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(TagMembers::parse(" , ").unwrap(), TagMembers::default());
        assert_eq!(TagMembers::parse("-").unwrap(), TagMembers::default());
    }
}

//! The words of an error body, by the shapes that providers use: codes, which are compared whole, and the
//! message, in which a client's own words may stand, mostly in quotes.

use serde::{Deserialize, de::IgnoredAny};

const PLAIN_BYTES_MAX: usize = 512;

/// The words of an error body, in lower case.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) codes: Vec<String>,
    pub(super) message: String,
    /// The message without what stands in quotes.
    pub(super) unquoted: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    /// Google wraps errors of streams in a list. It stands first, for a list would fill an object as well.
    List(Vec<Members>),
    Object(Box<Members>),
    Text(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Members {
    error: Part,
    errors: Part,
    detail: Part,
    base_resp: Option<BaseResp>,
    code: Text,
    error_code: Text,
    #[serde(rename = "type")]
    kind: Text,
    #[serde(alias = "__type")]
    reason: Text,
    status: Text,
    #[serde(alias = "Message")]
    message: Text,
    msg: Text,
    error_msg: Text,
    details: Part,
}

/// What errors stand in.
#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    List(Vec<Part>),
    Object(Box<Members>),
    Text(String),
    Other(IgnoredAny),
}

/// `MiniMax`'s own place for errors, which it fills under 200 as well.
#[derive(Deserialize)]
struct BaseResp {
    #[serde(default)]
    status_code: i64,
    #[serde(default)]
    status_msg: Text,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Words(String),
    /// Some use a status for a code.
    Number(i64),
    Other(IgnoredAny),
}

impl Default for Part {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

// === impl Words ===

impl Words {
    pub(super) fn of(body: &[u8]) -> Self {
        let body = body.trim_ascii();
        let mut words = Self::default();
        match serde_json::from_slice(body) {
            Ok(Body::Object(members)) => words.read(*members),
            Ok(Body::List(list)) => {
                if let Some(first) = list.into_iter().next() {
                    words.read(first);
                }
            }
            Ok(Body::Text(text)) => words.say(Text::Words(text)),
            Err(_) => words.plain(body),
        }
        words.unquoted = unquoted(&words.message);
        words
    }

    fn read(&mut self, members: Members) {
        let Members {
            error,
            errors,
            detail,
            base_resp,
            code,
            error_code,
            kind,
            reason,
            status,
            message,
            msg,
            error_msg,
            details,
        } = members;
        // The innermost message counts; outer ones repeat it.
        self.part(error, true);
        self.part(errors, true);
        if let Some(BaseResp {
            status_code,
            status_msg,
        }) = base_resp.filter(|base| base.status_code != 0)
        {
            self.codes.push(format!("base_resp:{status_code}"));
            self.say(status_msg);
        }
        for code in [code, error_code, kind, reason, status] {
            self.code(code);
        }
        for text in [message, msg, error_msg] {
            self.say(text);
        }
        self.part(detail, true);
        self.part(details, false);
    }

    /// An error, or what is told of it.
    fn part(&mut self, part: Part, speaks: bool) {
        match part {
            Part::Object(members) if speaks => self.read(*members),
            Part::Object(members) => self.code(members.reason),
            Part::List(list) => list.into_iter().for_each(|part| self.part(part, speaks)),
            Part::Text(text) if speaks => {
                self.codes.push(text.to_ascii_lowercase());
                self.say(Text::Words(text));
            }
            Part::Text(_) | Part::Other(IgnoredAny) => {}
        }
    }

    /// A body that is no JSON. A page of HTML says nothing about a key.
    fn plain(&mut self, body: &[u8]) {
        if body.len() <= PLAIN_BYTES_MAX && !body.starts_with(b"<") && !body.starts_with(b"{") {
            self.message = String::from_utf8_lossy(body).to_ascii_lowercase();
        }
    }

    fn code(&mut self, code: Text) {
        match code {
            Text::Words(code) => self.codes.push(code.to_ascii_lowercase()),
            Text::Number(code) => self.codes.push(code.to_string()),
            Text::Other(IgnoredAny) => {}
        }
    }

    fn say(&mut self, message: Text) {
        if let Text::Words(message) = message
            && self.message.is_empty()
        {
            self.message = message.trim().to_ascii_lowercase();
        }
    }
}

/// A text without what stands in quotes, which may be anybody's words. An apostrophe is no quote.
fn unquoted(text: &str) -> String {
    if !text.contains(['"', '\'', '`']) {
        return text.to_owned();
    }
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some(at) = rest.find(['"', '\'', '`']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let (quote, after) = from.split_at(1);
        let opens = !before.ends_with(char::is_alphanumeric);
        let closes = after
            .match_indices(quote)
            .map(|(end, _)| end + 1)
            .find(|end| {
                let next = after.get(*end..).unwrap_or_default();
                !next.starts_with(char::is_alphanumeric)
            });
        if let Some(end) = closes.filter(|_| opens) {
            rest = after.get(end..).unwrap_or_default();
        } else {
            out.push_str(quote);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_quotes_is_left_out_and_apostrophes_are_not() {
        for (text, left) in [
            ("model 'a b' is bad", "model  is bad"),
            (
                "your account's key isn't valid",
                "your account's key isn't valid",
            ),
            ("the `x` and \"y\" end", "the  and  end"),
            ("an open 'quote", "an open 'quote"),
            ("'whole'", ""),
        ] {
            assert_eq!(unquoted(text), left);
        }
    }

    #[test]
    fn the_codes_and_the_message_are_found_in_every_shape() {
        for (body, code, message) in [
            (r#"{"error":{"code":"A","message":"M"}}"#, "a", "m"),
            (r#"[{"error":{"status":"A","message":"M"}}]"#, "a", "m"),
            (r#"{"code":30001,"message":"M","data":null}"#, "30001", "m"),
            (r#"{"code":403,"reason":"A","message":"M"}"#, "a", "m"),
            (r#"{"code":"x","error":"M"}"#, "x", "m"),
            (r#"{"detail":{"status":"A","message":"M"}}"#, "a", "m"),
            (r#"{"errors":[{"code":10000,"message":"M"}]}"#, "10000", "m"),
            (
                r#"{"base_resp":{"status_code":1008,"status_msg":"M"}}"#,
                "base_resp:1008",
                "m",
            ),
            (r#"{"error_code":17,"error_msg":"M"}"#, "17", "m"),
            (
                r#"{"error":{"message":"M","details":[{"reason":"A"}]}}"#,
                "a",
                "m",
            ),
        ] {
            let words = Words::of(body.as_bytes());
            assert!(words.codes.iter().any(|one| one == code), "{body}");
            assert_eq!(words.message, message, "{body}");
        }
        assert_eq!(Words::of(b"\"Invalid token\"").message, "invalid token");
        assert_eq!(Words::of(b"Invalid token").message, "invalid token");
    }
}

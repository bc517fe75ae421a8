//! Extracts the words of an error body in any provider's shape: codes, which are compared whole, and the message. A
//! client's own words may appear in the message, mostly in quotes.

use serde::{Deserialize, de::IgnoredAny};

const PLAIN_BYTES_MAX: usize = 512;

/// The words of an error body, in lower case.
#[derive(Debug, Default)]
pub(super) struct ErrorWords {
    pub(super) codes: Vec<String>,
    pub(super) message: String,
    /// The message without quoted parts.
    pub(super) unquoted: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorBody {
    /// Google wraps errors of streams in a list. It comes first, because a list would also match an object.
    List(Vec<ErrorMembers>),
    Object(Box<ErrorMembers>),
    Text(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorMembers {
    error: ErrorPart,
    errors: ErrorPart,
    detail: ErrorPart,
    base_resp: Option<BaseError>,
    code: ErrorText,
    error_code: ErrorText,
    #[serde(rename = "type")]
    kind: ErrorText,
    #[serde(alias = "__type")]
    reason: ErrorText,
    status: ErrorText,
    #[serde(alias = "Message")]
    message: ErrorText,
    msg: ErrorText,
    error_msg: ErrorText,
    details: ErrorPart,
}

/// Where errors appear.
#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorPart {
    List(Vec<ErrorPart>),
    Object(Box<ErrorMembers>),
    Text(String),
    Other(IgnoredAny),
}

/// `MiniMax`'s own field for errors, used even under status 200.
#[derive(Deserialize)]
struct BaseError {
    #[serde(default)]
    status_code: i64,
    #[serde(default)]
    status_msg: ErrorText,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorText {
    Words(String),
    /// Some send a status as the code.
    Number(i64),
    Other(IgnoredAny),
}

impl Default for ErrorPart {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

impl Default for ErrorText {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

// === impl ErrorWords ===

impl ErrorWords {
    pub(super) fn of(body: &[u8]) -> Self {
        let body = body.trim_ascii();
        let mut words = Self::default();
        match serde_json::from_slice(body) {
            Ok(ErrorBody::Object(members)) => words.read(*members),
            Ok(ErrorBody::List(list)) => {
                if let Some(first) = list.into_iter().next() {
                    words.read(first);
                }
            }
            Ok(ErrorBody::Text(text)) => words.say(ErrorText::Words(text)),
            Err(_) => words.plain(body),
        }
        words.unquoted = unquoted(&words.message);
        words
    }

    fn read(&mut self, members: ErrorMembers) {
        let ErrorMembers {
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
        if let Some(BaseError {
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

    /// An error, or details of it.
    fn part(&mut self, part: ErrorPart, speaks: bool) {
        match part {
            ErrorPart::Object(members) if speaks => self.read(*members),
            ErrorPart::Object(members) => self.code(members.reason),
            ErrorPart::List(list) => list.into_iter().for_each(|part| self.part(part, speaks)),
            ErrorPart::Text(text) if speaks => {
                self.codes.push(text.to_ascii_lowercase());
                self.say(ErrorText::Words(text));
            }
            ErrorPart::Text(_) | ErrorPart::Other(IgnoredAny) => {}
        }
    }

    /// A body that is not JSON. An HTML page says nothing about a key.
    fn plain(&mut self, body: &[u8]) {
        if body.len() <= PLAIN_BYTES_MAX && !body.starts_with(b"<") && !body.starts_with(b"{") {
            self.message = String::from_utf8_lossy(body).to_ascii_lowercase();
        }
    }

    fn code(&mut self, code: ErrorText) {
        match code {
            ErrorText::Words(code) => self.codes.push(code.to_ascii_lowercase()),
            ErrorText::Number(code) => self.codes.push(code.to_string()),
            ErrorText::Other(IgnoredAny) => {}
        }
    }

    fn say(&mut self, message: ErrorText) {
        if let ErrorText::Words(message) = message
            && self.message.is_empty()
        {
            self.message = message.trim().to_ascii_lowercase();
        }
    }
}

/// A text without its quoted parts, which anyone may have written. An apostrophe is no quote.
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
            let words = ErrorWords::of(body.as_bytes());
            assert!(words.codes.iter().any(|one| one == code), "{body}");
            assert_eq!(words.message, message, "{body}");
        }
        assert_eq!(
            ErrorWords::of(b"\"Invalid token\"").message,
            "invalid token"
        );
        assert_eq!(ErrorWords::of(b"Invalid token").message, "invalid token");
    }
}

//! The declared type of a body. Where a model must be read, only unambiguous declarations are accepted, so that no
//! provider reads the body as something else.

use std::borrow::Cow;

use super::{BadRequest, multipart};

/// The longest boundary that RFC 2046, 5.1.1 allows.
const BOUNDARY_BYTES_MAX: usize = 70;

/// The format to read a body as.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyKind<'a> {
    Other,
    Json,
    Form { boundary: Cow<'a, str> },
}

impl<'a> BodyKind<'a> {
    /// The format, as far as it can be understood.
    pub(super) fn of(content_type: &'a str) -> Self {
        let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let essence = essence.trim().to_ascii_lowercase();
        if essence == "application/json" || essence == "text/json" || essence.ends_with("+json") {
            return Self::Json;
        }
        if essence == "multipart/form-data"
            && let Some(boundary) = multipart::parameter(parameters, "boundary")
        {
            return Self::Form { boundary };
        }
        Self::Other
    }

    /// The format in strict mode: JSON or a form, in a declaration that all parsers understand alike.
    pub(super) fn strictly(content_type: &'a str) -> Result<Self, BadRequest> {
        let wrong = |problem| BadRequest::Field {
            field: "Content-Type",
            problem,
        };
        if content_type.is_empty() {
            // The request is forwarded as `application/json`.
            return Ok(Self::Json);
        }
        let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let essence = essence.trim_matches([' ', '\t']).to_ascii_lowercase();
        let subtype = essence.strip_prefix("application/");
        let json = essence == "text/json"
            || subtype.is_some_and(|it| it == "json" || (it.ends_with("+json") && is_token(it)));
        if !json && essence != "multipart/form-data" {
            return Err(wrong(
                "must be application/json or multipart/form-data on this path",
            ));
        }
        let parameters =
            multipart::parameters(parameters).ok_or(wrong("has parameters that cannot be read"))?;
        let (mut charsets, mut boundaries) = (0, Vec::new());
        for parameter in parameters {
            match parameter.name.to_ascii_lowercase().as_str() {
                "charset" => {
                    charsets += 1;
                    if !is_utf8(parameter.value) || charsets > 1 {
                        return Err(wrong("must not say another charset than utf-8"));
                    }
                }
                "boundary" => boundaries.push(parameter),
                name if name.contains('*') => {
                    return Err(wrong("has parameters that cannot be read"));
                }
                _ => {}
            }
        }
        match (json, boundaries.as_slice()) {
            (true, []) => Ok(Self::Json),
            (false, [one]) if is_boundary(one.value, one.quoted) => Ok(Self::Form {
                boundary: Cow::Borrowed(one.value),
            }),
            _ => Err(wrong(
                "must give one boundary of letters, digits and dashes for a form, and none for JSON",
            )),
        }
    }
}

fn is_utf8(charset: &str) -> bool {
    charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(multipart::is_token_byte)
}

/// A boundary that no parser truncates or splits. Quotes allow more characters, if all parsers require the quotes.
fn is_boundary(text: &str, quoted: bool) -> bool {
    let fits = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || b"-_.+".contains(&byte)
            || (quoted && b"=:/?()".contains(&byte))
    };
    (1..=BOUNDARY_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_forms_are_known_in_the_words_of_clients() {
        for said in [
            "",
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json;",
            "application/json; odata=verbose",
            "application/vnd.x+json",
            "text/json",
        ] {
            assert_eq!(BodyKind::strictly(said).unwrap(), BodyKind::Json, "{said}");
        }
        for said in [
            "multipart/form-data; boundary=XX",
            "multipart/form-data;boundary=\"XX\"",
            "Multipart/Form-Data; charset=utf-8; Boundary=XX",
        ] {
            let boundary = Cow::Borrowed("XX");
            assert_eq!(
                BodyKind::strictly(said).unwrap(),
                BodyKind::Form { boundary },
                "{said}"
            );
        }
    }

    #[test]
    fn what_could_be_taken_for_something_else_is_refused() {
        for said in [
            " ",
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonl",
            "application/json, text/plain",
            "application/json, multipart/form-data; boundary=x",
            "application/json; charset=utf-16",
            "application/json; charset=utf-8; charset=utf-7",
            "application/json; boundary=x",
            "application/json; charset",
            "application/json; charset*=utf-16''x",
            "application /json",
            "multipart/form-data+json",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"\"",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary*=a",
            "multipart/form-data; boundary=\"a",
            "multipart/form-data; boundary=\"a\\b\"",
            "multipart/form-data; boundary=\"a \"",
            "multipart/form-data; boundary=a b",
            "multipart/form-data; boundary=a,b",
            "multipart/form-data; boundary='a'",
            "multipart/form-data; boundary =a",
            "multipart/form-data; boundary= a",
            "multipart/form-data, application/json; boundary=a",
            "multipart/mixed; boundary=a",
        ] {
            assert!(BodyKind::strictly(said).is_err(), "{said}");
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        assert!(BodyKind::strictly(&long).is_err());
    }
}

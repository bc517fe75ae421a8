//! Finds the short fields of a `multipart/form-data` body without copying it. It does not decode the content of parts.

mod head;

use std::{borrow::Cow, ops::Range};

use memchr::memmem;

use self::head::PartHead;

/// Forms have about a dozen fields; later parts are not read.
const PARTS_MAX: usize = 256;
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// A named part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FormField<'a> {
    /// Its name.
    pub(super) name: Cow<'a, str>,
    /// Range of its value in the body.
    pub(super) value: Range<usize>,
    /// Whether some parsers take it as a file or a typed value. Only set in strict mode.
    pub(super) typed: bool,
}

/// The parts of a body, in order. Ends after the first error.
#[derive(Debug)]
pub(super) struct FormFields<'a> {
    body: &'a [u8],
    /// `CRLF--boundary`; the first one may stand at the very beginning without its CRLF.
    delimiter: String,
    /// Position after a delimiter; `None` at the end.
    at: Option<usize>,
    parts: usize,
    /// Whether all parsers must read the body alike.
    strict: bool,
    /// A problem found before the first part.
    problem: Option<FormProblem>,
}

type FormProblem = &'static str;

// === impl FormFields ===

impl<'a> FormFields<'a> {
    pub(super) fn new(body: &'a [u8], boundary: &str, strict: bool) -> Self {
        let problem = strict.then(|| head::boundaries(body, boundary).err());
        let delimiter = format!("\r\n--{boundary}");
        let bare = delimiter.trim_start().as_bytes();
        let at = if body.starts_with(bare) {
            Some(bare.len())
        } else {
            memmem::find(body, delimiter.as_bytes()).map(|at| at + delimiter.len())
        };
        Self {
            body,
            delimiter,
            at,
            parts: 0,
            strict,
            problem: problem.flatten(),
        }
    }

    /// The part after the delimiter that ends at `at`; `None` after the last one.
    fn part(&mut self, at: usize) -> Result<Option<FormPart<'a>>, FormProblem> {
        let rest = self.body.get(at..).unwrap_or_default();
        if rest.starts_with(b"--") {
            return Ok(None);
        }
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err("it has too many parts");
        }
        let head_max = rest.len().min(HEADER_BYTES_MAX);
        let head = rest.get(..head_max).unwrap_or_default();
        let head_len =
            memmem::find(head, b"\r\n\r\n").ok_or("the headers of a part have no end")?;
        let start = at + head_len + 4;
        let value = self.body.get(start..).unwrap_or_default();
        let len = memmem::find(value, self.delimiter.as_bytes()).ok_or("a part has no end")?;
        self.at = Some(start + len + self.delimiter.len());
        let head = head.get(..head_len).unwrap_or_default();
        let (name, typed) = if self.strict {
            let PartHead { name, typed } = PartHead::read(head)?;
            (Some(Cow::Borrowed(name)), typed)
        } else {
            (name(head), false)
        };
        Ok(Some(FormPart {
            name,
            value: start..start + len,
            typed,
        }))
    }
}

struct FormPart<'a> {
    name: Option<Cow<'a, str>>,
    value: Range<usize>,
    typed: bool,
}

/// A parameter as written: quoted values keep their escapes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameter<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    pub(super) quoted: bool,
}

impl<'a> Iterator for FormFields<'a> {
    type Item = Result<FormField<'a>, FormProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(problem) = self.problem.take() {
            self.at = None;
            return Some(Err(problem));
        }
        while let Some(at) = self.at.take() {
            match self.part(at) {
                Ok(Some(FormPart {
                    name: Some(name),
                    value,
                    typed,
                })) => return Some(Ok(FormField { name, value, typed })),
                // A part without a name is not a field.
                Ok(Some(FormPart { name: None, .. })) => {}
                Ok(None) => return None,
                Err(problem) => {
                    self.at = None;
                    return Some(Err(problem));
                }
            }
        }
        None
    }
}

/// All parameters of `a=1; b="2"`. Returns `None` if they break the grammar that all parsers share.
pub(super) fn parameters(text: &str) -> Option<Vec<Parameter<'_>>> {
    let (mut all, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if let Some(after) = rest.strip_prefix(';') {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return Some(all);
        }
        let (name, after) = token(rest)?;
        let after = after.strip_prefix('=')?;
        let quoted = after.strip_prefix('"');
        let (value, after) = quoted.map_or_else(|| token(after), raw_quoted)?;
        let ends = after.trim_start_matches([' ', '\t']);
        if !ends.is_empty() && !ends.starts_with(';') {
            return None;
        }
        rest = ends;
        all.push(Parameter {
            name,
            value,
            quoted: quoted.is_some(),
        });
    }
}

/// Whether a byte may appear in a token (RFC 9110, 5.6.2).
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().take_while(|byte| is_token_byte(*byte)).count();
    (end > 0).then(|| text.split_at(end))
}

/// The text up to the closing quote with its escapes, and the rest.
fn raw_quoted(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

/// The value of a parameter in `a=1; b="2"`, without quotes. Names are compared without case.
pub(super) fn parameter<'a>(parameters: &'a str, wanted: &str) -> Option<Cow<'a, str>> {
    let mut rest = parameters;
    loop {
        rest = rest.trim_start_matches([';', ' ', '\t']);
        let (name, after) = rest.split_once('=')?;
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            unquoted(quoted)?
        } else {
            let end = after.find(';').unwrap_or(after.len());
            let (value, after) = after.split_at(end);
            (Cow::Borrowed(value.trim()), after)
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value).filter(|value| !value.is_empty());
        }
        rest = after;
    }
}

/// The text up to the closing quote, and the rest.
fn unquoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut escaped = false;
    let mut any = false;
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => (escaped, any) = (true, true),
            '"' => {
                let (value, after) = text.split_at(at);
                let value = if any {
                    Cow::Owned(value.replace("\\\"", "\"").replace("\\\\", "\\"))
                } else {
                    Cow::Borrowed(value)
                };
                return Some((value, after.get(1..).unwrap_or_default()));
            }
            _ => {}
        }
    }
    None
}

fn name(head: &[u8]) -> Option<Cow<'_, str>> {
    let head = std::str::from_utf8(head).ok()?;
    head.split("\r\n").find_map(|line| {
        let (header, value) = line.split_once(':')?;
        if !header.trim().eq_ignore_ascii_case("content-disposition") {
            return None;
        }
        let (_, parameters) = value.split_once(';')?;
        parameter(parameters, "name")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(body: &[u8]) -> Result<Vec<(String, Vec<u8>)>, FormProblem> {
        FormFields::new(body, "b", false)
            .map(|field| {
                let field = field?;
                Ok((field.name.into_owned(), body[field.value].to_vec()))
            })
            .collect()
    }

    #[test]
    fn parameters_are_read_quoted_or_not() {
        assert_eq!(parameter("boundary=abc", "boundary").unwrap(), "abc");
        assert_eq!(
            parameter(" charset=x; Boundary=\"a b;c\"", "boundary").unwrap(),
            "a b;c"
        );
        assert_eq!(
            parameter("name=\"a\\\"b\"; filename=f", "name").unwrap(),
            "a\"b"
        );
        assert_eq!(parameter("name=\"open", "name"), None);
        assert_eq!(
            parameter("filename=\"name=x\"; name=y", "name").unwrap(),
            "y"
        );
        assert_eq!(parameter("boundary=", "boundary"), None);
    }

    #[test]
    fn a_form_that_is_cut_short_is_an_error() {
        let whole = b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--";
        assert_eq!(fields(whole).unwrap(), [("a".to_owned(), b"x".to_vec())]);
        assert!(fields(&whole[..whole.len() - 5]).is_err());
        assert!(fields(&whole[..20]).is_err());
        assert!(fields(b"").unwrap().is_empty());
    }

    #[test]
    fn a_form_of_endless_parts_is_not_walked_through() {
        let mut body =
            b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n".repeat(PARTS_MAX + 1);
        body.extend_from_slice(b"--b--");
        assert!(fields(&body).is_err());
    }

    proptest! {
        #[test]
        fn every_field_is_found_with_its_value(
            wanted in prop::collection::vec(("[a-z]{1,8}", prop::collection::vec(any::<u8>(), 0..40)), 0..6),
        ) {
            prop_assume!(wanted.iter().all(|(_, value)| memmem::find(value, b"--b").is_none()));
            let mut body = b"preamble".to_vec();
            for (name, value) in &wanted {
                body.extend_from_slice(b"\r\n--b\r\nX: y\r\ncontent-disposition: form-data; filename=\"name=z\"; NAME=\"");
                body.extend_from_slice(name.as_bytes());
                body.extend_from_slice(b"\"\r\n\r\n");
                body.extend_from_slice(value);
            }
            body.extend_from_slice(b"\r\n--b--\r\n");
            prop_assert_eq!(fields(&body).unwrap(), wanted);
        }

        #[test]
        fn no_bytes_make_it_fail_badly(body in prop::collection::vec(any::<u8>(), 0..200), strict: bool) {
            for field in FormFields::new(&body, "b", strict).flatten() {
                prop_assert!(field.value.end <= body.len());
            }
        }
    }
}

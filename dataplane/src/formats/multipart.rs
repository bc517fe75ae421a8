//! The short fields of a `multipart/form-data` body, found without copying it. It decides nothing, and
//! does not decode what is inside the parts.

use std::{borrow::Cow, ops::Range};

use memchr::memmem;

/// Forms have a dozen fields; more than this is not walked through.
const PARTS_MAX: usize = 256;
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// A named part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// Its name.
    pub(super) name: Cow<'a, str>,
    /// Where its value lies in the body.
    pub(super) value: Range<usize>,
}

/// The parts of a body, in order. Ends after the first error.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    body: &'a [u8],
    /// `CRLF--boundary`; the first one may stand at the very beginning without its CRLF.
    delimiter: String,
    /// Just after a delimiter; none at the end.
    at: Option<usize>,
    parts: usize,
}

type Problem = &'static str;

// === impl Fields ===

impl<'a> Fields<'a> {
    pub(super) fn new(body: &'a [u8], boundary: &str) -> Self {
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
        }
    }

    /// The part after the delimiter that ends at `at`, or none after the last one.
    fn part(&mut self, at: usize) -> Result<Option<Part<'a>>, Problem> {
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
        let name = head.get(..head_len).and_then(name);
        Ok(Some(Part {
            name,
            value: start..start + len,
        }))
    }
}

struct Part<'a> {
    name: Option<Cow<'a, str>>,
    value: Range<usize>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(at) = self.at.take() {
            match self.part(at) {
                Ok(Some(Part {
                    name: Some(name),
                    value,
                })) => return Some(Ok(Field { name, value })),
                // A part without a name is nobody's field.
                Ok(Some(Part { name: None, .. })) => {}
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

/// The value of a parameter in `a=1; b="2"`, its quotes removed. Names are compared without case.
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

/// The text up to the closing quote, and what follows that.
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

    fn fields(body: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Problem> {
        Fields::new(body, "b")
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
        fn no_bytes_make_it_fail_badly(body in prop::collection::vec(any::<u8>(), 0..200)) {
            for field in Fields::new(&body, "b").flatten() {
                prop_assert!(field.value.end <= body.len());
            }
        }
    }
}

//! Strict parsing of forms: boundaries and part heads must read alike for all parsers. Parsers differ on line ends,
//! preambles, escapes and encodings of names, and on folded or repeated headers. In strict mode, forms with any of
//! these are refused.

use memchr::memmem;

use super::{FormProblem, Parameter, is_token_byte, parameters};

/// Transfer encodings that do not change any byte.
const PLAIN_CODINGS: [&str; 3] = ["7bit", "8bit", "binary"];
/// Charsets that contain ASCII.
const PLAIN_CHARSETS: [&str; 4] = ["utf-8", "utf8", "us-ascii", "iso-8859-1"];

/// The head of a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PartHead<'a> {
    pub(super) name: &'a str,
    /// Whether some parsers take the part as a file or a typed value.
    pub(super) typed: bool,
}

/// Checks that boundaries appear only at line starts, that nothing precedes the first, and that the last ends the form.
pub(super) fn boundaries(body: &[u8], boundary: &str) -> Result<(), FormProblem> {
    let line = format!("--{boundary}");
    if !body.starts_with(line.as_bytes()) {
        return Err("it must begin with its boundary");
    }
    // A parser that keeps the quotes looks for these.
    let quoted = format!("--\"{boundary}");
    if memmem::find(body, quoted.as_bytes()).is_some() {
        return Err("its boundary stands where it ends no part");
    }
    let finder = memmem::Finder::new(line.as_bytes());
    let (mut from, mut ended) = (0, false);
    while let Some(found) = finder.find(body.get(from..).unwrap_or_default()) {
        let at = from + found;
        let before = body.get(..at).unwrap_or_default();
        let after = body.get(at + line.len()..).unwrap_or_default();
        let closing = after == b"--" || after.starts_with(b"--\r\n");
        let plain = at == 0 || before.ends_with(b"\r\n");
        if ended || !plain || !(closing || after.starts_with(b"\r\n")) {
            return Err("its boundary stands where it ends no part");
        }
        ended = closing;
        from = at + 1;
    }
    if ended {
        Ok(())
    } else {
        Err("it has no last boundary")
    }
}

impl<'a> PartHead<'a> {
    /// Parses a head. It begins with the line end of its boundary.
    pub(super) fn read(head: &'a [u8]) -> Result<Self, FormProblem> {
        let head = std::str::from_utf8(head).map_err(|_| "a part's headers are not UTF-8")?;
        let mut found = PartHeaders::default();
        for line in head.split("\r\n").skip(1) {
            let (field, value) = line
                .split_once(':')
                .ok_or("a part's headers are not headers")?;
            let sound = !field.is_empty() && field.bytes().all(is_token_byte);
            if !sound || value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
                return Err("a part's headers are not headers");
            }
            found.note(field, value.trim_matches([' ', '\t']))?;
        }
        let (name, is_file) = disposition(found.disposition)?;
        Ok(Self {
            name,
            typed: is_file || !found.content_type.is_none_or(is_plain_text),
        })
    }
}

#[derive(Default)]
struct PartHeaders<'a> {
    disposition: Option<&'a str>,
    content_type: Option<&'a str>,
}

impl<'a> PartHeaders<'a> {
    fn note(&mut self, field: &str, value: &'a str) -> Result<(), FormProblem> {
        let place = match field.to_ascii_lowercase().as_str() {
            "content-disposition" => &mut self.disposition,
            "content-type" => &mut self.content_type,
            "content-transfer-encoding" | "content-encoding" => {
                let plain = |coding: &&str| value.eq_ignore_ascii_case(coding);
                let any = PLAIN_CODINGS.iter().any(plain);
                return any.then_some(()).ok_or("a part is encoded");
            }
            _ => return Ok(()),
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err("a part has a header twice"),
        }
    }
}

/// The name of a part, and whether it is a file.
fn disposition(value: Option<&str>) -> Result<(&str, bool), FormProblem> {
    const UNREADABLE: FormProblem = "a part has no name that can be read in one way only";
    let (kind, rest) = value.and_then(|it| it.split_once(';')).ok_or(UNREADABLE)?;
    if !kind.trim_end().eq_ignore_ascii_case("form-data") {
        return Err(UNREADABLE);
    }
    let (mut name, mut is_file) = (None, false);
    for Parameter {
        name: parameter,
        value,
        ..
    } in parameters(rest).ok_or(UNREADABLE)?
    {
        match parameter {
            "name" if name.is_none() && is_plain_name(value) => name = Some(value),
            "filename" | "filename*" if !hides_a_name(value) => is_file = true,
            other => {
                let named = other.to_ascii_lowercase().contains("name");
                if named || hides_a_name(value) {
                    return Err(UNREADABLE);
                }
            }
        }
    }
    Ok((name.ok_or(UNREADABLE)?, is_file))
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|char| char == '\\' || char.is_control())
}

/// Whether a parser without quotes or escapes could find a name in a value.
fn hides_a_name(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    lower.match_indices("name").any(|(at, name)| {
        let after = lower.get(at + name.len()..).unwrap_or_default();
        after.trim_start().starts_with(['=', '*'])
    })
}

fn is_plain_text(content_type: &str) -> bool {
    let (essence, rest) = content_type.split_once(';').unwrap_or((content_type, ""));
    let plain = |parameter: &Parameter<'_>| {
        parameter.name.eq_ignore_ascii_case("charset")
            && PLAIN_CHARSETS
                .iter()
                .any(|charset| parameter.value.eq_ignore_ascii_case(charset))
    };
    essence.trim_end().eq_ignore_ascii_case("text/plain")
        && parameters(rest).is_some_and(|all| all.len() < 2 && all.iter().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &str) -> Result<PartHead<'_>, FormProblem> {
        PartHead::read(lines.as_bytes())
    }

    #[test]
    fn the_heads_that_clients_write_are_read() {
        for (rest, name, typed) in [
            ("; name=\"model\"", "model", false),
            ("; name=model", "model", false),
            ("; name=\"file\"; filename=\"a.wav\"", "file", true),
            (
                "; name=\"file\"; filename=\"a \\\"b\\\".wav\"; filename*=utf-8''a%20b.wav",
                "file",
                true,
            ),
            (
                "; name=\"image[]\"; filename=\"C:\\a.png\"\r\nContent-Type: image/png",
                "image[]",
                true,
            ),
            (
                "; name=\"model\"\r\nContent-Type: text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: 8bit",
                "model",
                false,
            ),
            (
                "; name=\"model\"\r\ncontent-length: 5\r\nX-Own: \u{e9}",
                "model",
                false,
            ),
            (
                "; name=\"model\"\r\nContent-Type: application/json",
                "model",
                true,
            ),
            (
                "; name=\"model\"\r\nContent-Type: text/plain; charset=utf-16",
                "model",
                true,
            ),
        ] {
            let lines = format!("\r\nContent-Disposition: form-data{rest}");
            assert_eq!(head(&lines), Ok(PartHead { name, typed }), "{rest}");
        }
    }

    #[test]
    fn a_head_that_could_name_something_else_is_refused() {
        for rest in [
            "",
            "; name=\"\"",
            "; name=\"a\"; name=\"model\"",
            "; name=\"a\"; name*=utf-8''model",
            "; name*=utf-8''model",
            "; name*0=\"mo\"; name*1=\"del\"",
            "; NAME=\"model\"; name=\"a\"",
            "; name=\"mod\\el\"",
            "; name=\"a\"; filename=\"\\\"; name=\\\"model\"",
            "; name=\"a\"; filename=\"x; name = model\"",
            "; name=\"a\"; filename=\"x; name*=utf-8''model\"",
            "; name=\"a\"x=1",
            "; name = \"a\"",
            "; name=\"a",
            ";\r\n name=\"a\"",
            "; name=\"a\"\r\n x",
            "; name=\"a\"\n",
            "; name=\"a\"\nX: y",
            "; name=\"a\"\r\nX : y",
            "; name=\"a\"\r\nContent-Disposition: form-data; name=\"model\"",
            "; name=\"a\"\r\nContent-Transfer-Encoding: base64",
            "; name=\"a\"\r\nContent-Transfer-Encoding: quoted-printable",
            "; name=\"a\"\r\nContent-Encoding: gzip",
            "; name=\"a\"\r\nno header",
        ] {
            let lines = format!("\r\nContent-Disposition: form-data{rest}");
            assert!(head(&lines).is_err(), "{rest:?}");
        }
        assert!(head("").is_err());
        assert!(head("\r\nX: y").is_err());
        assert!(head("\r\nContent-Disposition: attachment; name=\"a\"").is_err());
        assert!(PartHead::read(b"\r\nContent-Disposition: form-data; name=\"\xff\"").is_err());
    }

    #[test]
    fn a_boundary_is_where_everybody_sees_it_or_the_form_is_refused() {
        for sound in [
            "--b\r\nH\r\n\r\nx\r\n--b--",
            "--b\r\n\r\n--b--\r\n",
            "--b\r\n\r\n--b--\r\nend",
        ] {
            assert_eq!(boundaries(sound.as_bytes(), "b"), Ok(()), "{sound:?}");
        }
        for wrong in [
            "",
            "x\r\n--b\r\n\r\n--b--",
            "\r\n--b\r\n\r\n--b--",
            "--b\r\n\r\nx",
            "--b\r\n\r\n--b",
            "--b\n\r\n\r\n--b--",
            "--b \r\n\r\n--b--",
            "--b\r\n\r\n--b-- ",
            "--b\r\n\r\n--b--\n",
            "--b\r\n\r\nx\n--b\r\n\r\n--b--",
            "--b\r\n\r\nx--b\r\n\r\n--b--",
            "--b\r\n\r\nx\r\n--bc\r\n\r\n--b--",
            "--b\r\n\r\n--b--\r\n--b\r\n\r\n--b--",
            "--b\r\n\r\n--b--\r\n--b--",
            "--b\r\n\r\n--\"b\"\r\n\r\n--b--",
        ] {
            assert!(boundaries(wrong.as_bytes(), "b").is_err(), "{wrong:?}");
        }
    }
}

//! The known fields of a JSON body, found by stepping over all others: over the values of members, from
//! quote to quote inside texts. It reads plain bodies as `serde_json` does and leaves all that is unusual
//! to it, errors included.

use serde_json::value::RawValue;

use super::{Fields, text};

/// Deeper bodies are left to the other reader.
const DEPTH_MAX: u32 = 128;

/// The fields of an object; none when the other reader has to look.
pub(super) fn fields(json: &[u8]) -> Option<Fields<'_>> {
    let mut fields = Fields::default();
    let mut scan = Scan { rest: json };
    scan.byte(b'{')?;
    if scan.byte(b'}').is_none() {
        loop {
            let name = scan.name()?;
            scan.spaces();
            let before = scan.rest;
            scan.value()?;
            let value = before.get(..before.len() - scan.rest.len())?;
            set(&mut fields, name, value)?;
            if scan.byte(b',').is_none() {
                break;
            }
        }
        scan.byte(b'}')?;
    }
    scan.spaces();
    scan.rest.is_empty().then_some(fields)
}

/// Keeps the value of a known field, once.
fn set<'a>(fields: &mut Fields<'a>, name: &[u8], value: &'a [u8]) -> Option<()> {
    let field = match name {
        b"model" => &mut fields.model,
        b"stream" => &mut fields.stream,
        b"stream_options" => &mut fields.stream_options,
        b"max_tokens" => &mut fields.max_tokens,
        b"max_completion_tokens" => &mut fields.max_completion_tokens,
        b"max_output_tokens" => &mut fields.max_output_tokens,
        b"n" => &mut fields.n,
        b"size" => &mut fields.size,
        // It might be written so as not to be recognised, or be no text at all.
        name if name.contains(&b'\\') || !name.is_ascii() => return None,
        _ => return Some(()),
    };
    let may_be_null = matches!(name, b"model" | b"stream" | b"stream_options");
    let value: &RawValue = serde_json::from_slice(value).ok()?;
    if field.is_some() || (!may_be_null && value.get() == "null") {
        return None;
    }
    *field = Some(value);
    Some(())
}

/// Whether a string is surely valid: no control character, and after each backslash what may follow one.
/// Escapes by number, and a backslash that is escaped itself before anything else, are left to the other
/// reader. Without a way out of the loops, many bytes are looked at in one step.
fn is_plain(string: &[u8]) -> bool {
    let controls = string
        .iter()
        .fold(0, |found, byte| found | u8::from(*byte < 0x20));
    let pairs = string.iter().zip(string.get(1..).unwrap_or_default());
    let escapes = pairs.fold(0, |found, (byte, next)| {
        let may_follow = u8::from(*next == b'"')
            | u8::from(*next == b'\\')
            | u8::from(*next == b'/')
            | u8::from(*next == b'b')
            | u8::from(*next == b'f')
            | u8::from(*next == b'n')
            | u8::from(*next == b'r')
            | u8::from(*next == b't');
        found | (u8::from(*byte == b'\\') & (may_follow ^ 1))
    });
    controls | escapes == 0
}

/// What is left of a body.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn spaces(&mut self) {
        self.skip(text::spaces(self.rest));
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// Steps over spaces, and over this byte if it follows.
    fn byte(&mut self, byte: u8) -> Option<()> {
        self.spaces();
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    /// Steps over a member's name and its colon.
    fn name(&mut self) -> Option<&'a [u8]> {
        self.byte(b'"')?;
        let name = self.string()?;
        self.byte(b':')?;
        Some(name)
    }

    /// Steps over a string whose opening quote is behind, and gives what is between the quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let mut quotes = memchr::memchr_iter(b'"', self.rest);
        let string = loop {
            let before = self.rest.get(..quotes.next()?)?;
            let escapes = before.iter().rev().take_while(|byte| **byte == b'\\');
            if escapes.count() % 2 == 0 {
                break before;
            }
        };
        self.skip(string.len() + 1);
        is_plain(string).then_some(string)
    }

    /// Steps over a value.
    fn value(&mut self) -> Option<()> {
        // One bit for each level that is open, the innermost last: whether it is an object.
        let (mut objects, mut depth) = (0u128, 0u32);
        loop {
            self.spaces();
            let (first, rest) = self.rest.split_first()?;
            self.rest = rest;
            match first {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    let is_object = *first == b'{';
                    if self.byte(if is_object { b'}' } else { b']' }).is_none() {
                        depth = (depth < DEPTH_MAX).then_some(depth + 1)?;
                        objects = objects << 1 | u128::from(is_object);
                        if is_object {
                            self.name()?;
                        }
                        continue;
                    }
                }
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                b'-' => self.number()?,
                b'0' => self.after_digits()?,
                b'1'..=b'9' => {
                    self.digits();
                    self.after_digits()?;
                }
                _ => return None,
            }
            if !self.step_on(&mut objects, &mut depth)? {
                return Some(());
            }
        }
    }

    /// After a value: steps over what closes, to where the next value begins; false when the outermost
    /// value has ended.
    fn step_on(&mut self, objects: &mut u128, depth: &mut u32) -> Option<bool> {
        while *depth > 0 {
            let in_object = *objects & 1 == 1;
            if self.byte(b',').is_some() {
                if in_object {
                    self.name()?;
                }
                return Some(true);
            }
            self.byte(if in_object { b'}' } else { b']' })?;
            (*objects, *depth) = (*objects >> 1, *depth - 1);
        }
        Some(false)
    }

    fn word(&mut self, rest: &'static [u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(rest)?;
        Some(())
    }

    /// A number after its sign.
    fn number(&mut self) -> Option<()> {
        match self.rest {
            [b'0', rest @ ..] => self.rest = rest,
            _ => self.some_digits()?,
        }
        self.after_digits()
    }

    /// Fraction and exponent of a number.
    fn after_digits(&mut self) -> Option<()> {
        if let [b'.', rest @ ..] = self.rest {
            self.rest = rest;
            self.some_digits()?;
        }
        if let [b'e' | b'E', rest @ ..] = self.rest {
            self.rest = rest;
            if let [b'+' | b'-', rest @ ..] = self.rest {
                self.rest = rest;
            }
            self.some_digits()?;
        }
        Some(())
    }

    fn some_digits(&mut self) -> Option<()> {
        (self.digits() > 0).then_some(())
    }

    fn digits(&mut self) -> usize {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit());
        let digits = digits.count();
        self.skip(digits);
        digits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// The known fields as they are written.
    type Shown = Vec<Option<String>>;

    fn shown(fields: &Fields<'_>) -> Shown {
        let Fields {
            model,
            stream,
            stream_options,
            max_tokens,
            max_completion_tokens,
            max_output_tokens,
            n,
            size,
        } = fields;
        let all = [
            model,
            stream,
            stream_options,
            max_tokens,
            max_completion_tokens,
            max_output_tokens,
            n,
            size,
        ];
        let text = |raw: &RawValue| raw.get().to_owned();
        all.into_iter().map(|field| field.map(text)).collect()
    }

    /// What either reader finds.
    fn both(json: &[u8]) -> (Option<Shown>, Option<Shown>) {
        let slow = serde_json::from_slice::<Fields<'_>>(json).ok();
        (fields(json).as_ref().map(shown), slow.as_ref().map(shown))
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z\"\\\\\n\u{e9}{}:,\\[\\]]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-z\"\\\\]{0,4}", inner, 0..4)
                    .prop_map(|members| members.into_iter().collect::<Value>()),
            ]
        })
    }

    fn body() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            Just("model".to_owned()),
            Just("stream".to_owned()),
            Just("n".to_owned()),
            Just("max_tokens".to_owned()),
            "[a-z]{0,6}",
        ];
        let members = prop::collection::vec((name, json()), 0..6);
        (members, any::<bool>()).prop_map(|(members, pretty)| {
            let members = members.iter().map(|(name, value)| {
                let value = if pretty {
                    serde_json::to_string_pretty(value)
                } else {
                    serde_json::to_string(value)
                };
                format!("{}:{}", Value::from(name.as_str()), value.unwrap())
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        })
    }

    #[test]
    fn plain_bodies_are_read_here_and_all_else_elsewhere() {
        for plain in [
            "{}",
            " { } ",
            r#"{"model":"m","messages":[{"role":"user","content":"a\nb\"c\\"}],"n":2}"#,
            "{\n  \"stream\": true,\n  \"x\": [1, -0.5e+7, {}, [], null]\n}\n",
            r#"{"a":"\\\\","model":"m"}"#,
            r#"{"a":"\\\"\/\b\f\n\r\t"}"#,
        ] {
            let (fast, slow) = both(plain.as_bytes());
            assert!(fast.is_some(), "{plain}");
            assert_eq!(fast, slow, "{plain}");
        }
        for other in [
            r#"{"mod\u0065l":"m"}"#,
            r#"{"model":"m","model":"n"}"#,
            r#"{"n":null}"#,
            r#"{"a":1,}"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":+1}"#,
            r#"{"a":.5}"#,
            r#"{"a":1e}"#,
            r#"{"a":nul}"#,
            r#"{"a" 1}"#,
            r#"{"a":[1 2]}"#,
            r#"{"a":[1}}"#,
            r#"{"a":/* " */1}"#,
            r"{'a':1}",
            "{\"a\":\"\n\"}",
            r#"{"a":"\q"}"#,
            r#"{"a":"\u12"}"#,
            r#"{"a":"\\q"}"#,
            r#"{"a":1}{"#,
            r#"{"a":"b"#,
            "[1]",
            "",
        ] {
            assert!(fields(other.as_bytes()).is_none(), "{other}");
        }
        let deep = |levels| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(fields(deep(100).as_bytes()).is_some());
        assert!(fields(deep(300_000).as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn what_is_read_here_is_what_the_other_reader_finds(body in body()) {
            let (fast, slow) = both(body.as_bytes());
            prop_assert!(fast.is_none() || fast == slow, "{}", body);
            let plain = !body.contains("null") && !body.contains(r"\\");
            prop_assert!(fast.is_some() || slow.is_none() || !plain, "{}", body);
        }

        #[test]
        fn what_is_no_json_is_left_to_the_other_reader(
            body in body(), at in any::<prop::sample::Index>(), with in any::<Option<u8>>(),
        ) {
            let mut bytes = body.into_bytes();
            let at = at.index(bytes.len());
            match with {
                Some(byte) => bytes[at] = byte,
                None => drop(bytes.remove(at)),
            }
            let (fast, slow) = both(&bytes);
            prop_assert!(fast.is_none() || fast == slow, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

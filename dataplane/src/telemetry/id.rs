//! The id of a call: the client's own if it is well-formed, else a new one. It is in the request's headers from the
//! beginning, so that every forwarded request has it too.

use http::{HeaderMap, HeaderName, HeaderValue};
use proxyxai_contract::clock::{Clock, Millis};

/// Header that carries the request id.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Header with the id that the provider gave its response.
pub(crate) const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");

/// Longer ids are replaced.
const BYTES_MAX: usize = 128;
/// Template of a new id: this prefix, and in hexadecimal 48 bits of milliseconds since 1970 and 80 random bits. Ids of
/// one time are adjacent in control's index: at random places, each record would cost it a page.
const NEW: [u8; 36] = *b"req_00000000000000000000000000000000";
const DIGITS: [u8; 16] = *b"0123456789abcdef";

/// A call's id: 1 to 128 characters of visible ASCII. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Returns the id of a request. If it has none, or one that is not well-formed, a new id is set.
    pub fn settle(headers: &mut HeaderMap) -> Self {
        let mut given = headers.get_all(X_REQUEST_ID).iter();
        if let (Some(id), None) = (given.next(), given.next())
            && is_well_formed(id)
        {
            return Self(id.clone());
        }
        let id = Self::new(Clock::system().now(), fastrand::u128(..));
        headers.insert(X_REQUEST_ID, id.0.clone());
        id
    }

    /// Puts the id into a response.
    pub fn mark(self, headers: &mut HeaderMap) {
        headers.insert(X_REQUEST_ID, self.0);
    }

    fn new(now: Millis, random: u128) -> Self {
        let mut bits = u128::from(now.0.cast_unsigned()) << 80 | random >> 48;
        let mut text = NEW;
        for place in text.iter_mut().skip(4) {
            bits = bits.rotate_left(4);
            let digit = (bits & 0xf) as usize;
            *place = DIGITS.get(digit).copied().unwrap_or(b'0');
        }
        // Letters, digits and one underscore are always a valid header value.
        Self(HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("req_0")))
    }
}

fn is_well_formed(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(given: &[&[u8]]) -> HeaderValue {
        let mut headers = HeaderMap::new();
        for id in given {
            headers.append(X_REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
        }
        let id = RequestId::settle(&mut headers);
        let carried: Vec<_> = headers.get_all(X_REQUEST_ID).iter().collect();
        assert_eq!(carried, [&id.0], "a request carries its id once");
        id.0
    }

    #[test]
    fn a_well_formed_id_is_kept() {
        let longest = [b'x'; BYTES_MAX];
        for id in [&b"1"[..], b"my-very/own:id~!", &longest] {
            assert_eq!(settled(&[id]).as_bytes(), id);
        }
    }

    #[test]
    fn no_id_a_bad_one_and_several_are_replaced() {
        let too_long = [b'x'; BYTES_MAX + 1];
        let one = [&b""[..], b"a b", b"\xc3\xa9", b"a\tb", &too_long];
        let given = one.into_iter().map(|id| vec![id]);
        for given in given.chain([vec![], vec![&b"one"[..], b"two"]]) {
            let id = settled(&given);
            let id = id.to_str().unwrap();
            let random = id.strip_prefix("req_").unwrap();
            assert_eq!(random.len(), 32, "{given:?}: {id}");
            assert!(random.bytes().all(|byte| DIGITS.contains(&byte)));
        }
    }

    #[test]
    fn an_id_is_its_moment_and_80_random_bits() {
        let random = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
        assert_eq!(
            RequestId::new(Millis(0x0190_1234_5678), random).0,
            "req_0190123456780123456789abcdef0011"
        );
        let [first, second] = [1, 2].map(|ms| RequestId::new(Millis(ms), random).0);
        assert!(first.as_bytes() < second.as_bytes());
    }
}

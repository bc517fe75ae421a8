//! Masks the upstream key in responses. Refusals, bodies up to 64 KiB and events are searched; a longer body is
//! content, not an echo of the request.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body as _, Frame};

use super::upstream_client::UpstreamBody;
use crate::formats::secret_mask::SecretMask;

const BODY_BYTES_MAX: u64 = 64 * 1024;
/// Error pages can be longer.
const REFUSAL_BYTES_MAX: u64 = 1024 * 1024;

/// How much of a body is still searched.
pub(super) struct KeyMasker {
    left: u64,
    /// Whether a chunk may be held for the next one, if it ends like the beginning of a key.
    waits: bool,
    held: Bytes,
}

impl KeyMasker {
    pub(super) fn new(status: StatusCode, rest: &UpstreamBody, streamed: bool) -> Self {
        let refused = status.is_client_error() || status.is_server_error();
        let left = match rest.size_hint().exact() {
            _ if refused => REFUSAL_BYTES_MAX,
            Some(length) if length > BODY_BYTES_MAX => 0,
            Some(_) | None => BODY_BYTES_MAX,
        };
        Self {
            left,
            waits: !streamed,
            held: Bytes::new(),
        }
    }

    /// Returns what to forward of a chunk, or `None` if all of it is held.
    pub(super) fn pass(
        &mut self,
        chunk: Bytes,
        mask: Option<&SecretMask>,
        last: bool,
    ) -> Option<Bytes> {
        if self.left == 0 && self.held.is_empty() {
            return Some(chunk);
        }
        let Some(mask) = mask else {
            return Some(chunk);
        };
        self.left = self.left.saturating_sub(chunk.len() as u64);
        let whole = if self.held.is_empty() {
            chunk
        } else {
            [std::mem::take(&mut self.held), chunk].concat().into()
        };
        let mut shown = mask.cover(whole);
        if self.waits && !last && self.left > 0 {
            let begun = mask.begun(&shown);
            self.held = shown.split_off(shown.len() - begun);
        }
        (!shown.is_empty()).then_some(shown)
    }

    /// Returns what was held in vain.
    pub(super) fn release(&mut self) -> Option<Bytes> {
        let held = std::mem::take(&mut self.held);
        (!held.is_empty()).then_some(held)
    }

    pub(super) fn held(&self) -> u64 {
        self.held.len() as u64
    }
}

/// Masks the key in headers. Most are shorter than the key.
pub(super) fn cover_headers(headers: &mut HeaderMap, mask: &SecretMask) {
    for value in headers.values_mut() {
        if mask.is_in(value.as_bytes()) {
            let covered = mask.cover(Bytes::copy_from_slice(value.as_bytes()));
            *value = HeaderValue::from_maybe_shared(covered)
                .unwrap_or_else(|_| HeaderValue::from_static("***"));
        }
    }
}

/// The length of what was already read.
pub(super) fn length<'f>(frames: impl Iterator<Item = &'f Frame<Bytes>>) -> u64 {
    let data = frames.filter_map(Frame::data_ref);
    data.map(|data| data.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "sk-upstream-secret";

    fn passed(chunks: &[&str], mut cover: KeyMasker) -> String {
        let mask = SecretMask::new(SECRET);
        let last = chunks.len() - 1;
        let mut out = Vec::new();
        for (at, chunk) in chunks.iter().enumerate() {
            let chunk = Bytes::copy_from_slice(chunk.as_bytes());
            out.extend(cover.pass(chunk, Some(&mask), at == last));
        }
        out.extend(cover.release());
        String::from_utf8(out.concat()).unwrap()
    }

    fn body(left: u64) -> KeyMasker {
        KeyMasker {
            left,
            waits: true,
            held: Bytes::new(),
        }
    }

    #[test]
    fn a_key_that_comes_in_pieces_is_covered_and_nothing_is_lost() {
        for at in 0..=SECRET.len() {
            let (first, rest) = SECRET.split_at(at);
            let chunks = [format!("a {first}"), format!("{rest} b sk-up")];
            let chunks = [chunks[0].as_str(), chunks[1].as_str()];
            let covered = format!("a {} b sk-up", "*".repeat(SECRET.len()));
            assert_eq!(passed(&chunks, body(BODY_BYTES_MAX)), covered);
        }
    }

    #[test]
    fn what_lies_beyond_its_bounds_goes_on_as_it_came() {
        let chunks = ["0123456789", SECRET];
        assert_eq!(passed(&chunks, body(5)), chunks.concat());
    }
}

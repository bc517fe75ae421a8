//! Small functions on bytes and text that several formats share. Nothing here depends on an API.

use percent_encoding::percent_decode_str;

/// Number of JSON spaces at the beginning of a slice.
pub(super) fn spaces(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_space(**byte)).count()
}

/// Whether JSON treats this byte as a space.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// In UTF-8.
pub(super) const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// Length of a byte order mark at the beginning, or 0.
pub(super) fn bom(bytes: &[u8]) -> usize {
    if bytes.starts_with(&BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    }
}

/// The range of `part` inside `whole`, of which it must be a slice.
pub(super) fn span(whole: &[u8], part: &[u8]) -> Option<std::ops::Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

/// The parameters of a query, each with its separator from the next. Some parsers also split at `;`.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split_inclusive(['&', ';']).map(|parameter| {
        let end = parameter.trim_end_matches(['&', ';']).len();
        parameter.split_at(end)
    })
}

/// The percent-decoded text. Invalid UTF-8 is replaced.
pub(crate) fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

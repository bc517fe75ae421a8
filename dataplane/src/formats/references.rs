//! Finds the objects that a body refers to, and whether it contains images or other media. Most bodies have neither,
//! which their member names show. The others are parsed completely.

mod walk;

use std::{collections::HashMap, sync::LazyLock};

use proxyxai_contract::{object::ObjectKind, price::FastHashState};

use super::{
    Route, json_skip,
    request::{FOLDED_BYTES_MAX, fold_into},
    text,
};

/// The kind of object and its id.
pub(crate) type Reference = (ObjectKind, String);

/// A body may have at most this many references.
pub(super) const REFERENCES_MAX: usize = 256;
/// A byte order mark and a first character of four bytes each, with room for spaces.
const WIDE_START_BYTES: usize = 32;
/// No name that refers is shorter, except `id`,
const NAME_BYTES_MIN: usize = 5;
/// and none is longer, even with what a lenient parser strips.
const NAME_BYTES_MAX: usize = 64;

/// Where a name is a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReferenceScope {
    /// In every body.
    Everywhere,
    /// Where no model is called: elsewhere the name may mean anything.
    WithoutModel,
}

/// A member with one of these names holds an id, a list of ids, or an object with an id.
const NAMES: &[(&str, ObjectKind, ReferenceScope)] = &[
    ("file_id", ObjectKind::File, ReferenceScope::Everywhere),
    ("file_ids", ObjectKind::File, ReferenceScope::Everywhere),
    (
        "image_file_id",
        ObjectKind::File,
        ReferenceScope::Everywhere,
    ),
    (
        "input_file_id",
        ObjectKind::File,
        ReferenceScope::Everywhere,
    ),
    (
        "output_file_id",
        ObjectKind::File,
        ReferenceScope::Everywhere,
    ),
    (
        "error_file_id",
        ObjectKind::File,
        ReferenceScope::Everywhere,
    ),
    (
        "vector_store_id",
        ObjectKind::VectorStore,
        ReferenceScope::Everywhere,
    ),
    (
        "vector_store_ids",
        ObjectKind::VectorStore,
        ReferenceScope::Everywhere,
    ),
    (
        "container",
        ObjectKind::Container,
        ReferenceScope::Everywhere,
    ),
    (
        "container_id",
        ObjectKind::Container,
        ReferenceScope::Everywhere,
    ),
    (
        "training_file",
        ObjectKind::File,
        ReferenceScope::WithoutModel,
    ),
    (
        "validation_file",
        ObjectKind::File,
        ReferenceScope::WithoutModel,
    ),
    (
        "previous_response_id",
        ObjectKind::Response,
        ReferenceScope::WithoutModel,
    ),
    (
        "response_id",
        ObjectKind::Response,
        ReferenceScope::WithoutModel,
    ),
    (
        "assistant_id",
        ObjectKind::Assistant,
        ReferenceScope::WithoutModel,
    ),
    (
        "thread_id",
        ObjectKind::Thread,
        ReferenceScope::WithoutModel,
    ),
    ("batch_id", ObjectKind::Batch, ReferenceScope::WithoutModel),
    ("eval_id", ObjectKind::Eval, ReferenceScope::WithoutModel),
];

/// A member with one of these names holds an image, a recording or a document, or its location. Its tokens cannot be
/// derived from the body's bytes: a large plain image has few bytes.
const MEDIA: &[&str] = &[
    "image_url",
    "video_url",
    "audio_url",
    "file_url",
    "document_url",
    "file_data",
    "inline_data",
    "input_audio",
    "source",
    "image",
    "images",
    "video",
    "videos",
    "audio",
];

/// The meaning of a name.
#[derive(Debug, Clone, Copy)]
enum NameMeaning {
    Refers(ObjectKind, ReferenceScope),
    Media,
}

/// Names as the most lenient parser compares them.
static BY_NAME: LazyLock<HashMap<String, NameMeaning, FastHashState>> = LazyLock::new(|| {
    let folded = |name: &str| super::request::folded(name).collect();
    let names = NAMES
        .iter()
        .map(|(name, kind, scope)| (folded(name), NameMeaning::Refers(*kind, *scope)));
    names
        .chain(MEDIA.iter().map(|name| (folded(name), NameMeaning::Media)))
        .collect()
});

/// Why the references of a body are unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReferenceError {
    #[error("the request refers to more than {REFERENCES_MAX} objects")]
    TooMany,
    #[error("what the request refers to cannot be read: it is no plain JSON in UTF-8")]
    Unreadable,
}

/// The kind and scope of a name that refers to objects.
fn refers(name: &str) -> Option<(ObjectKind, ReferenceScope)> {
    match tells(name)? {
        NameMeaning::Refers(kind, scope) => Some((kind, scope)),
        NameMeaning::Media => None,
    }
}

fn tells(name: &str) -> Option<NameMeaning> {
    let mut buffer = [0; FOLDED_BYTES_MAX];
    BY_NAME.get(fold_into(&mut buffer, name)?).copied()
}

/// The reference in a form field.
pub(super) fn of_field(name: &str, value: &str) -> Option<Reference> {
    let id = value.trim();
    let (kind, _) = refers(name).filter(|_| !id.is_empty())?;
    Some((kind, id.to_owned()))
}

/// What member names say about references and media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is heard for itself")]
pub(crate) struct ReferenceCues {
    /// Some name refers to objects everywhere.
    everywhere: bool,
    /// Some name refers to objects where no model is called.
    without_model: bool,
    /// An item may refer to earlier output by its id.
    id: bool,
    /// There may be images or other media, or links to them.
    pub(super) media: bool,
}

impl ReferenceCues {
    const ALL: Self = Self {
        everywhere: true,
        without_model: true,
        id: true,
        media: true,
    };

    /// The cues of all members of a text. Returns `None` if it cannot be followed.
    pub(super) fn of(json: &[u8]) -> Option<Self> {
        let mut cues = Self::default();
        json_skip::skip_nested(json, |before| cues.hear(before))?;
        Some(cues)
    }

    /// Takes the bytes before the colon of a member: its name, and what precedes it.
    pub(super) fn hear(&mut self, before: &[u8]) {
        let Some(before) = before.trim_ascii_end().strip_suffix(b"\"") else {
            return;
        };
        let mark = memchr::memrchr2(b'"', b'\\', before);
        let Some((before, name)) = mark.and_then(|mark| before.split_at_checked(mark)) else {
            return;
        };
        // An escaped name may be any name.
        if name.first() == Some(&b'\\') || before.ends_with(b"\\") {
            *self = Self::ALL;
            return;
        }
        let name = name.get(1..).unwrap_or_default();
        if may_refer(name) {
            self.take(name);
        }
    }

    fn take(&mut self, name: &[u8]) {
        let Some(name) = std::str::from_utf8(name).ok() else {
            *self = Self::ALL;
            return;
        };
        if name.len() > NAME_BYTES_MAX {
            *self = Self::ALL;
            return;
        }
        match tells(name) {
            Some(NameMeaning::Refers(_, ReferenceScope::Everywhere)) => self.everywhere = true,
            Some(NameMeaning::Refers(_, ReferenceScope::WithoutModel)) => self.without_model = true,
            Some(NameMeaning::Media) => self.media = true,
            None => self.id |= super::request::folded(name).eq("id".chars()),
        }
    }

    const fn may_refer(self, route: Route) -> bool {
        match route {
            Route::Embeddings | Route::Completions => false,
            Route::Chat | Route::Messages => self.everywhere,
            Route::Responses => self.everywhere || self.id,
            Route::Other => self.everywhere || self.id || self.without_model,
        }
    }
}

/// Last letters of the names by first letter, one bit each.
const LAST_BY_FIRST: [u32; 26] = {
    let mut ends = [0; 26];
    let mut at = 0;
    while at < NAMES.len() {
        ends = with_ends(ends, NAMES[at].0);
        at += 1;
    }
    at = 0;
    while at < MEDIA.len() {
        ends = with_ends(ends, MEDIA[at]);
        at += 1;
    }
    ends
};

const fn with_ends(mut ends: [u32; 26], name: &str) -> [u32; 26] {
    let name = name.as_bytes();
    ends[(name[0] - b'a') as usize] |= 1 << (name[name.len() - 1] - b'a');
    ends
}

/// Whether a name needs a closer look, judged by its first and last letters, which every parser keeps. A name with
/// other first or last bytes may be any name.
fn may_refer(name: &[u8]) -> bool {
    match name {
        // With any separator: `i_d`.
        [b'i', .., b'd'] => true,
        [first @ b'a'..=b'z', .., last @ b'a'..=b'z'] => {
            let lasts = LAST_BY_FIRST.get(usize::from(first - b'a'));
            let may = lasts.is_some_and(|lasts| lasts >> (last - b'a') & 1 == 1);
            may && name.len() >= NAME_BYTES_MIN || name.len() > NAME_BYTES_MAX
        }
        _ => true,
    }
}

/// All references of a body. `cues` are those of its names, if known.
///
/// # Errors
/// Errors if there are too many, or if a body that may have some cannot be read.
pub(crate) fn find(
    body: &[u8],
    route: Route,
    cues: Option<ReferenceCues>,
) -> Result<Vec<Reference>, ReferenceError> {
    // Their input is text.
    if matches!(route, Route::Embeddings | Route::Completions) {
        return Ok(Vec::new());
    }
    let json = body.get(text::bom(body)..).unwrap_or_default();
    let json = json.get(text::spaces(json)..).unwrap_or_default();
    if is_wide(json) {
        return Err(ReferenceError::Unreadable);
    }
    if !matches!(json.first(), Some(b'{' | b'[')) {
        return Ok(Vec::new());
    }
    let cues = cues.or_else(|| ReferenceCues::of(json));
    if cues.is_some_and(|cues| !cues.may_refer(route)) {
        return Ok(Vec::new());
    }
    walk::references(json, route)
}

/// Whether some parsers may read it as JSON in UTF-16 or UTF-32: it begins with a byte order mark, or with zeros around
/// the first character.
fn is_wide(json: &[u8]) -> bool {
    let start = json
        .get(..json.len().min(WIDE_START_BYTES))
        .unwrap_or_default();
    let wide = |byte: &&u8| matches!(byte, 0 | 0xFE | 0xFF);
    let mut rest = start
        .iter()
        .filter(|byte| !wide(byte) && !text::is_space(**byte));
    start.iter().any(|byte| wide(&byte)) && matches!(rest.next(), Some(b'{' | b'['))
}

#[cfg(test)]
mod tests;

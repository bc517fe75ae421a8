//! The members of a body that are read or that affect its cost. Each may appear once, under its exact name. Providers
//! match names leniently (Go ignores case, and the last one wins), so names that could pass for one of these are
//! recognized.

use std::{collections::HashMap, fmt, ops::Range, sync::LazyLock};

use proxyxai_contract::price::FastHashState;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    BadRequest,
    model_names::{ModelMember, NamedModels, ROOTS},
};
use crate::formats::{parameters, references::ReferenceCues};

/// First the members that are read; then those that must not be duplicated: members with a charge of their own, and
/// texts that are counted if a provider reports no usage.
pub(super) static NAMES: LazyLock<KnownMembers> = LazyLock::new(|| {
    let read = [
        "model",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "n",
        "size",
        "background",
        "deferred",
        "previous_response_id",
        "conversation",
        "store",
        "route",
        "best_of",
        "service_tier",
        "speed",
        "quality",
        "max_tool_calls",
        "candidate_count",
        "num_generations",
        "web_search_options",
        "search_parameters",
        "enable_search",
        "mcp_servers",
        "reasoning",
        "reasoning_effort",
        "thinking",
        "inference_geo",
        "user",
        "safety_identifier",
        "metadata",
    ];
    let minded = ["prompt", "messages", "input", "system", "instructions"];
    KnownMembers::new(&read, &minded, ROOTS)
});
pub(super) const MODEL: usize = 0;
pub(super) const STREAM: usize = 1;
pub(super) const STREAM_OPTIONS: usize = 2;
/// Limits of an answer: chat's old name, which others share, its new one, and that of responses.
pub(super) const LIMITS: [usize; 3] = [3, 4, 5];
pub(super) const N: usize = 6;
pub(super) const SIZE: usize = 7;
/// Defers the work until after the call: OpenAI's responses and xAI's chat completions.
pub(super) const LATER: [usize; 2] = [8, 9];
pub(super) const PREVIOUS: usize = 10;
pub(super) const CONVERSATION: usize = 11;
pub(super) const STORE: usize = 12;
/// `OpenRouter`'s option to try other models.
pub(super) const ROUTE: usize = 13;
/// Choices that are generated, of which fewer may be returned.
pub(super) const BEST_OF: usize = 14;
/// Priority at a price: `OpenAI`'s name and Anthropic's; and the region.
pub(super) const TIER: [usize; 3] = [15, 16, 28];
/// Of images and video.
pub(super) const QUALITY: usize = 17;
/// How often tools run by the provider may be used in total.
pub(super) const TOOL_CALLS: usize = 18;
/// Google's and Cohere's names for `n`.
pub(super) const CHOICES: [usize; 2] = [19, 20];
/// Searches the web without a tool: `OpenAI`'s, xAI's and Qwen's names.
pub(super) const SEARCHES: [usize; 3] = [21, 22, 23];
/// Third-party servers whose tools the provider runs.
pub(super) const MCP_SERVERS: usize = 24;
/// Enables or limits reasoning.
pub(super) const REASONING: [usize; 3] = [25, 26, 27];
/// The text itself or, in responses, a template stored by the provider.
pub(super) const PROMPT: usize = READ;

/// Names the user of a call. Only tags depend on it, so its spelling and duplicates are not checked.
pub(super) const USER: Range<usize> = 29..READ;

/// The members of `stream_options`.
pub(super) static OPTIONS: LazyLock<KnownMembers> =
    LazyLock::new(|| KnownMembers::new(&["include_usage"], &[], &[]));
pub(super) const INCLUDE_USAGE: usize = 0;

/// Number of members that are read.
pub(super) const READ: usize = 32;

/// Longer than any of the names after folding.
pub(crate) const FOLDED_BYTES_MAX: usize = 32;

/// The known names of one object. Each member of each body is looked up here.
#[derive(Debug)]
pub(super) struct KnownMembers {
    /// Members that are read, members that are only checked, and the roots.
    all: Vec<&'static str>,
    read: usize,
    /// Members that contain names of models.
    roots: &'static [ModelMember],
    /// Index in `all` by exact name.
    exact: HashMap<&'static str, usize, FastHashState>,
    /// Index in `all` by name, as the most lenient parser compares names.
    folded: HashMap<String, usize, FastHashState>,
}

/// The match of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberMatch {
    /// The exact name, with its index.
    Exact(usize),
    /// Another spelling of this name.
    Other(&'static str),
}

/// The known members of an object as raw JSON, so that a wrong type can be reported.
#[derive(Debug, Default)]
pub(super) struct BodyMembers<'a> {
    values: [Option<&'a RawValue>; READ],
    /// The models named below roots.
    pub(super) named: NamedModels,
    seen: u64,
    /// The members that are not null.
    filled: u64,
    /// What the names of all members, also nested ones, say about references; `None` if they were not inspected.
    pub(super) cues: Option<ReferenceCues>,
    /// The first member with another spelling.
    misspelled: Option<&'static str>,
}

// === impl KnownMembers ===

impl KnownMembers {
    fn new(read: &[&'static str], minded: &[&'static str], roots: &'static [ModelMember]) -> Self {
        let named = roots.iter().map(|root| root.name);
        let all: Vec<_> = read.iter().chain(minded).copied().chain(named).collect();
        let places = || all.iter().copied().enumerate();
        Self {
            read: read.len(),
            roots,
            exact: places().map(|(at, name)| (name, at)).collect(),
            folded: places()
                .filter(|(at, _)| !USER.contains(at))
                .map(|(at, name)| (folded(name).collect(), at))
                .collect(),
            all,
        }
    }

    /// The root with this index.
    pub(super) fn root(&self, at: usize) -> Option<&'static ModelMember> {
        let before = self.all.len() - self.roots.len();
        self.roots.get(at.checked_sub(before)?)
    }

    /// Whether a name is known, or could be taken for a known one.
    pub(super) fn find(&self, name: &str) -> Option<MemberMatch> {
        if let Some(at) = self.exact.get(name) {
            return Some(MemberMatch::Exact(*at));
        }
        let mut buffer = [0; FOLDED_BYTES_MAX];
        let alike = fold_into(&mut buffer, name)?;
        let at = self.folded.get(alike)?;
        Some(MemberMatch::Other(self.get(*at)))
    }

    /// The known members of the object that makes up `json`.
    pub(super) fn read<'j>(&self, json: &'j [u8]) -> Result<BodyMembers<'j>, serde_json::Error> {
        let mut input = serde_json::Deserializer::from_slice(json);
        let members = self.deserialize(&mut input)?;
        input.end()?;
        Ok(members)
    }

    pub(super) fn get(&self, at: usize) -> &'static str {
        self.all.get(at).copied().unwrap_or_default()
    }
}

/// A name as the most lenient parser compares it. Returns `None` if it cannot be a known name: those are short and
/// ASCII.
pub(crate) fn fold_into<'b>(buffer: &'b mut [u8; FOLDED_BYTES_MAX], name: &str) -> Option<&'b str> {
    let mut len = 0;
    for char in folded(name) {
        *buffer.get_mut(len)? = u8::try_from(char).ok().filter(u8::is_ascii)?;
        len += 1;
    }
    std::str::from_utf8(buffer.get(..len)?).ok()
}

/// A name as the most lenient parser compares it: without case (Go's `encoding/json` also folds K and ſ, Java the
/// dotted and the dotless i), without `_` and `-` (Go's `json/v2` with `case:ignore`), trimmed, and cut at NUL.
pub(crate) fn folded(name: &str) -> impl Iterator<Item = char> + '_ {
    let name = name.split('\0').next().unwrap_or_default();
    let name = name.trim_matches(|char: char| char.is_whitespace() || char.is_control());
    let kept = name.chars().filter(|char| !matches!(char, '_' | '-'));
    kept.map(|char| match char {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        other => other.to_ascii_lowercase(),
    })
}

/// The member that a query parameter would be taken for, in any encoding.
pub(crate) fn in_query(query: &str) -> Option<&'static str> {
    parameters(query).find_map(|(pair, _)| {
        let name = pair.split('=').next().unwrap_or_default();
        alike(&name.replace('+', " "))
    })
}

/// The member that a name would be taken for by parsers that also decode it, unquote it, or strip array suffixes
/// (`model[]`).
pub(super) fn alike(name: &str) -> Option<&'static str> {
    // Twice: some parsers decode what is already decoded.
    let name = crate::formats::text::percent_decoded(name);
    let name = crate::formats::text::percent_decoded(&name).replace('\\', "");
    let name = name.split('[').next().unwrap_or_default();
    let name = name.trim_matches(|char: char| matches!(char, '"' | '\'') || char.is_whitespace());
    NAMES.find(name).and_then(|found| match found {
        MemberMatch::Exact(at) => (!USER.contains(&at)).then(|| NAMES.get(at)),
        MemberMatch::Other(known) => Some(known),
    })
}

// === impl BodyMembers ===

impl<'a> BodyMembers<'a> {
    /// The value of a member that is read.
    pub(super) fn value(&self, at: usize) -> Option<&'a RawValue> {
        self.values.get(at).copied().flatten()
    }

    /// Refuses a name that a lenient parser takes for a known one. Without `strict`, this covers only names of models.
    pub(super) fn check_spelling(&self, strict: bool) -> Result<(), BadRequest> {
        let names_models = |known: &str| {
            known == NAMES.get(MODEL) || NAMES.roots.iter().any(|root| root.name == known)
        };
        let bad = |known: &&str| strict || names_models(known);
        match self.misspelled.filter(bad) {
            None => Ok(()),
            Some(field) => Err(BadRequest::Field {
                field,
                problem: "is written under a name that some providers read as this one",
            }),
        }
    }

    /// Records a member. Returns false if it is a duplicate.
    pub(super) fn note(&mut self, at: usize) -> bool {
        let mark = mark(at);
        let new = self.seen & mark == 0;
        self.seen |= mark;
        new
    }

    /// Records that a member is not null.
    pub(super) fn fill(&mut self, at: usize) {
        self.filled |= mark(at);
    }

    /// Whether a member is present and not null.
    pub(super) fn has(&self, at: usize) -> bool {
        self.filled & mark(at) != 0
    }

    /// Keeps the value of a member that is read.
    pub(super) fn keep(&mut self, at: usize, value: &'a RawValue) {
        if let Some(place) = self.values.get_mut(at) {
            *place = Some(value);
        }
    }
}

fn mark(at: usize) -> u64 {
    let at = u32::try_from(at).unwrap_or(u32::MAX);
    1u64.checked_shl(at).unwrap_or_default()
}

impl<'de> DeserializeSeed<'de> for &KnownMembers {
    type Value = BodyMembers<'de>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<BodyMembers<'de>, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &KnownMembers {
    type Value = BodyMembers<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<BodyMembers<'de>, A::Error> {
        let mut members = BodyMembers::default();
        while let Some(name) = object.next_key::<String>()? {
            match self.find(&name) {
                Some(MemberMatch::Exact(at)) if !members.note(at) && !USER.contains(&at) => {
                    return Err(A::Error::duplicate_field(self.get(at)));
                }
                Some(MemberMatch::Exact(at)) if at < self.read => {
                    members.keep(at, object.next_value()?);
                }
                Some(MemberMatch::Other(known)) => {
                    members.misspelled.get_or_insert(known);
                    object.next_value::<IgnoredAny>()?;
                }
                Some(MemberMatch::Exact(at)) => match self.root(at) {
                    Some(root) => members.named.add(root, object.next_value()?),
                    None => {
                        if object.next_value::<Option<IgnoredAny>>()?.is_some() {
                            members.fill(at);
                        }
                    }
                },
                None => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_a_lenient_reader_takes_for_another_is_known() {
        for (name, known) in [
            ("Model", "model"),
            ("MODEL", "model"),
            ("model ", "model"),
            ("model\0x", "model"),
            ("\u{17f}tream", "stream"),
            ("max_to\u{212a}ens", "max_tokens"),
            ("MaxTokens", "max_tokens"),
            ("service-tier", "service_tier"),
            ("s\u{131}ze", "size"),
            ("N", "n"),
        ] {
            assert_eq!(NAMES.find(name), Some(MemberMatch::Other(known)), "{name}");
        }
        for name in ["modell", "", "_", "\u{0}", "models2", "top_p", "m\u{f6}del"] {
            assert_eq!(NAMES.find(name), None, "{name}");
        }
    }

    #[test]
    fn a_query_that_names_a_model_is_known_however_it_is_encoded() {
        for query in [
            "model=a",
            "x=1&model=a",
            "x;model",
            "%6dodel=a",
            "%256dodel=a",
            "model%5B%5D=a",
            "model[0]=a",
            "MODEL=a",
            "+model=a",
            "%00&model%00=a",
        ] {
            assert_eq!(in_query(query), Some("model"), "{query}");
        }
        for query in [
            "",
            "beta=true",
            "x=model",
            "api-version=2024-10-21",
            "a=%26model%3D1",
        ] {
            assert_eq!(in_query(query), None, "{query}");
        }
    }

    #[test]
    fn whom_a_call_is_for_may_be_told_in_any_spelling_and_twice() {
        assert_eq!(NAMES.find("User"), None);
        assert_eq!(in_query("user=a&metadata=b"), None);
        let members = NAMES.read(br#"{"user":"a","User":"b","metadata":{},"user":"c"}"#);
        let members = members.unwrap();
        assert_eq!(members.value(USER.start).map(RawValue::get), Some(r#""c""#));
        assert!(members.check_spelling(true).is_ok());
    }

    #[test]
    fn places_and_names_belong_together() {
        for (at, name) in [
            (MODEL, "model"),
            (STREAM, "stream"),
            (N, "n"),
            (SIZE, "size"),
        ] {
            assert_eq!(NAMES.find(name), Some(MemberMatch::Exact(at)));
        }
        assert_eq!(NAMES.get(STREAM_OPTIONS), "stream_options");
        assert!(LIMITS.iter().all(|at| NAMES.get(*at).contains("tokens")));
        assert!(NAMES.all.len() <= 64 && NAMES.read <= READ);
        assert_eq!(NAMES.exact.len(), NAMES.all.len(), "each stands there once");
        for name in &NAMES.all {
            assert!(folded(name).count() <= FOLDED_BYTES_MAX, "{name}");
        }
    }

    proptest! {
        // `encoding/json` "prefers an exact match but also accepts a case-insensitive match"
        // (https://pkg.go.dev/encoding/json#Unmarshal), by simple folding: of letters outside ASCII only
        // U+017F and U+212A fold to one inside.
        #[test]
        fn no_case_hides_a_name(at in 0usize..27, upper in any::<u32>(), odd in any::<bool>()) {
            prop_assume!(!USER.contains(&at));
            let known = NAMES.get(at);
            let spelled: String = known.chars().enumerate().map(|(place, char)| match char {
                's' if odd => '\u{17f}',
                'k' if odd => '\u{212a}',
                char if upper >> place & 1 == 1 => char.to_ascii_uppercase(),
                char => char,
            }).collect();
            let expected = if spelled == known { MemberMatch::Exact(at) } else { MemberMatch::Other(known) };
            prop_assert_eq!(NAMES.find(&spelled), Some(expected));
        }
    }
}

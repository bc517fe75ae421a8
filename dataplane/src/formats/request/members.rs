//! The members of a body that are read, or that change what a call costs: each may stand there once, under its
//! very name. Providers read names more leniently than JSON has them (Go without case, the last one winning), so
//! a name that any of them could take for one of these is told apart from all others.

use std::{collections::HashMap, fmt, ops::Range, sync::LazyLock};

use proxyxai_contract::price::FastHashState;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    BadRequest,
    model_names::{ModelMember, NamedModels, ROOTS},
};
use crate::formats::{parameters, references::ReferenceCues};

/// What is read comes first, then what only must not be there twice: what is charged for otherwise, and the
/// texts that are counted where a provider reports nothing.
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
/// Limits of an answer: chat's old name, which others have too, its new one, and that of responses.
pub(super) const LIMITS: [usize; 3] = [3, 4, 5];
pub(super) const N: usize = 6;
pub(super) const SIZE: usize = 7;
/// What has the work done after the call: OpenAI's responses and xAI's chat completions.
pub(super) const LATER: [usize; 2] = [8, 9];
pub(super) const PREVIOUS: usize = 10;
pub(super) const CONVERSATION: usize = 11;
pub(super) const STORE: usize = 12;
/// `OpenRouter`'s word for trying other models.
pub(super) const ROUTE: usize = 13;
/// Answers that are written, of which fewer may be given back.
pub(super) const BEST_OF: usize = 14;
/// Who is to be served first, at a price: `OpenAI`'s name and Anthropic's; and where.
pub(super) const TIER: [usize; 3] = [15, 16, 28];
/// Of pictures and video.
pub(super) const QUALITY: usize = 17;
/// How often tools that the provider runs may be used in all.
pub(super) const TOOL_CALLS: usize = 18;
/// Google's and Cohere's names for `n`.
pub(super) const CHOICES: [usize; 2] = [19, 20];
/// What has the web searched without a tool: `OpenAI`'s, xAI's and Qwen's names.
pub(super) const SEARCHES: [usize; 3] = [21, 22, 23];
/// Servers of others, whose tools are run.
pub(super) const MCP_SERVERS: usize = 24;
/// Says that the model is to think, or how much.
pub(super) const REASONING: [usize; 3] = [25, 26, 27];
/// The text itself, or, of responses, a template that the provider keeps.
pub(super) const PROMPT: usize = READ;

/// What says for whom a call is: nothing depends on it, so it may stand there as it likes.
pub(super) const TOLD: Range<usize> = 29..READ;

/// Those of `stream_options`.
pub(super) static OPTIONS: LazyLock<KnownMembers> =
    LazyLock::new(|| KnownMembers::new(&["include_usage"], &[], &[]));
pub(super) const INCLUDE_USAGE: usize = 0;

/// How many are read.
pub(super) const READ: usize = 32;

/// Longer than any of the names, folded.
pub(crate) const FOLDED_BYTES_MAX: usize = 32;

/// Names of one object that matter. Each member of each body is looked up in them.
#[derive(Debug)]
pub(super) struct KnownMembers {
    /// Those that are read, those that are minded, and the roots.
    all: Vec<&'static str>,
    read: usize,
    /// Those with names of models inside.
    roots: &'static [ModelMember],
    /// Where they stand in `all`.
    exact: HashMap<&'static str, usize, FastHashState>,
    /// The same, as the most lenient reader compares them.
    folded: HashMap<String, usize, FastHashState>,
}

/// A name, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberMatch {
    /// Its place among the names.
    Exact(usize),
    /// Another spelling of this one.
    Other(&'static str),
}

/// What an object has of them, as it was written, so that a wrong type can be named.
#[derive(Debug, Default)]
pub(super) struct BodyMembers<'a> {
    values: [Option<&'a RawValue>; READ],
    /// The models that are named below roots.
    pub(super) named: NamedModels,
    seen: u64,
    /// Those of them that are not null.
    filled: u64,
    /// What the names of all members, nested ones too, tell of references; none where they were not looked at.
    pub(super) cues: Option<ReferenceCues>,
    /// The first one that is spelled in another way.
    misspelled: Option<&'static str>,
}

// === impl Names ===

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
                .filter(|(at, _)| !TOLD.contains(at))
                .map(|(at, name)| (folded(name).collect(), at))
                .collect(),
            all,
        }
    }

    /// The root at this place.
    pub(super) fn root(&self, at: usize) -> Option<&'static ModelMember> {
        let before = self.all.len() - self.roots.len();
        self.roots.get(at.checked_sub(before)?)
    }

    /// Whether a name is one of these, or could be taken for one.
    pub(super) fn find(&self, name: &str) -> Option<MemberMatch> {
        if let Some(at) = self.exact.get(name) {
            return Some(MemberMatch::Exact(*at));
        }
        let mut buffer = [0; FOLDED_BYTES_MAX];
        let alike = fold_into(&mut buffer, name)?;
        let at = self.folded.get(alike)?;
        Some(MemberMatch::Other(self.get(*at)))
    }

    /// What an object that is all of `json` has of them.
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

/// A name as the most lenient reader compares it; none for one that is none of ours, which are short and in ASCII.
pub(crate) fn fold_into<'b>(buffer: &'b mut [u8; FOLDED_BYTES_MAX], name: &str) -> Option<&'b str> {
    let mut len = 0;
    for char in folded(name) {
        *buffer.get_mut(len)? = u8::try_from(char).ok().filter(u8::is_ascii)?;
        len += 1;
    }
    std::str::from_utf8(buffer.get(..len)?).ok()
}

/// A name as the most lenient reader compares it: without case (Go's `encoding/json` folds K and ſ as well, Java
/// the dotted and the dotless i), without `_` and `-` (Go's `json/v2` with `case:ignore`), without blanks
/// around it, and to its NUL at most.
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

/// The member that a parameter of a query would be taken for, however it is encoded.
pub(crate) fn in_query(query: &str) -> Option<&'static str> {
    parameters(query).find_map(|(pair, _)| {
        let name = pair.split('=').next().unwrap_or_default();
        alike(&name.replace('+', " "))
    })
}

/// The member that a name would be taken for by readers that also decode it, take it out of quotes, or cut off
/// what belongs to an array (`model[]`).
pub(super) fn alike(name: &str) -> Option<&'static str> {
    // Twice: some decode what has been decoded already.
    let name = crate::formats::text::percent_decoded(name);
    let name = crate::formats::text::percent_decoded(&name).replace('\\', "");
    let name = name.split('[').next().unwrap_or_default();
    let name = name.trim_matches(|char: char| matches!(char, '"' | '\'') || char.is_whitespace());
    NAMES.find(name).and_then(|found| match found {
        MemberMatch::Exact(at) => (!TOLD.contains(&at)).then(|| NAMES.get(at)),
        MemberMatch::Other(known) => Some(known),
    })
}

// === impl Members ===

impl<'a> BodyMembers<'a> {
    /// The value of one that is read.
    pub(super) fn value(&self, at: usize) -> Option<&'a RawValue> {
        self.values.get(at).copied().flatten()
    }

    /// Refuses a name that a lenient reader takes for a known one; those of models wherever there are any.
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

    /// Notes one; false when it was there already.
    pub(super) fn note(&mut self, at: usize) -> bool {
        let mark = mark(at);
        let new = self.seen & mark == 0;
        self.seen |= mark;
        new
    }

    /// Notes that one is not null.
    pub(super) fn fill(&mut self, at: usize) {
        self.filled |= mark(at);
    }

    /// Whether one is there, and not null.
    pub(super) fn has(&self, at: usize) -> bool {
        self.filled & mark(at) != 0
    }

    /// Keeps the value of one that is read.
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
                Some(MemberMatch::Exact(at)) if !members.note(at) && !TOLD.contains(&at) => {
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
        assert_eq!(members.value(TOLD.start).map(RawValue::get), Some(r#""c""#));
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
            prop_assume!(!TOLD.contains(&at));
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

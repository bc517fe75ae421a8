//! The objects that a body refers to, wherever in it. Nearly all bodies refer to none, which a search for a few
//! words shows; the others are read as a whole.

use std::{fmt, sync::LazyLock};

use aho_corasick::PatternID;
use proxyxai_contract::object::Kind;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{Route, words::Words};

/// One of these is in every body that refers to an object by something other than what `request` reads. They are
/// looked for in one pass: prompts are long, and mostly there is none.
const WORDS: [&str; 5] = [
    "file_id",
    "vector_store_id",
    "\"container\"",
    "container_id",
    "item_reference",
];
/// And these where no model is called.
const MORE_WORDS: [&str; 3] = [ID, "_file\"", "_id\""];
/// Members of items that are enough to refer to one.
const ID: &str = "\"id\"";
/// What the names of a body's members tell of references in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cues {
    /// One of those that refer to an object whatever stands around them.
    word: bool,
    /// One that does so where no model is called.
    more: bool,
    id: bool,
}

impl Cues {
    /// Hears what stands before the colon of a member: its name, and whatever comes before that.
    pub(super) fn hear(&mut self, before: &[u8]) {
        let Some(name) = before.trim_ascii_end().strip_suffix(b"\"") else {
            return;
        };
        // Mostly the last letter tells.
        match name.last() {
            Some(b'd') => {
                self.id |= name.ends_with(b"\"id");
                self.word |= ends(name, &["file_id", "vector_store_id", "container_id"]);
                self.more |= ends(name, &["_id"]);
            }
            Some(b's') => self.word |= ends(name, &["file_ids", "vector_store_ids"]),
            Some(b'r') => self.word |= ends(name, &["container"]),
            Some(b'e') => self.more |= ends(name, &["_file"]),
            _ => {}
        }
        // A name with an escape in it may be any.
        let mark = memchr::memrchr2(b'"', b'\\', name);
        let marked = mark.and_then(|at| Some((name.get(at)?, name.get(at.checked_sub(1)?))));
        if matches!(marked, Some((b'\\', _) | (_, Some(b'\\')))) {
            (self.word, self.more, self.id) = (true, true, true);
        }
    }

    const fn may_refer(self, route: Route) -> bool {
        match route {
            Route::Embeddings | Route::Completions => false,
            Route::Chat | Route::Messages => self.word,
            Route::Responses => self.word || self.id,
            Route::Other => self.word || self.id || self.more,
        }
    }
}

fn ends(name: &[u8], with: &[&str]) -> bool {
    with.iter().any(|end| name.ends_with(end.as_bytes()))
}

/// How a letter of a word would be hidden.
const ESCAPE: &str = "\\u00";

static OF_MODELS: LazyLock<Words> = LazyLock::new(|| words(&[]));
static OF_RESPONSES: LazyLock<Words> = LazyLock::new(|| words(&[ID]));
static OF_OTHERS: LazyLock<Words> = LazyLock::new(|| words(&MORE_WORDS));

/// These words, an escape first.
fn words(more: &[&'static str]) -> Words {
    let words = [ESCAPE].into_iter().chain(WORDS);
    Words::new(words.chain(more.iter().copied()))
}

/// More than this many references are too many.
const REFERENCES_MAX: usize = 256;
const DEPTH_MAX: usize = 100;

/// A reference: to what, and its id.
pub(crate) type Reference = (Kind, String);

/// All references of a body, of which the names are known perhaps. None when there are too many.
pub(crate) fn find(body: &[u8], route: Route, cues: Option<Cues>) -> Option<Vec<Reference>> {
    if !cues.map_or_else(|| may_refer(body, route), |cues| cues.may_refer(route)) {
        return Some(Vec::new());
    }
    let mut found = Vec::new();
    let mut input = serde_json::Deserializer::from_slice(body);
    let walk = Walk {
        found: &mut found,
        place: Place::Anywhere,
        depth: 0,
    };
    // A body that is no JSON, or ends early, refers to what was found until then.
    let walked = walk.deserialize(&mut input);
    drop(walked);
    found.sort_by(|one, other| one.1.cmp(&other.1));
    found.dedup();
    (found.len() <= REFERENCES_MAX).then_some(found)
}

fn may_refer(body: &[u8], route: Route) -> bool {
    let words = match route {
        // Their input is text.
        Route::Embeddings | Route::Completions => return false,
        Route::Chat | Route::Messages => &OF_MODELS,
        Route::Responses => &OF_RESPONSES,
        Route::Other => &OF_OTHERS,
    };
    let Some(mut found) = words.find(body) else {
        return !body.is_empty();
    };
    // Mostly an escape is of a control character.
    let hides = |at: usize| matches!(body.get(at + ESCAPE.len()), Some(b'4'..=b'7'));
    found.any(|found| found.pattern() != PatternID::ZERO || hides(found.start()))
}

/// What a value is, by the name before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    /// An id, or a list of them, or an object that has one.
    Id(Kind),
    /// Something of the client's own, in which names mean nothing.
    Own,
    /// What a model is given, or a conversation: each may stand for something that was put out before.
    Items,
    /// Its `id` and its `type`.
    ItemId,
    ItemType,
    /// What makes more of it than a reference.
    Substance,
}

fn place(name: &str) -> Place {
    match name {
        "file_id" | "file_ids" | "input_file_id" | "training_file" | "validation_file"
        | "output_file_id" | "error_file_id" | "image_file_id" => Place::Id(Kind::File),
        "vector_store_id" | "vector_store_ids" => Place::Id(Kind::VectorStore),
        "container" | "container_id" => Place::Id(Kind::Container),
        "previous_response_id" | "response_id" => Place::Id(Kind::Response),
        "assistant_id" => Place::Id(Kind::Assistant),
        "thread_id" => Place::Id(Kind::Thread),
        "batch_id" => Place::Id(Kind::Batch),
        "eval_id" => Place::Id(Kind::Eval),
        "metadata" | "parameters" | "input_schema" | "json_schema" | "schema" | "properties"
        | "arguments" | "filters" => Place::Own,
        "input" | "items" => Place::Items,
        "id" => Place::ItemId,
        "type" => Place::ItemType,
        "content" | "encrypted_content" | "result" | "output" | "action" | "call_id" | "code"
        | "name" | "queries" => Place::Substance,
        _ => Place::Anywhere,
    }
}

/// A member's name, as far as it matters.
struct Name(Place);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Named;
        impl Visitor<'_> for Named {
            type Value = Name;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(Name(place(name)))
            }
        }
        input.deserialize_str(Named)
    }
}

/// Goes through one value.
struct Walk<'f> {
    found: &'f mut Vec<Reference>,
    place: Place,
    depth: usize,
}

impl Walk<'_> {
    fn note(&mut self, id: &str) {
        if let Place::Id(kind) = self.place
            && !id.is_empty()
            && self.found.len() <= REFERENCES_MAX
        {
            self.found.push((kind, id.to_owned()));
        }
    }

    fn inside(&mut self, place: Place) -> Walk<'_> {
        Walk {
            found: self.found,
            place,
            depth: self.depth + 1,
        }
    }
}

/// What an object says of itself.
#[derive(Default)]
struct Said {
    id: Option<String>,
    kind: Option<String>,
    substance: bool,
}

impl Said {
    /// Whether it stands for something that the provider has.
    fn refers(&self) -> bool {
        match self.kind.as_deref() {
            None
            | Some("item_reference" | "reasoning" | "image_generation_call" | "compaction") => {
                !self.substance
            }
            Some(_) => false,
        }
    }
}

/// Texts, and all else.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Other(IgnoredAny),
}

impl Text {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Other(_) => None,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a body")
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.note(text);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        if self.depth > DEPTH_MAX {
            return Err(A::Error::custom("too deep"));
        }
        let place = self.place;
        while list.next_element_seed(self.inside(place))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<(), A::Error> {
        if self.depth > DEPTH_MAX {
            return Err(A::Error::custom("too deep"));
        }
        let (before, mut said) = (self.found.len(), Said::default());
        while let Some(Name(place)) = object.next_key()? {
            match place {
                Place::Own => drop(object.next_value::<IgnoredAny>()?),
                Place::ItemId => said.id = object.next_value::<Text>()?.text().or(said.id),
                Place::ItemType => said.kind = object.next_value::<Text>()?.text().or(said.kind),
                place => {
                    let substance = place == Place::Substance;
                    said.substance |= substance;
                    object.next_value_seed(self.inside(place))?;
                }
            }
        }
        if said
            .kind
            .as_deref()
            .is_some_and(|kind| kind.ends_with("tool_use"))
        {
            // Its input is what the model made up.
            self.found.truncate(before);
            return Ok(());
        }
        let Some(id) = &said.id else {
            return Ok(());
        };
        if matches!(self.place, Place::Id(_)) {
            self.note(id);
        } else if self.place == Place::Items && said.refers() && self.found.len() <= REFERENCES_MAX
        {
            self.found.push((Kind::Item, id.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(body: &str, route: Route) -> Vec<(&'static str, String)> {
        let found = find(body.as_bytes(), route, None).unwrap();
        // What the names tell beforehand must not make a difference.
        let cues = crate::formats::request::read(body.as_bytes(), "application/json", false)
            .ok()
            .and_then(|facts| facts.cues);
        assert_eq!(find(body.as_bytes(), route, cues).unwrap(), found, "{body}");
        found
            .into_iter()
            .map(|(kind, id)| (kind.as_str(), id))
            .collect()
    }

    proptest! {
        #[test]
        fn no_name_that_refers_is_missed(
            name in "file_id|file_ids|image_file_id|vector_store_ids|container|container_id|id|batch_id|training_file|\\\\u0066ile_id|fil\\\\u0065_id",
            space in "[ \n]{0,70}",
            fill in "[a-z]{0,90}",
            depth in 0usize..4,
            route in prop::sample::select(vec![Route::Chat, Route::Messages, Route::Responses, Route::Other]),
        ) {
            let mut value = format!("{{\"{fill}\":1,\"{name}\"{space}:{space}\"X\"}}");
            for _ in 0..depth {
                value = format!("[{{\"a\":{value}}}]");
            }
            found(&format!("{{\"model\":\"m\",\"input\":[{value}]}}"), route);
        }
    }

    #[test]
    fn a_reference_is_found_wherever_a_provider_looks_for_one() {
        for (body, kind) in [
            (
                r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"X"}}]}]}"#,
                "file",
            ),
            (
                r#"{"messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"X"}}]}]}"#,
                "file",
            ),
            (
                r#"{"messages":[{"content":[{"type":"tool_result","content":[{"source":{"file_id":"X"}}]}]}]}"#,
                "file",
            ),
            (
                r#"{"input":[{"content":[{"type":"input_image","file_id":"X"}]}]}"#,
                "file",
            ),
            (
                r#"{"input":[{"content":[{"type":"input_image","\u0066ile_id":"X"}]}]}"#,
                "file",
            ),
            (
                r#"{"tools":[{"type":"file_search","vector_store_ids":["X"]}]}"#,
                "vector_store",
            ),
            (
                r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["X"]}}]}"#,
                "file",
            ),
            (
                r#"{"tools":[{"type":"code_interpreter","container":"X"}]}"#,
                "container",
            ),
            (r#"{"container":{"id":"X","skills":[]}}"#, "container"),
            (
                r#"{"input_file_id":"X","endpoint":"/v1/chat/completions"}"#,
                "file",
            ),
            (
                r#"{"prompt":{"id":"pmpt_1","variables":{"a":{"type":"input_file","file_id":"X"}}}}"#,
                "file",
            ),
        ] {
            assert_eq!(found(body, Route::Chat), [(kind, "X".to_owned())], "{body}");
        }
        let job = r#"{"training_file":"X","model":"m"}"#;
        assert_eq!(found(job, Route::Other), [("file", "X".to_owned())]);
        for body in [
            r#"{"input":[{"type":"item_reference","id":"X"}]}"#,
            r#"{"input":[{"id":"X"}]}"#,
            r#"{"input":[{"type":"reasoning","id":"X","summary":[]}]}"#,
            r#"{"input":[{"type":"image_generation_call","id":"X"}]}"#,
        ] {
            assert_eq!(
                found(body, Route::Responses),
                [("item", "X".to_owned())],
                "{body}"
            );
        }
    }

    #[test]
    fn what_a_client_or_a_model_made_up_refers_to_nothing() {
        for body in [
            r#"{"metadata":{"file_id":"X"}}"#,
            r#"{"tools":[{"parameters":{"properties":{"file_id":{"default":"X"}}}}]}"#,
            r#"{"messages":[{"content":[{"type":"tool_use","id":"t","input":{"file_id":"X"}}]}]}"#,
            r#"{"messages":[{"content":"\"file_id\":\"X\""}]}"#,
            r#"{"input":[{"type":"message","id":"X","content":[]}]}"#,
            r#"{"input":[{"type":"reasoning","id":"X","encrypted_content":"e"}]}"#,
            r#"{"input":[{"type":"function_call_output","id":"X","call_id":"c","output":"o"}]}"#,
            r#"{"id":"X","input":"hi"}"#,
            "",
            "no JSON: file_id",
        ] {
            assert_eq!(found(body, Route::Responses), [], "{body}");
        }
    }

    #[test]
    fn too_many_references_are_refused() {
        let ids: Vec<_> = (0..1000).map(|at| format!("\"f{at}\"")).collect();
        let body = format!(r#"{{"file_ids":[{}]}}"#, ids.join(","));
        assert_eq!(find(body.as_bytes(), Route::Chat, None), None);
    }
}

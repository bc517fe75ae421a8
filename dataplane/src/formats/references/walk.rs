//! Parses a whole body for its references. Names are compared like the most lenient parser does, and duplicate members
//! all count. What cannot be read is an error, because a provider may be able to read it.

use std::{borrow::Cow, collections::HashSet, fmt, ops::Range, sync::LazyLock};

use memchr::memmem::Finder;
use proxyxai_contract::object::ObjectKind;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{REFERENCES_MAX, Reference, ReferenceError, ReferenceScope, refers};
use crate::formats::Route;

/// Half of a character that JSON writes as two escapes. Clients cut texts between the two; ids contain neither.
static HALF: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| [br"\ud", br"\uD"].map(Finder::new));
const ESCAPE_BYTES: usize = 6;

/// All references of a text.
///
/// # Errors
/// Errors if there are too many, or if it cannot be read.
pub(super) fn references(json: &[u8], route: Route) -> Result<Vec<Reference>, ReferenceError> {
    let with_model = route != Route::Other;
    match read(json, with_model) {
        Err(ReferenceError::Unreadable) => read(&without_halves(json), with_model),
        found => found,
    }
}

fn read(json: &[u8], with_model: bool) -> Result<Vec<Reference>, ReferenceError> {
    let mut found = FoundReferences {
        with_model,
        ..FoundReferences::default()
    };
    let mut input = serde_json::Deserializer::from_slice(json);
    let walk = ReferenceVisitor {
        found: &mut found,
        place: ValueRole::Root,
    };
    let walked = walk.deserialize(&mut input).and_then(|_| input.end());
    if found.too_many {
        return Err(ReferenceError::TooMany);
    }
    walked.map_err(|_| ReferenceError::Unreadable)?;
    Ok(found.order)
}

/// The text with blanks for half escapes.
fn without_halves(json: &[u8]) -> Cow<'_, [u8]> {
    let mut text = Cow::Borrowed(json);
    for at in HALF.iter().flat_map(|half| half.find_iter(json)) {
        let before = json.get(..at).unwrap_or_default();
        let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\');
        let is_half = matches!(
            json.get(at + 3),
            Some(b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
        );
        if backslashes.count() % 2 == 0
            && is_half
            && let Some(escape) = text.to_mut().get_mut(at..at + ESCAPE_BYTES)
        {
            escape.fill(b' ');
        }
    }
    text
}

/// The references found, without duplicates.
#[derive(Default)]
struct FoundReferences {
    order: Vec<Reference>,
    seen: HashSet<Reference>,
    too_many: bool,
    with_model: bool,
}

impl FoundReferences {
    /// Returns false if there are too many.
    fn add(&mut self, kind: ObjectKind, id: &str) -> bool {
        let reference = (kind, id.to_owned());
        if id.is_empty() || self.seen.contains(&reference) {
            return true;
        }
        self.too_many |= self.order.len() >= REFERENCES_MAX;
        if !self.too_many {
            self.seen.insert(reference.clone());
            self.order.push(reference);
        }
        !self.too_many
    }

    /// Removes the references first found in this range.
    fn forget(&mut self, made_up: Range<usize>) {
        for reference in self.order.drain(made_up) {
            self.seen.remove(&reference);
        }
    }
}

/// The role of a value, from the name before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValueRole {
    Anywhere,
    /// The body itself.
    Root,
    /// An id, a list of ids, or an object with an id.
    Id(ObjectKind),
    /// The client's own data, in which names mean nothing.
    Own,
    /// Members with names chosen by the client; their values have the usual meaning.
    Named,
    /// The model's input, or a conversation: each item may refer to earlier output.
    Items,
    /// Its `id` and its `type`.
    ItemId,
    ItemType,
    /// Content that makes an item more than a reference.
    Substance(Substance),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Substance {
    Content,
    Encrypted,
    Result,
}

fn place(name: &str, with_model: bool) -> ValueRole {
    match name {
        "metadata" | "parameters" | "input_schema" | "json_schema" | "schema" | "properties"
        | "arguments" | "filters" => return ValueRole::Own,
        "variables" => return ValueRole::Named,
        "content" => return ValueRole::Substance(Substance::Content),
        "encrypted_content" => return ValueRole::Substance(Substance::Encrypted),
        "result" => return ValueRole::Substance(Substance::Result),
        _ => {}
    }
    match refers(name) {
        Some((kind, ReferenceScope::Everywhere)) => return ValueRole::Id(kind),
        Some((kind, ReferenceScope::WithoutModel)) if !with_model => return ValueRole::Id(kind),
        Some(_) | None => {}
    }
    let is = |known: &str| crate::formats::request::folded(name).eq(known.chars());
    if is("input") || is("items") {
        ValueRole::Items
    } else if is("id") {
        ValueRole::ItemId
    } else if is("type") {
        ValueRole::ItemType
    } else {
        ValueRole::Anywhere
    }
}

/// The relevant part of a member's name.
struct RoleSeed {
    with_model: bool,
}

impl<'de> DeserializeSeed<'de> for RoleSeed {
    type Value = ValueRole;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<ValueRole, D::Error> {
        input.deserialize_str(self)
    }
}

impl Visitor<'_> for RoleSeed {
    type Value = ValueRole;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<ValueRole, E> {
        Ok(place(name, self.with_model))
    }
}

/// Visits one value.
struct ReferenceVisitor<'f> {
    found: &'f mut FoundReferences,
    place: ValueRole,
}

/// The result of a visit.
#[derive(Default)]
struct VisitedValue {
    /// Whether it was not empty.
    something: bool,
    text: Option<String>,
}

impl VisitedValue {
    fn of(something: bool) -> Self {
        Self {
            something,
            text: None,
        }
    }
}

/// What an object says about itself.
#[derive(Default)]
struct ObjectFacts {
    ids: Vec<String>,
    kinds: Vec<String>,
    content: bool,
    encrypted: bool,
    result: bool,
    /// The references found in its input.
    input: Option<Range<usize>>,
}

impl ObjectFacts {
    /// Whether it refers to something stored by the provider.
    fn refers(&self) -> bool {
        let of_kind = |kind: &String| match kind.as_str() {
            "item_reference" => true,
            "reasoning" => !(self.encrypted || self.content),
            "compaction" => !self.encrypted,
            "image_generation_call" => !self.result,
            _ => false,
        };
        if self.kinds.is_empty() {
            !self.content
        } else {
            self.kinds.iter().any(of_kind)
        }
    }

    /// Whether a model generated its input.
    fn is_tool_use(&self) -> bool {
        self.kinds.iter().any(|kind| kind.ends_with("tool_use"))
    }
}

impl<'de> DeserializeSeed<'de> for ReferenceVisitor<'_> {
    type Value = VisitedValue;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<VisitedValue, D::Error> {
        input.deserialize_any(self)
    }
}

impl ReferenceVisitor<'_> {
    fn inside(&mut self, place: ValueRole) -> ReferenceVisitor<'_> {
        ReferenceVisitor {
            found: self.found,
            place,
        }
    }

    fn note<E: serde::de::Error>(&mut self, kind: ObjectKind, id: &str) -> Result<(), E> {
        if self.found.add(kind, id) {
            Ok(())
        } else {
            Err(E::custom("too many"))
        }
    }

    /// Reads one member.
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        place: ValueRole,
        object: &mut A,
        said: &mut ObjectFacts,
    ) -> Result<(), A::Error> {
        let before = self.found.order.len();
        match place {
            ValueRole::Own => drop(object.next_value::<IgnoredAny>()?),
            ValueRole::ItemId => said
                .ids
                .extend(object.next_value_seed(self.inside(place))?.text),
            ValueRole::ItemType => said
                .kinds
                .extend(object.next_value_seed(self.inside(place))?.text),
            ValueRole::Substance(substance) => {
                let value = object.next_value_seed(self.inside(ValueRole::Anywhere))?;
                match substance {
                    Substance::Content => said.content |= value.something,
                    Substance::Encrypted => said.encrypted |= value.something,
                    Substance::Result => said.result |= value.something,
                }
            }
            place => {
                object.next_value_seed(self.inside(place))?;
                if place == ValueRole::Items {
                    said.input = Some(before..self.found.order.len());
                }
            }
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for ReferenceVisitor<'_> {
    type Value = VisitedValue;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a body")
    }

    fn visit_str<E: serde::de::Error>(mut self, text: &str) -> Result<VisitedValue, E> {
        if let ValueRole::Id(kind) = self.place {
            self.note(kind, text)?;
        }
        let kept = matches!(self.place, ValueRole::ItemId | ValueRole::ItemType);
        Ok(VisitedValue {
            something: !text.is_empty(),
            text: kept.then(|| text.to_owned()),
        })
    }

    fn visit_bool<E>(self, _: bool) -> Result<VisitedValue, E> {
        Ok(VisitedValue::of(true))
    }

    fn visit_i64<E>(self, _: i64) -> Result<VisitedValue, E> {
        Ok(VisitedValue::of(true))
    }

    fn visit_u64<E>(self, _: u64) -> Result<VisitedValue, E> {
        Ok(VisitedValue::of(true))
    }

    fn visit_f64<E>(self, _: f64) -> Result<VisitedValue, E> {
        Ok(VisitedValue::of(true))
    }

    fn visit_unit<E>(self) -> Result<VisitedValue, E> {
        Ok(VisitedValue::of(false))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<VisitedValue, A::Error> {
        let (place, mut something) = (self.place, false);
        while list.next_element_seed(self.inside(place))?.is_some() {
            something = true;
        }
        Ok(VisitedValue::of(something))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<VisitedValue, A::Error> {
        let (mut said, mut something) = (ObjectFacts::default(), false);
        let with_model = self.found.with_model;
        while let Some(place) = object.next_key_seed(RoleSeed { with_model })? {
            something = true;
            let place = if self.place == ValueRole::Named {
                ValueRole::Anywhere
            } else {
                place
            };
            self.member(place, &mut object, &mut said)?;
        }
        if self.place != ValueRole::Root
            && said.is_tool_use()
            && let Some(input) = said.input.take()
        {
            self.found.forget(input);
        }
        match self.place {
            ValueRole::Id(kind) => said.ids.iter().try_for_each(|id| self.note(kind, id))?,
            ValueRole::Items if said.refers() => {
                let mut ids = said.ids.iter();
                ids.try_for_each(|id| self.note(ObjectKind::Item, id))?;
            }
            _ => {}
        }
        Ok(VisitedValue::of(something))
    }
}

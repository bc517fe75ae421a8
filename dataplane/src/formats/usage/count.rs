//! Parses counts as providers write them, by the names in `names`. An invalid count affects no other.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    names::{USAGE, UsageNames, UsageSlot},
    report::UsageReport,
    tier::Tier,
};

/// A larger count is absurd for any kind: a thousand times that of the largest request.
const COUNT_MAX: u32 = 1_000_000_000;

/// A count. Nonsense in one field affects no other field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Count {
    #[default]
    Absent,
    Said(u32),
    /// A value that cannot be a count: negative, far too large, a fraction, or words.
    Absurd,
}

/// Adds the counts of an object to a report.
///
/// # Errors
/// Errors if the object cannot be read.
pub(super) fn read_into(
    report: &mut UsageReport,
    names: UsageNames,
    object: &[u8],
) -> Result<(), serde_json::Error> {
    let members = UsageVisitor { names, report };
    members.deserialize(&mut serde_json::Deserializer::from_slice(object))
}

// === impl Count ===

impl Count {
    pub(super) fn get(self) -> u64 {
        match self {
            Self::Said(count) => u64::from(count),
            Self::Absent | Self::Absurd => 0,
        }
    }

    pub(super) fn of(count: u64) -> Self {
        match u32::try_from(count) {
            Ok(count) if count <= COUNT_MAX => Self::Said(count),
            _ => Self::Absurd,
        }
    }

    /// This count, or the other one if this is absent or zero.
    pub(super) fn first(self, other: Self) -> Self {
        match (self, other) {
            (Self::Absent | Self::Said(0), Self::Said(_) | Self::Absurd) => other,
            _ => self,
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Absurd, _) | (_, Self::Absurd) => Self::Absurd,
            (Self::Absent, count) | (count, Self::Absent) => count,
            (Self::Said(one), Self::Said(other)) => Self::of(u64::from(one) + u64::from(other)),
        }
    }

    pub(super) fn larger(self, other: Self) -> Self {
        match (self, other) {
            (Self::Said(one), Self::Said(other)) => Self::Said(one.max(other)),
            (Self::Absent, count) | (count, Self::Absent) => count,
            (Self::Absurd, _) | (_, Self::Absurd) => Self::Absurd,
        }
    }

    /// The later of two counts. Counts only grow within an answer, so a later zero is ignored.
    pub(super) fn over(self, before: Self) -> Self {
        match (self, before) {
            (Self::Said(1..), _)
            | (_, Self::Absent)
            | (Self::Absurd, Self::Absurd | Self::Said(0)) => self,
            _ => before,
        }
    }
}

/// A text without its quotes. Returns `None` if it contains escapes.
fn word(json: &str) -> Option<&str> {
    let word = json.strip_prefix('"')?.strip_suffix('"')?;
    (!word.contains('\\')).then_some(word)
}

/// A number of seconds, also as text, in milliseconds.
fn millis(json: &str) -> Count {
    let said = word(json).unwrap_or(json).trim();
    if said.starts_with(['n', 't', 'f', '[', '{']) || said.is_empty() {
        return Count::Absent;
    }
    let millis = said.parse().map(|seconds: f64| seconds * 1000.0);
    let millis = millis.ok().filter(|millis| millis.is_finite());
    let whole = millis.and_then(|millis| format!("{millis:.0}").parse().ok());
    whole.map_or(Count::Absurd, Count::of)
}

/// Looks up a member's slot by its name.
struct SlotSeed(UsageNames);

impl<'de> DeserializeSeed<'de> for SlotSeed {
    type Value = Option<UsageSlot>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Option<UsageSlot>, D::Error> {
        input.deserialize_str(self)
    }
}

impl Visitor<'_> for SlotSeed {
    type Value = Option<UsageSlot>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<UsageSlot>, E> {
        let slot = self.0.iter().find(|(known, _)| *known == name);
        Ok(slot.map(|(_, slot)| *slot))
    }
}

/// The members of a usage object, or of one inside it.
struct UsageVisitor<'r> {
    names: UsageNames,
    report: &'r mut UsageReport,
}

impl<'de> DeserializeSeed<'de> for UsageVisitor<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UsageVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { names, report } = self;
        let mut passes = None;
        while let Some(slot) = members.next_key_seed(SlotSeed(names))? {
            match slot {
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
                Some(UsageSlot::Count(kind)) => {
                    let count = members.next_value::<Count>()?;
                    report.set(kind, report.of(kind).larger(count));
                }
                Some(UsageSlot::Seconds(kind)) => {
                    let count = millis(members.next_value::<&RawValue>()?.get());
                    report.set(kind, report.of(kind).larger(count));
                }
                Some(UsageSlot::OneOf(words)) => {
                    let said = word(members.next_value::<&RawValue>()?.get());
                    if let Some((_, kind)) = words.iter().find(|(word, _)| Some(*word) == said) {
                        report.set(*kind, Count::Said(1));
                    }
                }
                Some(UsageSlot::Tier(rank, nothing)) => {
                    let said = word(members.next_value::<&RawValue>()?.get());
                    let said = said.filter(|said| !nothing.contains(said));
                    let tier = said.map(|said| Tier::read(rank, said.as_bytes()));
                    report.tier = tier.unwrap_or_default().beside(report.tier);
                }
                Some(UsageSlot::Counts(names)) => members.next_value_seed(UsageVisitor {
                    names,
                    report: &mut *report,
                })?,
                Some(UsageSlot::Passes) => members.next_value_seed(UsageVisitor {
                    names: USAGE,
                    report: passes.get_or_insert_default(),
                })?,
            }
        }
        report.add_up_lifetimes();
        if let Some(passes) = passes {
            *report = report.larger(&passes);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        // The items are separate, and each is part of the whole.
        loop {
            let mut item = UsageReport::default();
            let members = UsageVisitor {
                names: self.names,
                report: &mut item,
            };
            if items.next_element_seed(members)?.is_none() {
                return Ok(());
            }
            // A pass that was declined before any output is not billed.
            if !item.put_out_nothing() {
                *self.report = self.report.plus(&item);
            }
        }
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

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
        Ok(Count::of(count))
    }

    fn visit_i64<E>(self, count: i64) -> Result<Count, E> {
        Ok(u64::try_from(count).map_or(Count::Absurd, Count::of))
    }

    fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
        // Integers written with a fraction are accepted; anything else is not a count.
        let whole = count.is_finite() && count.fract() == 0.0;
        let whole = whole.then(|| format!("{count:.0}").parse().ok()).flatten();
        Ok(whole.map_or(Count::Absurd, Count::of))
    }

    fn visit_str<E>(self, text: &str) -> Result<Count, E> {
        Ok(text.trim().parse().map_or(Count::Absurd, Count::of))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count::Absent)
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count::Absent)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        while items.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count::Absent)
    }
}

//! Merges a public list into a price table: its fields replace the table's, and fields it does not have stay. Large
//! changes need confirmation.

use std::{borrow::Cow, collections::BTreeSet};

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use proxyxai_contract::{Invalid, model_aliases, price_file};

use crate::prices::{
    diff::{self, ChangeUnit, GONE_MAX, PriceChange},
    import::{Imported, TUNED},
};

/// Which models to merge.
#[derive(Debug, Clone, Copy, Default)]
pub struct MergeScope<'a> {
    /// Only models of these providers; empty means all providers of the table.
    pub providers: &'a [String],
    /// Whether to remove models that the list does not have.
    pub prune: bool,
}

/// A table merged with a list.
#[derive(Debug)]
pub struct MergedTable {
    /// The new table, as JSON; identical to the given one if nothing changed.
    pub text: String,
    /// Names of new models.
    pub added: Vec<String>,
    /// Models missing from the list, though it has others of their provider.
    pub gone: Vec<String>,
}

/// A merged table, and what loading it would change.
#[derive(Debug)]
pub struct MergeDraft {
    /// The merged table.
    pub laid: MergedTable,
    /// Fields that differ, with overrides applied to both tables.
    pub changes: Vec<PriceChange>,
}

/// How far prices may move without confirmation.
#[derive(Debug, Clone, Copy)]
pub struct PriceBounds {
    /// The factor by which a price may grow or shrink.
    pub factor: Decimal,
    /// How many models may be removed.
    pub gone_max: usize,
}

/// Fields that are not prices.
const LABELS: [&str; 2] = ["Provider", "Source"];
/// Limits in the table, which somebody has checked.
const LIMITS: [&str; 2] = ["MaxInput", "MaxOutput"];
const TIERS: &str = "Tiers";
/// The second pass finds what the first freed, and the third finds nothing.
const PASSES_MAX: usize = 4;

// === impl PriceBounds ===

impl Default for PriceBounds {
    fn default() -> Self {
        Self {
            factor: Decimal::TWO,
            gone_max: GONE_MAX,
        }
    }
}

impl PriceBounds {
    /// Reads a factor as an operator writes it.
    ///
    /// # Errors
    /// Errors if it is not a number, or less than one.
    pub fn parse(factor: &str, gone_max: usize) -> Result<Self, Invalid> {
        let factor = factor.parse().ok();
        let factor = factor.filter(|factor| *factor >= Decimal::ONE);
        factor
            .map(|factor| Self { factor, gone_max })
            .ok_or_else(|| Invalid::new("factor", "must be a number of at least 1"))
    }

    /// What needs confirmation: each price that moves too far, and removed models.
    pub fn objections(&self, changes: &[PriceChange], taken_out: usize) -> Vec<String> {
        let far = changes.iter().filter(|change| self.is_far(change));
        let mut objections: Vec<_> = far.map(ToString::to_string).collect();
        if taken_out > self.gone_max {
            let most = self.gone_max;
            objections.push(format!("{taken_out} models would vanish, more than {most}"));
        }
        objections
    }

    fn is_far(&self, change: &PriceChange) -> bool {
        if change.is_absurd() {
            return true;
        }
        let Some(new) = change.new.filter(|_| change.unit != ChangeUnit::Tokens) else {
            return false;
        };
        let more = |new: i64, old: i64| {
            let most = Decimal::from(old).checked_mul(self.factor);
            most.is_some_and(|most| Decimal::from(new) > most)
        };
        match (change.old, change.fallback) {
            (Some(old), _) => more(new, old) || more(old, new),
            // A price of its own is mostly lower than the one it replaces.
            (None, Some(stood)) => more(new, stood),
            (None, None) => false,
        }
    }
}

/// Merges a list into a table, and compares the prices before and after.
///
/// # Errors
/// Errors if the table or the overrides cannot be read, or the table has no such provider.
pub fn draft(
    table: &str,
    overrides: &str,
    list: &Imported,
    scope: MergeScope<'_>,
) -> Result<MergeDraft, Invalid> {
    let laid = merge(table, list, scope)?;
    let composed = |text: &str| price_file::compose(text, Some(overrides));
    let changes = diff::compare(&composed(table)?, &composed(&laid.text)?);
    Ok(MergeDraft { laid, changes })
}

/// Merges a list into a table.
///
/// # Errors
/// Errors if the table cannot be read, or has no such provider.
pub fn merge(table: &str, list: &Imported, scope: MergeScope<'_>) -> Result<MergedTable, Invalid> {
    let mut laid = merge_once(table, list, scope)?;
    // A removed model may have stood for others of the list, which are new without it.
    for _ in 1..PASSES_MAX {
        if !scope.prune || laid.gone.is_empty() {
            break;
        }
        let again = merge_once(&laid.text, list, scope)?;
        if again.text == laid.text {
            break;
        }
        laid.text = again.text;
        laid.added.extend(again.added);
        laid.added.sort();
        laid.gone.extend(again.gone);
    }
    Ok(laid)
}

fn merge_once(table: &str, list: &Imported, scope: MergeScope<'_>) -> Result<MergedTable, Invalid> {
    let mut whole: Value =
        serde_json::from_str(table).map_err(|error| Invalid::new("table", error.to_string()))?;
    let providers: BTreeSet<String> = {
        let known = whole.get("Providers").and_then(Value::as_object);
        let known: BTreeSet<_> = known.into_iter().flat_map(Map::keys).cloned().collect();
        if let Some(unknown) = scope.providers.iter().find(|name| !known.contains(*name)) {
            let problem = format!("{unknown} is no provider of the table");
            return Err(Invalid::new("provider", problem));
        }
        let asked = |name: &String| scope.providers.is_empty() || scope.providers.contains(name);
        known.into_iter().filter(asked).collect()
    };
    let mut work = TableMerge {
        table: &mut whole,
        matched: BTreeSet::new(),
        added: Vec::new(),
        changed: false,
    };
    let mut listed = BTreeSet::new();
    for (group, name, entry) in entries(&list.table) {
        let provider = provider(entry);
        if providers.contains(provider) {
            listed.insert(provider.to_owned());
            work.merge_entry(group, name, entry);
        }
    }
    let TableMerge {
        matched,
        mut added,
        mut changed,
        ..
    } = work;
    let mut gone = Vec::new();
    for (group, name, entry) in entries(&whole) {
        let key = (group == TUNED, name.to_owned());
        if listed.contains(provider(entry)) && !matched.contains(&key) {
            gone.push((group.to_owned(), name.to_owned()));
        }
    }
    if scope.prune {
        changed |= !gone.is_empty();
        for (group, name) in &gone {
            let models = whole.get_mut(group).and_then(Value::as_object_mut);
            models.map(|models| models.remove(name));
        }
    }
    added.sort();
    Ok(MergedTable {
        text: if changed {
            finish(whole, &list.table)
        } else {
            table.to_owned()
        },
        added,
        gone: gone
            .iter()
            .map(|(group, name)| told_as(group, name))
            .collect(),
    })
}

struct TableMerge<'a> {
    table: &'a mut Value,
    /// Models that the list has, and whether they are fine-tuned.
    matched: BTreeSet<(bool, String)>,
    added: Vec<String>,
    changed: bool,
}

// === impl TableMerge ===

impl TableMerge<'_> {
    fn merge_entry(&mut self, group: &str, name: &str, entry: &Value) {
        let tuned = group == TUNED;
        let provider = provider(entry);
        if let Some(name) = self.own(tuned, name, provider) {
            let fresh = self.matched.insert((tuned, name.clone()));
            // Otherwise it is a second name of the same model in the list.
            if fresh {
                self.replace(group, &name, entry);
            }
            return;
        }
        let others = model_aliases::aliases(name).find_map(|other| self.find(tuned, &other));
        if let Some((other, found)) = others {
            // Prices of resellers under the maker's name do not change the price of that name. A dated release is
            // listed only if its price differs.
            let same = provider_is(&found, provider);
            if !same || covers(&found, entry) {
                if same {
                    self.matched.insert((tuned, other));
                }
                return;
            }
        }
        let free = self.find(tuned, name).is_none();
        let name = if free {
            name.to_owned()
        } else {
            format!("{provider}/{name}")
        };
        let models = self.table.as_object_mut().map(|table| {
            let models = table.entry(group).or_insert_with(|| Map::new().into());
            models.as_object_mut()
        });
        if let Some(models) = models.flatten() {
            models.insert(name.clone(), entry.clone());
            self.matched.insert((tuned, name.clone()));
            self.added.push(told_as(group, &name));
            self.changed = true;
        }
    }

    /// The name of a provider's model in the table: the plain one, or one prefixed with the provider.
    fn own(&self, tuned: bool, name: &str, provider: &str) -> Option<String> {
        let bare = name.strip_prefix(provider);
        let bare = bare.and_then(|bare| bare.strip_prefix('/'));
        let names = [
            Some(Cow::Borrowed(name)),
            bare.map(Cow::Borrowed),
            Some(Cow::Owned(format!("{provider}/{name}"))),
        ];
        names.into_iter().flatten().find_map(|name| {
            let (name, entry) = self.find(tuned, &name)?;
            provider_is(&entry, provider).then_some(name)
        })
    }

    fn find(&self, tuned: bool, name: &str) -> Option<(String, Value)> {
        let group = group_of(self.table, tuned, name)?;
        let entry = self.table.get(&group)?.get(name)?;
        Some((name.to_owned(), entry.clone()))
    }

    /// Replaces field by field. An entry without differences keeps its source.
    fn replace(&mut self, group: &str, name: &str, entry: &Value) {
        let tuned = group == TUNED;
        let Some(known) = group_of(self.table, tuned, name).filter(|known| known == group) else {
            return;
        };
        let models = self.table.get_mut(&known);
        let Some(Value::Object(own)) = models.and_then(|models| models.get_mut(name)) else {
            return;
        };
        let Some(list) = entry.as_object().filter(|_| !covers_map(own, entry)) else {
            return;
        };
        for (field, value) in list {
            let field = alias(own, field);
            match (own.get_mut(field), value) {
                // Tiers that the list does not have stay.
                (Some(Value::Object(own)), Value::Object(tiers)) if field == TIERS => {
                    own.extend(tiers.clone());
                }
                (Some(_), _) if LIMITS.contains(&field) => {}
                _ => drop(own.insert(field.to_owned(), value.clone())),
            }
        }
        self.changed = true;
    }
}

/// The table as text, with the list added to its sources and unused sources removed.
fn finish(mut whole: Value, list: &Value) -> String {
    let named: BTreeSet<String> = entries(&whole)
        .filter_map(|(.., entry)| entry.get("Source")?.as_str().map(str::to_owned))
        .collect();
    let mut sources = Map::new();
    for table in [&whole, list] {
        let own = table.get("Sources").and_then(Value::as_object);
        sources.extend(own.cloned().into_iter().flatten());
    }
    sources.retain(|name, _| named.contains(name));
    if let Value::Object(table) = &mut whole {
        table.insert("Sources".to_owned(), sources.into());
        let version = list.get("Version").cloned().unwrap_or_default();
        table.insert("Version".to_owned(), version);
    }
    whole.to_string()
}

fn entries(table: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let groups = table.as_object().into_iter().flatten();
    let groups = groups.filter(|(name, _)| name.ends_with("Pricing"));
    groups.flat_map(|(group, models)| {
        let models = models.as_object().into_iter().flatten();
        models.map(move |(name, entry)| (group.as_str(), name.as_str(), entry))
    })
}

fn group_of(table: &Value, tuned: bool, name: &str) -> Option<String> {
    let groups = table.as_object()?.iter();
    let mut groups =
        groups.filter(|(group, _)| group.ends_with("Pricing") && (*group == TUNED) == tuned);
    let group = groups.find(|(_, models)| models.get(name).is_some());
    group.map(|(group, _)| group.clone())
}

/// The name of a model in changes.
fn told_as(group: &str, name: &str) -> String {
    match group {
        TUNED => format!("ft:{name}"),
        _ => name.to_owned(),
    }
}

fn provider(entry: &Value) -> &str {
    let provider = entry.get("Provider").and_then(Value::as_str);
    provider.unwrap_or_default()
}

fn provider_is(entry: &Value, name: &str) -> bool {
    provider(entry) == name
}

fn covers(own: &Value, list: &Value) -> bool {
    own.as_object().is_some_and(|own| covers_map(own, list))
}

/// Whether an entry has all prices of a list's entry.
fn covers_map(own: &Map<String, Value>, list: &Value) -> bool {
    let mut fields = list.as_object().into_iter().flatten();
    fields.all(|(field, value)| {
        let own = own.get(alias(own, field));
        match (own, value) {
            (Some(Value::Object(own)), Value::Object(tiers)) if field == TIERS => {
                tiers.iter().all(|(tier, value)| same(own.get(tier), value))
            }
            (Some(_), _) if LIMITS.contains(&field.as_str()) => true,
            _ => LABELS.contains(&field.as_str()) || same(own, value),
        }
    })
}

/// The short name of a text field in older tables.
fn alias<'a>(own: &Map<String, Value>, field: &'a str) -> &'a str {
    match field.strip_suffix("Text") {
        Some(short @ ("Input" | "Output")) if own.contains_key(short) => short,
        _ => field,
    }
}

/// Whether two values are equal; `2` equals `2.0`.
fn same(own: Option<&Value>, value: &Value) -> bool {
    match (own, value) {
        (Some(Value::Number(own)), Value::Number(value)) => own.as_f64() == value.as_f64(),
        (Some(Value::Object(own)), Value::Object(value)) => {
            let mut fields = value.iter();
            own.len() == value.len() && fields.all(|(field, value)| same(own.get(field), value))
        }
        (own, value) => own == Some(value),
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;

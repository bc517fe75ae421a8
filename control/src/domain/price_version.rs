//! Which versions of the price table to create when a table is loaded, when `PRICING` changes, or when a release has
//! another built-in table. A version never changes: a new version of the same moment replaces it.

use proxyxai_contract::{Invalid, clock::Millis, id::AccountId, price_file};
use sha2::{Digest as _, Sha256};

use crate::model::{PriceSource, PriceVersion};

/// Who creates versions, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VersionStamp {
    /// `None` for the program itself.
    pub(crate) by: Option<AccountId>,
    /// The present.
    pub(crate) now: Millis,
}

/// A table that an operator loads to count from a moment on.
#[derive(Debug)]
pub(crate) struct ScheduledTable {
    /// The whole table, as JSON.
    pub(crate) text: String,
    /// When it comes into force; may be in the past.
    pub(crate) valid_from: Millis,
    /// Why.
    pub(crate) note: String,
}

/// The versions that follow the built-in table and `PRICING` as they are now: one for the present, if it differs, and
/// one for each later version with an outdated built-in table or other overrides.
///
/// # Errors
/// Errors if the overrides do not fit a table.
pub(crate) fn renewed(
    present: Option<&PriceVersion>,
    later: &[PriceVersion],
    overrides: &str,
    making: VersionStamp,
) -> Result<Vec<PriceVersion>, Invalid> {
    let stands = |version: &PriceVersion| {
        let text = version.source == PriceSource::Loaded || version.text == *price_file::DEFAULT;
        text && version.overrides == overrides
    };
    let anew = |version: &PriceVersion, valid_from| {
        let (text, note) = match version.source {
            PriceSource::BuiltIn => (
                price_file::DEFAULT.as_str(),
                "PRICING or the built-in table changed",
            ),
            PriceSource::Loaded => (version.text.as_str(), "PRICING changed"),
        };
        let (text, note) = (text.to_owned(), note.to_owned());
        made(version.source, text, overrides, (valid_from, note), making)
    };
    let mut versions = Vec::new();
    match present {
        None => {
            let (text, note) = (price_file::DEFAULT.to_owned(), "first start".to_owned());
            let source = PriceSource::BuiltIn;
            versions.push(made(source, text, overrides, (making.now, note), making)?);
        }
        Some(present) if !stands(present) => versions.push(anew(present, making.now)?),
        Some(_) => {}
    }
    for version in later.iter().filter(|version| !stands(version)) {
        versions.push(anew(version, version.valid_from)?);
    }
    Ok(versions)
}

/// The versions that bring a loaded table into force: one at its moment, and one for each later change of `PRICING`, up
/// to the next loaded table.
///
/// # Errors
/// Errors if the table cannot be read.
pub(crate) fn loaded(
    before: Option<&PriceVersion>,
    later: &[PriceVersion],
    loaded: ScheduledTable,
    making: VersionStamp,
) -> Result<Vec<PriceVersion>, Invalid> {
    let ScheduledTable {
        text,
        valid_from,
        note,
    } = loaded;
    let replaced = before.or(later.first());
    let overrides = before.map_or("", |before| before.overrides.as_str());
    let make = |valid_from, overrides: &str| {
        let from = (valid_from, note.clone());
        made(PriceSource::Loaded, text.clone(), overrides, from, making)
    };
    let mut versions = vec![make(valid_from, overrides)?];
    let same_table =
        |version: &&PriceVersion| replaced.is_some_and(|replaced| replaced.text == version.text);
    for version in later.iter().take_while(same_table) {
        versions.push(make(version.valid_from, &version.overrides)?);
    }
    Ok(versions)
}

fn made(
    source: PriceSource,
    text: String,
    overrides: &str,
    (valid_from, note): (Millis, String),
    making: VersionStamp,
) -> Result<PriceVersion, Invalid> {
    let table = price_file::compose(&text, Some(overrides))?;
    // The table's own date is for people; the rest makes the name unique.
    let date = table.version.split('+').next().unwrap_or_default();
    let date: String = date
        .chars()
        .filter(|char| char.is_ascii_alphanumeric() || "-._".contains(*char))
        .take(32)
        .collect();
    let moments = format!("{}/{}/{}", valid_from.0, making.now.0, note);
    let digest = [text.as_str(), overrides, &moments]
        .iter()
        .fold(Sha256::new(), |digest, part| {
            digest
                .chain_update(part.len().to_le_bytes())
                .chain_update(part)
        })
        .finalize();
    let mark = digest
        .iter()
        .take(6)
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    Ok(PriceVersion {
        version: format!("{date}+{mark}"),
        valid_from,
        source,
        note,
        text,
        overrides: overrides.to_owned(),
        created: making.now,
        created_by: making.by,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_000_000);
    const MAKING: VersionStamp = VersionStamp { by: None, now: NOW };
    const OVER: &str = r#"{"ChatPricing":{"gpt-4o":{"InputText":7}}}"#;

    fn table(date: &str) -> String {
        format!(
            r#"{{"Version":"{date}","Providers":{{}},"ChatPricing":{{"m":{{"InputText":1}}}}}}"#
        )
    }

    fn load(date: &str, valid_from: Millis) -> ScheduledTable {
        ScheduledTable {
            text: table(date),
            valid_from,
            note: "n".to_owned(),
        }
    }

    fn shape(versions: &[PriceVersion]) -> Vec<(i64, &str, &str)> {
        let shape = |version: &'_ PriceVersion| version.valid_from.0;
        versions
            .iter()
            .map(|version| {
                let date = version.version.split('+').next().unwrap();
                (shape(version), date, version.overrides.as_str())
            })
            .collect()
    }

    #[test]
    fn a_new_store_begins_with_the_built_in_table_and_a_second_start_adds_nothing() {
        let first = renewed(None, &[], "", MAKING).unwrap();
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].text, *price_file::DEFAULT);
        assert_eq!(renewed(first.first(), &[], "", MAKING).unwrap(), []);
    }

    #[test]
    fn a_change_of_pricing_makes_a_version_of_now_and_of_all_that_wait() {
        let present = renewed(None, &[], "", MAKING).unwrap();
        let waits = loaded(
            present.first(),
            &[],
            load("2030-01-01", NOW.plus(9)),
            MAKING,
        )
        .unwrap();
        let versions = renewed(present.first(), &waits, OVER, MAKING).unwrap();
        let date = present[0].version.split('+').next().unwrap();
        assert_eq!(
            shape(&versions),
            [(NOW.0, date, OVER), (NOW.0 + 9, "2030-01-01", OVER)]
        );
        let names: std::collections::BTreeSet<_> = present
            .iter()
            .chain(&waits)
            .chain(&versions)
            .map(|version| &version.version)
            .collect();
        assert_eq!(names.len(), 4, "every version has a name of its own");
    }

    #[test]
    fn a_table_loaded_for_the_past_goes_under_the_changes_of_pricing_since_then() {
        let mut first = renewed(None, &[], "", MAKING).unwrap();
        let first = first.remove(0);
        let at = |ms, text: &str, overrides: &str| PriceVersion {
            valid_from: NOW.plus(ms),
            text: text.to_owned(),
            overrides: overrides.to_owned(),
            ..first.clone()
        };
        let other = table("2031-01-01");
        let later = [at(20, &first.text, OVER), at(30, &other, OVER)];
        let versions = loaded(
            Some(&first),
            &later,
            load("2029-12-31", NOW.plus(10)),
            MAKING,
        )
        .unwrap();
        assert_eq!(
            shape(&versions),
            [
                (NOW.0 + 10, "2029-12-31", ""),
                (NOW.0 + 20, "2029-12-31", OVER)
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_makes_no_version() {
        let bad = ScheduledTable {
            text: "{}".to_owned(),
            ..load("x", NOW)
        };
        assert!(loaded(None, &[], bad, MAKING).is_err());
        assert!(renewed(None, &[], "[]", MAKING).is_err());
    }
}

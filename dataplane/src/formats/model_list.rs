//! Reads a provider's list of models: in `OpenAI`'s and Anthropic's shape, Google's, or a bare list.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::text;

/// Per key. The longest public list has a few hundred.
const NAMES_MAX: usize = 5_000;
const NAME_BYTES_MAX: usize = 255;
/// Prefix of Google's names.
const COLLECTION: &str = "models/";

#[derive(Deserialize, Default)]
#[serde(default)]
struct ModelListing {
    data: Vec<ModelEntry>,
    models: Vec<ModelEntry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ModelEntry {
    id: Option<String>,
    name: Option<String>,
}

/// The names in a list. Returns `None` if it is not a list.
pub(crate) fn names(body: &[u8]) -> Option<BTreeSet<String>> {
    let json = body.get(text::spaces(body)..).unwrap_or_default();
    let entries: Vec<ModelEntry> = if json.starts_with(b"[") {
        serde_json::from_slice(json).ok()?
    } else {
        let ModelListing { mut data, models } = serde_json::from_slice(json).ok()?;
        data.extend(models);
        data
    };
    let names = entries
        .into_iter()
        .filter_map(|entry| entry.id.or(entry.name));
    let own_name = |name: String| {
        let own = name.strip_prefix(COLLECTION).unwrap_or(&name);
        let fits = (1..=NAME_BYTES_MAX).contains(&own.len())
            && own.trim() == own
            && !own.contains(char::is_control);
        fits.then(|| own.to_owned())
    };
    let names: BTreeSet<String> = names.filter_map(own_name).take(NAMES_MAX).collect();
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Option<Vec<String>> {
        names(body.as_bytes()).map(|names| names.into_iter().collect())
    }

    #[test]
    fn lists_of_all_dialects_are_read() {
        let both = Some(vec!["a".to_owned(), "b/c".to_owned()]);
        for body in [
            r#"{"object":"list","data":[{"id":"b/c","object":"model"},{"id":"a"}]}"#,
            r#"{"data":[{"type":"model","id":"a","display_name":"A"},{"id":"b/c"}],"has_more":false}"#,
            r#"{"models":[{"name":"models/a"},{"name":"models/b/c"}]}"#,
            r#" [{"id":"a"},{"id":"b/c"},{"x":1}]"#,
        ] {
            assert_eq!(of(body), both, "{body}");
        }
    }

    #[test]
    fn what_is_no_list_names_nothing() {
        for body in [
            "",
            "x",
            "{}",
            "[]",
            "[1]",
            r#"{"data":{}}"#,
            r#"{"data":[{"id":""},{"id":" a"},{"id":"a\n"}]}"#,
        ] {
            assert_eq!(of(body), None, "{body}");
        }
        let many: Vec<_> = (0..6000).map(|n| format!("{{\"id\":\"m{n}\"}}")).collect();
        assert_eq!(of(&format!("[{}]", many.join(","))).unwrap().len(), 5000);
    }
}

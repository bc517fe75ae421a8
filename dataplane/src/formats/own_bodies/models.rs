//! Lists of models in Anthropic's shape: <https://docs.anthropic.com/en/api/models-list>.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use crate::formats::percent_decoded;

/// Anthropic's own limit. Without one, all models are on one page, for clients that do not page.
const LIMIT_MAX: usize = 1000;
/// What Anthropic says where it does not know.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// A page of models.
#[derive(Serialize, ToSchema)]
pub(crate) struct AnthropicModels<'a> {
    data: Vec<AnthropicModel<'a>>,
    has_more: bool,
    #[schema(required = true)]
    first_id: Option<&'a str>,
    #[schema(required = true)]
    last_id: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct AnthropicModel<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: &'static str,
}

/// The part of a list to return.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    limit: Option<usize>,
    after: Option<String>,
    before: Option<String>,
}

impl Page {
    /// Reads a query. Invalid parameters are ignored.
    pub(crate) fn of(query: &str) -> Self {
        let mut page = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decoded(&value.replace('+', " "));
            match name {
                "limit" => page.limit = value.parse().ok(),
                "after_id" => page.after = Some(value),
                "before_id" => page.before = Some(value),
                _ => {}
            }
        }
        page
    }
}

impl<'a> AnthropicModel<'a> {
    const fn new(id: &'a str) -> Self {
        Self {
            kind: "model",
            id,
            display_name: id,
            created_at: CREATED,
        }
    }
}

/// A page of models.
pub(crate) fn anthropic_models(names: &BTreeSet<String>, page: &Page) -> Bytes {
    let limit = page.limit.unwrap_or(LIMIT_MAX).clamp(1, LIMIT_MAX);
    let after = |name: &&str| page.after.as_deref().is_none_or(|id| *name > id);
    let before = |name: &&str| page.before.as_deref().is_none_or(|id| *name < id);
    let names = names.iter().map(String::as_str);
    let names: Vec<&str> = names.filter(after).filter(before).collect();
    let skipped = names.len().saturating_sub(limit);
    // Backwards from the end if only `before` is given.
    let from = if page.before.is_some() && page.after.is_none() {
        skipped
    } else {
        0
    };
    let names: Vec<&str> = names.into_iter().skip(from).take(limit).collect();
    super::json(&AnthropicModels {
        has_more: skipped > 0,
        first_id: names.first().copied(),
        last_id: names.last().copied(),
        data: names.into_iter().map(AnthropicModel::new).collect(),
    })
}

/// One model.
pub(crate) fn anthropic_model(id: &str) -> Bytes {
    super::json(&AnthropicModel::new(id))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn page(query: &str) -> Value {
        let names = ["a", "b", "c"].map(str::to_owned).into();
        serde_json::from_slice(&anthropic_models(&names, &Page::of(query))).unwrap()
    }

    fn ids(page: &Value) -> Vec<&str> {
        let data = page["data"].as_array().unwrap().iter();
        data.map(|model| model["id"].as_str().unwrap()).collect()
    }

    #[test]
    fn models_are_listed_as_anthropic_lists_them() {
        let all = page("");
        assert_eq!(ids(&all), ["a", "b", "c"]);
        assert_eq!(
            (&all["has_more"], &all["first_id"], &all["last_id"]),
            (&json!(false), &json!("a"), &json!("c"))
        );
        assert_eq!(
            all["data"][0],
            json!({"type": "model", "id": "a", "display_name": "a", "created_at": "1970-01-01T00:00:00Z"})
        );
        let none: Value =
            serde_json::from_slice(&anthropic_models(&BTreeSet::new(), &Page::default())).unwrap();
        assert_eq!(
            none,
            json!({"data": [], "has_more": false, "first_id": null, "last_id": null})
        );
    }

    #[test]
    fn pages_follow_each_other() {
        for (query, wanted, more) in [
            ("limit=2", vec!["a", "b"], true),
            ("limit=2&after_id=b", vec!["c"], false),
            ("after_id=a", vec!["b", "c"], false),
            ("limit=1&before_id=c", vec!["b"], true),
            ("before_id=%62", vec!["a"], false),
            ("limit=0", vec!["a"], true),
            ("limit=x", vec!["a", "b", "c"], false),
        ] {
            let page = page(query);
            assert_eq!(
                (ids(&page), &page["has_more"]),
                (wanted, &json!(more)),
                "{query}"
            );
        }
    }
}

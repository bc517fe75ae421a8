//! Lists of known objects in the providers' format.

use bytes::Bytes;
use jiff::Timestamp;
use proxyxai_contract::{
    clock::Millis,
    object::{ObjectKind, OwnedObject},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Dialect, own_bodies::json};

/// A page of what calls have made.
#[derive(Serialize, ToSchema)]
#[schema(as = ObjectList)]
pub(crate) struct OpenAiPage<'a> {
    object: &'static str,
    data: Vec<OpenAiEntry<'a>>,
    #[serde(flatten)]
    place: PageBounds<'a>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ListedObject)]
struct OpenAiEntry<'a> {
    id: &'a str,
    object: &'static str,
    /// In seconds since 1970; as completions have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    created: Option<i64>,
    /// In seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    created_at: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(required = false)]
    status: &'a str,
}

/// The same in Anthropic's shape.
#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicObjectList)]
pub(crate) struct AnthropicPage<'a> {
    data: Vec<AnthropicEntry<'a>>,
    #[serde(flatten)]
    place: PageBounds<'a>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicListedObject)]
struct AnthropicEntry<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    created_at: String,
    expires_at: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(required = false)]
    processing_status: &'a str,
}

/// Where a page stands.
#[derive(Serialize, ToSchema)]
#[schema(as = ObjectListPlace)]
struct PageBounds<'a> {
    #[schema(required = true)]
    first_id: Option<&'a str>,
    #[schema(required = true)]
    last_id: Option<&'a str>,
    has_more: bool,
}

/// A page of a list.
pub(crate) fn page(dialect: Dialect, objects: &[OwnedObject], more: bool) -> Bytes {
    let place = PageBounds {
        first_id: objects.first().map(|one| one.id.as_str()),
        last_id: objects.last().map(|one| one.id.as_str()),
        has_more: more,
    };
    match dialect {
        Dialect::OpenAi => json(&OpenAiPage {
            object: "list",
            data: objects.iter().map(openai_entry).collect(),
            place,
        }),
        Dialect::Anthropic => json(&AnthropicPage {
            data: objects.iter().map(anthropic_entry).collect(),
            place,
        }),
    }
}

fn openai_entry(object: &OwnedObject) -> OpenAiEntry<'_> {
    let seconds = object.created.0 / 1000;
    let is_completion = object.kind == ObjectKind::Completion;
    OpenAiEntry {
        id: &object.id,
        object: object.kind.as_str(),
        created: is_completion.then_some(seconds),
        created_at: (!is_completion).then_some(seconds),
        status: &object.status,
    }
}

fn anthropic_entry(object: &OwnedObject) -> AnthropicEntry<'_> {
    AnthropicEntry {
        id: &object.id,
        kind: object.kind.as_str(),
        created_at: moment(object.created),
        expires_at: moment(object.expires),
        processing_status: &object.status,
    }
}

fn moment(at: Millis) -> String {
    Timestamp::from_millisecond(at.0).map_or_else(|_| String::new(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use proxyxai_contract::id::{AccountId, KeyId};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_list_has_the_shape_of_its_dialect() {
        let owned = |kind| OwnedObject {
            id: "x_1".to_owned(),
            kind,
            account: AccountId::ROOT,
            client_key: None,
            key: KeyId::new(1).unwrap(),
            created: Millis(1_700_000_000_000),
            expires: Millis(1_800_000_000_000),
            status: String::new(),
            pending: None,
            calls: None,
        };
        let read = |dialect, kind| -> Value {
            serde_json::from_slice(&page(dialect, &[owned(kind)], true)).unwrap()
        };
        let files = read(Dialect::OpenAi, ObjectKind::File);
        assert_eq!(files["object"], "list");
        assert_eq!(files["data"][0]["created_at"], 1_700_000_000);
        assert_eq!(files["has_more"], true);
        let batches = read(Dialect::Anthropic, ObjectKind::MessageBatch);
        assert_eq!(batches["data"][0]["created_at"], "2023-11-14T22:13:20Z");
        assert_eq!(batches["last_id"], "x_1");
        let none = page(Dialect::OpenAi, &[], false);
        let none: Value = serde_json::from_slice(&none).unwrap();
        assert_eq!(
            (&none["data"], &none["first_id"]),
            (&json!([]), &Value::Null)
        );
    }
}

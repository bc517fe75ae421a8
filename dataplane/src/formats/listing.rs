//! Lists of objects as providers write them, of what is known here.

use bytes::Bytes;
use jiff::Timestamp;
use proxyxai_contract::{
    clock::Millis,
    object::{Kind, Owned},
};
use serde_json::{Map, Value, json};

use super::Family;

/// A page of a list.
pub(crate) fn page(family: Family, objects: &[Owned], more: bool) -> Bytes {
    let data: Vec<Value> = objects.iter().map(|one| entry(family, one)).collect();
    let id = |one: Option<&Owned>| one.map(|one| one.id.clone());
    let mut page = json!({
        "data": data,
        "first_id": id(objects.first()),
        "last_id": id(objects.last()),
        "has_more": more,
    });
    if family == Family::OpenAi
        && let Some(page) = page.as_object_mut()
    {
        page.insert("object".to_owned(), "list".into());
    }
    page.to_string().into()
}

fn entry(family: Family, object: &Owned) -> Value {
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| drop(entry.insert(name.to_owned(), value));
    put("id", object.id.as_str().into());
    let kind = object.kind.as_str();
    match family {
        Family::Anthropic => {
            put("type", kind.into());
            put("created_at", moment(object.created).into());
            put("expires_at", moment(object.expires).into());
            if !object.status.is_empty() {
                put("processing_status", object.status.as_str().into());
            }
        }
        Family::OpenAi => {
            put("object", kind.into());
            let created = if object.kind == Kind::Completion {
                "created"
            } else {
                "created_at"
            };
            put(created, (object.created.0 / 1000).into());
            if !object.status.is_empty() {
                put("status", object.status.as_str().into());
            }
        }
    }
    entry.into()
}

fn moment(at: Millis) -> String {
    Timestamp::from_millisecond(at.0).map_or_else(|_| String::new(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use proxyxai_contract::id::{AccountId, KeyId};

    use super::*;

    #[test]
    fn a_list_has_the_shape_of_its_dialect() {
        let owned = |kind| Owned {
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
        let read = |family, kind| -> Value {
            serde_json::from_slice(&page(family, &[owned(kind)], true)).unwrap()
        };
        let files = read(Family::OpenAi, Kind::File);
        assert_eq!(files["object"], "list");
        assert_eq!(files["data"][0]["created_at"], 1_700_000_000);
        assert_eq!(files["has_more"], true);
        let batches = read(Family::Anthropic, Kind::MessageBatch);
        assert_eq!(batches["data"][0]["created_at"], "2023-11-14T22:13:20Z");
        assert_eq!(batches["last_id"], "x_1");
        let none = page(Family::OpenAi, &[], false);
        let none: Value = serde_json::from_slice(&none).unwrap();
        assert_eq!(
            (&none["data"], &none["first_id"]),
            (&json!([]), &Value::Null)
        );
    }
}

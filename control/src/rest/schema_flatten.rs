//! Merges `allOf` schemas into plain objects. Client generators cannot combine a required field with an optional one of
//! the same name.

use std::collections::BTreeMap;

use utoipa::openapi::{
    Paths, Ref, RefOr, Schema,
    schema::{AllOf, Object},
};

pub(super) type Schemas = BTreeMap<String, RefOr<Schema>>;

/// Merges each `allOf` schema into one object, and drops the parts that nothing else references.
pub(super) fn flatten(schemas: &mut Schemas, paths: &Paths) {
    let mut parts = Vec::new();
    let mut objects = Vec::new();
    for (name, schema) in schemas.iter() {
        if let RefOr::T(Schema::AllOf(all)) = schema {
            objects.push((name.clone(), object(all, schemas)));
            parts.extend(all.items.iter().filter_map(referred).map(str::to_owned));
        }
    }
    let objects = objects.into_iter();
    schemas.extend(objects.map(|(name, object)| (name, RefOr::T(Schema::Object(object)))));
    let document = serde_json::to_string(&(&*schemas, paths)).unwrap_or_default();
    let is_referred = |name: &str| document.contains(&format!("\"{PREFIX}{name}\""));
    for name in parts.iter().filter(|name| !is_referred(name)) {
        schemas.remove(name);
    }
}

const PREFIX: &str = "#/components/schemas/";

/// The fields of all parts. If two have the same name, the first wins.
fn object(all: &AllOf, schemas: &Schemas) -> Object {
    let mut whole = Object::new();
    whole.description.clone_from(&all.description);
    for part in &all.items {
        let named = referred(part).and_then(|name| schemas.get(name));
        let RefOr::T(Schema::Object(part)) = named.unwrap_or(part) else {
            continue;
        };
        for (name, field) in &part.properties {
            let place = whole.properties.entry(name.clone());
            place.or_insert_with(|| field.clone());
        }
        whole.required.extend(part.required.iter().cloned());
    }
    whole
}

fn referred(schema: &RefOr<Schema>) -> Option<&str> {
    match schema {
        RefOr::Ref(Ref { ref_location, .. }) => ref_location.strip_prefix(PREFIX),
        RefOr::T(_) => None,
    }
}

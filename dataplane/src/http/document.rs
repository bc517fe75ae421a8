//! The `OpenAPI` document of what a data plane serves itself: calls, by the endpoint register; lists of models and
//! objects; health and metrics.

use std::collections::BTreeMap;

use utoipa::{
    ToSchema,
    openapi::{
        Components, Content, HttpMethod, Info, Object, ObjectBuilder, OpenApi, OpenApiBuilder,
        Paths, Ref, RefOr, Required, Response, ResponseBuilder, Schema, SecurityRequirement, Type,
        header::HeaderBuilder,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::{RequestBody, RequestBodyBuilder},
        schema::{AnyOfBuilder, SchemaType},
        tag::TagBuilder,
    },
};

use super::metrics;
use crate::formats::{
    Dialect, Route,
    endpoint::{self, BillingRule, Endpoint, Verb},
    object_list::{AnthropicPage, OpenAiPage},
    own_bodies::{AnthropicBody, AnthropicModel, AnthropicModels, Model, Models, OpenAiBody},
};

const JSON: &str = "application/json";
const METRICS: &str = "/metrics";
const FORM: &str = "multipart/form-data";
const EVENTS: &str = "text/event-stream";

/// Status codes with which the gateway refuses calls, and when.
const REFUSALS: [(u16, &str); 13] = [
    (
        400,
        "The call cannot be read, or may cost more than wanted.",
    ),
    (
        401,
        "The key is missing or not good, the account is suspended, or the address is not in its list.",
    ),
    (402, "The balance does not cover the call."),
    (
        403,
        "The path, the model or its level is not in a list, or the model has no price.",
    ),
    (
        404,
        "Nothing is served here, or there is no such object of the caller.",
    ),
    (408, "The body stopped coming."),
    (409, "Work of it is yet to be paid."),
    (413, "The body is too large."),
    (415, "The body is packed in a way that is not known."),
    (426, "WebSockets are not served."),
    (
        429,
        "A limit is reached; `retry-after` says when to come again.",
    ),
    (
        503,
        "No key can serve the call, or the gateway is busy, starting or stopping.",
    ),
    (508, "The call has come in a circle."),
];
/// Those that apply to lists, which make no call.
const OF_LISTS: [u16; 6] = [400, 401, 403, 404, 429, 503];
/// Model lists of the dashboard.
const MODELS: [&str; 2] = ["/models", "/dashboard/models"];

const TAGS: [(&str, &str); 5] = [
    (
        CALLS,
        "Relayed to a provider, and paid by the model that the request names. `/v1` may be left out.",
    ),
    (BATCHES, "Relayed, and paid when their calls are done."),
    (
        OBJECTS,
        "What calls have made, for whom they have made it; and lists of models.",
    ),
    (
        CLOSED,
        "Answered with 404 unless the operator opens them (`PASSTHROUGH`).",
    ),
    (SYSTEM, "For whoever runs the gateway."),
];
const CALLS: &str = "Calls";
const BATCHES: &str = "Batches";
const OBJECTS: &str = "Objects and models";
const CLOSED: &str = "Calls that are not open";
const SYSTEM: &str = "The system";

/// The dialect of error bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ErrorDialect {
    OpenAi,
    Anthropic,
    /// That of the request.
    Either,
}

/// The data plane's part of the document; the caller merges it with others.
pub fn document() -> OpenApi {
    let mut paths = Paths::new();
    for row in endpoint::all() {
        paths.add_path_operation(row.url(), vec![method(row.verb)], relayed(row));
    }
    for path in MODELS {
        let list = models(path, ErrorDialect::Either);
        paths.add_path_operation(path, vec![HttpMethod::Get], list);
    }
    paths.add_path_operation(METRICS, vec![HttpMethod::Get], metrics_page());
    let tags = TAGS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)));
    OpenApiBuilder::new()
        .info(Info::new("", ""))
        .paths(paths)
        .components(Some(components()))
        .tags(Some(tags.map(TagBuilder::build)))
        .build()
}

// === calls ===

fn relayed(row: &Endpoint) -> Operation {
    let path = row.url();
    let dialect = error_dialect(row);
    if path.starts_with("/v1/models") && row.verb == Verb::Get {
        return models(&path, dialect);
    }
    let (tag, summary) = described(row);
    let mut operation = begun(row.verb, &path, tag, &summary);
    if row.lists.is_some() {
        let page = either(
            dialect,
            [
                reference::<OpenAiPage<'_>>(),
                reference::<AnthropicPage<'_>>(),
            ],
        );
        operation = operation.response("200", answer("A page of them.", [(JSON, page)]));
        for parameter in list_parameters() {
            operation = operation.parameter(parameter);
        }
        return refused(operation, &OF_LISTS, dialect).build();
    }
    let statuses = REFUSALS.map(|(status, _)| status);
    let from_provider = answer(
        "An error of the provider, as it came.",
        [("*/*", anything())],
    );
    refused(operation, &statuses, dialect)
        .request_body(body(row))
        .response(
            "200",
            answer("What the provider answers, as it came.", answered(row)),
        )
        .response("default", from_provider)
        .build()
}

fn described(row: &Endpoint) -> (&'static str, String) {
    match row.billing {
        BillingRule::ByModel => (CALLS, "Relayed, and paid by the model".to_owned()),
        BillingRule::ByCalls | BillingRule::ByFile => {
            (BATCHES, "Relayed, and paid by its calls".to_owned())
        }
        BillingRule::Free if row.lists.is_some() => {
            (OBJECTS, "What the caller has made".to_owned())
        }
        BillingRule::Free => (OBJECTS, "Relayed for whom the object belongs to".to_owned()),
        BillingRule::Closed(why) => (CLOSED, format!("Not open: {why}")),
    }
}

fn begun(verb: Verb, path: &str, tag: &str, summary: &str) -> OperationBuilder {
    let name = match verb {
        Verb::Get => "get",
        Verb::Post => "post",
        Verb::Put => "put",
        Verb::Delete => "delete",
    };
    let own = path.strip_prefix("/v1").unwrap_or(path);
    let mut operation = OperationBuilder::new()
        .tag(tag)
        .summary(Some(summary))
        .operation_id(Some(format!("{name}{}", camel(own))));
    // `/models` is the same list without `/v1`.
    if own == path {
        operation = operation.operation_id(Some(format!("{name}Bare{}", camel(own))));
    }
    for name in ["bearer", "apiKey"] {
        operation = operation.security(SecurityRequirement::new(name, [""; 0]));
    }
    for segment in path.split('/') {
        let name = segment
            .strip_prefix('{')
            .and_then(|it| it.strip_suffix('}'));
        if let Some(name) = name {
            operation = operation.parameter(path_parameter(name));
        }
    }
    operation
}

fn path_parameter(name: &str) -> Parameter {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1));
    let (about, text) = match name {
        "model" => ("The name of a model", text),
        "part" => ("What the provider has there", text),
        _ => ("An id", text.pattern(Some("^[A-Za-z0-9_:~@-]+$"))),
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(about))
        .schema(Some(text))
        .build()
}

/// The gateway reads a body only to price it; the provider validates the rest.
fn body(row: &Endpoint) -> Option<RequestBody> {
    if matches!(row.verb, Verb::Get | Verb::Delete) {
        return None;
    }
    let takes_model = row.takes_model();
    let schema = || {
        if !takes_model {
            return anything();
        }
        let object = ObjectBuilder::new().schema_type(Type::Object);
        let name = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1));
        object.property("model", name).required("model").into()
    };
    let mut body = RequestBodyBuilder::new()
        .description(Some("As the provider's reference has it."))
        .required(Some(if takes_model {
            Required::True
        } else {
            Required::False
        }))
        .content(JSON, Content::new(Some(schema())));
    if row.takes_form() {
        body = body.content(FORM, Content::new(Some(schema())));
    }
    Some(body.build())
}

fn answered(row: &Endpoint) -> Vec<(&'static str, RefOr<Schema>)> {
    let mut kinds = vec![(JSON, anything())];
    match row.route {
        Route::Chat | Route::Completions | Route::Responses | Route::Messages => {
            kinds.push((EVENTS, text().into()));
        }
        Route::Embeddings => {}
        Route::Other => kinds.push(("*/*", anything())),
    }
    kinds
}

// === lists ===

fn models(path: &str, dialect: ErrorDialect) -> Operation {
    let one = path.ends_with("/{model}");
    let shapes = if one {
        [reference::<Model<'_>>(), reference::<AnthropicModel<'_>>()]
    } else {
        [
            reference::<Models<'_>>(),
            reference::<AnthropicModels<'_>>(),
        ]
    };
    let (summary, about) = if one {
        ("A model that the caller may ask for", "The model.")
    } else {
        ("Models that the caller may ask for", "The models.")
    };
    let operation = begun(Verb::Get, path, OBJECTS, summary);
    let found = answer(about, [(JSON, either(dialect, shapes))]);
    refused(operation.response("200", found), &OF_LISTS, dialect).build()
}

fn list_parameters() -> [Parameter; 4] {
    let limit = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(u32::MAX));
    [
        ("limit", "How many; 20 when missing", limit.build()),
        ("after", "Those after the one with this id", text()),
        ("before", "Those before the one with this id", text()),
        ("order", "`asc` for the oldest first", text()),
    ]
    .map(|(name, about, schema)| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(about))
            .schema(Some(schema))
            .build()
    })
}

// === the system ===

fn metrics_page() -> Operation {
    let summary = "Counters and gauges; for root, or whoever has `METRICS_TOKEN`";
    let operation = begun(Verb::Get, METRICS, SYSTEM, summary)
        .operation_id(Some("getMetrics"))
        .response(
            "200",
            answer("All of them.", [(metrics::KIND, text().into())]),
        );
    refused(operation, &[401, 503], ErrorDialect::OpenAi).build()
}

// === pieces ===

fn error_dialect(row: &Endpoint) -> ErrorDialect {
    match row.dialect {
        _ if row.is_of_both() => ErrorDialect::Either,
        Dialect::OpenAi => ErrorDialect::OpenAi,
        Dialect::Anthropic => ErrorDialect::Anthropic,
    }
}

const fn method(verb: Verb) -> HttpMethod {
    match verb {
        Verb::Get => HttpMethod::Get,
        Verb::Post => HttpMethod::Post,
        Verb::Put => HttpMethod::Put,
        Verb::Delete => HttpMethod::Delete,
    }
}

fn refused(
    mut operation: OperationBuilder,
    statuses: &[u16],
    dialect: ErrorDialect,
) -> OperationBuilder {
    for status in statuses {
        let response = Ref::from_response_name(refusal_name(*status, dialect));
        operation = operation.response(status.to_string(), response);
    }
    operation
}

fn refusal_name(status: u16, dialect: ErrorDialect) -> String {
    format!("{dialect:?}{status}")
}

fn components() -> Components {
    let mut components = Components::new();
    components.schemas = schemas();
    let bodies = || {
        [
            reference::<OpenAiBody<'_>>(),
            reference::<AnthropicBody<'_>>(),
        ]
    };
    for dialect in [
        ErrorDialect::OpenAi,
        ErrorDialect::Anthropic,
        ErrorDialect::Either,
    ] {
        for (status, when) in REFUSALS {
            let content = Content::new(Some(either(dialect, bodies())));
            let mut response = ResponseBuilder::new()
                .description(when)
                .content(JSON, content);
            if matches!(status, 429 | 503) {
                let seconds = ObjectBuilder::new().schema_type(Type::Integer);
                let header = HeaderBuilder::new().schema(Some(seconds)).description(Some(
                    "Seconds until it may be tried again, where that is known",
                ));
                response = response.header("retry-after", header.build());
            }
            let name = refusal_name(status, dialect);
            components.responses.insert(name, response.build().into());
        }
    }
    components
}

fn schemas() -> BTreeMap<String, RefOr<Schema>> {
    let mut all = Vec::new();
    put::<OpenAiBody<'_>>(&mut all);
    put::<AnthropicBody<'_>>(&mut all);
    put::<OpenAiPage<'_>>(&mut all);
    put::<AnthropicPage<'_>>(&mut all);
    put::<Models<'_>>(&mut all);
    put::<AnthropicModels<'_>>(&mut all);
    all.into_iter().collect()
}

fn put<T: ToSchema>(all: &mut Vec<(String, RefOr<Schema>)>) {
    all.push((T::name().into_owned(), T::schema()));
    T::schemas(all);
}

fn reference<T: ToSchema>() -> RefOr<Schema> {
    Ref::from_schema_name(T::name()).into()
}

fn either(dialect: ErrorDialect, [openai, anthropic]: [RefOr<Schema>; 2]) -> RefOr<Schema> {
    match dialect {
        ErrorDialect::OpenAi => openai,
        ErrorDialect::Anthropic => anthropic,
        ErrorDialect::Either => RefOr::T(AnyOfBuilder::new().item(openai).item(anthropic).into()),
    }
}

fn answer<'a>(
    about: &str,
    contents: impl IntoIterator<Item = (&'a str, RefOr<Schema>)>,
) -> Response {
    let mut response = ResponseBuilder::new().description(about);
    for (kind, schema) in contents {
        response = response.content(kind, Content::new(Some(schema)));
    }
    response.build()
}

fn text() -> Object {
    Object::with_type(Type::String)
}

/// A schema that accepts anything: the provider defines it.
fn anything() -> RefOr<Schema> {
    let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
    RefOr::T(any.into())
}

/// `/files/{id}/content` as `FilesIdContent`.
fn camel(path: &str) -> String {
    let words = path.split(|letter: char| !letter.is_ascii_alphanumeric());
    words
        .flat_map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            first.into_iter().chain(letters)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::Method;
    use serde_json::Value;

    use super::*;
    use crate::formats::endpoint::{EndpointMatch, canonical, find};

    fn operations() -> Vec<(Method, String, Value)> {
        let document = serde_json::to_value(document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let each = paths.iter().flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(|(method, operation)| {
                let method = method.to_ascii_uppercase();
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                (method, path.clone(), operation.clone())
            })
        });
        each.collect()
    }

    #[test]
    fn the_document_has_the_rows_of_the_register_and_no_other_calls() {
        let rows: BTreeSet<String> = endpoint::all()
            .iter()
            .map(|row| format!("{:?} {}", row.verb, row.url()).to_uppercase())
            .collect();
        let documented: BTreeSet<String> = operations()
            .iter()
            .filter(|(_, path, _)| path.starts_with("/v1/"))
            .map(|(method, path, _)| format!("{method} {path}").to_uppercase())
            .collect();
        assert_eq!(documented, rows);
        assert_eq!(documented.len(), endpoint::all().len());
    }

    #[test]
    fn what_the_document_tells_of_is_found() {
        for (method, path, _) in operations() {
            let asked = path.replace(['{', '}'], "");
            let is_own = path == METRICS || super::super::models::is_asked(&asked);
            let found = find(&method, &canonical(&asked));
            assert!(
                is_own || matches!(found, EndpointMatch::Row(row) if row.url() == path),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn operations_have_an_id_of_their_own() {
        let mut ids = BTreeSet::new();
        for (method, path, operation) in operations() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(
                ids.insert(id),
                "{method} {path}: {}",
                operation["operationId"]
            );
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = serde_json::to_value(document()).unwrap();
        let mut rest = vec![&document];
        let mut found = 0;
        while let Some(value) = rest.pop() {
            match value {
                Value::Object(members) => {
                    if let Some(to) = members.get("$ref").and_then(Value::as_str) {
                        found += 1;
                        assert!(
                            document.pointer(to.trim_start_matches('#')).is_some(),
                            "{to}"
                        );
                    }
                    rest.extend(members.values());
                }
                Value::Array(items) => rest.extend(items),
                _ => {}
            }
        }
        assert!(found > 500, "{found}");
    }
}

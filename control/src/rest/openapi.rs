//! The table of paths. Each operation goes into the router and into the `OpenAPI` document in one step, so the two
//! cannot differ. The types of a handler describe its parameters and response (`described`).

use std::collections::{BTreeMap, btree_map::Entry};

use axum::{
    Router,
    handler::Handler,
    routing::{MethodFilter, MethodRouter, on},
};
use utoipa::{
    ToSchema,
    openapi::{
        Components, Content, HttpMethod, Info, OpenApi, OpenApiBuilder, Paths, Ref, RefOr,
        Required, Response, Schema, SecurityRequirement, Tag,
        header::Header,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBody,
    },
};

use super::{
    error,
    handler_spec::DescribedHandler,
    query::QueryParam,
    schema_flatten::{Schemas, flatten},
};
use crate::Control;

pub(super) const JSON: &str = "application/json";
/// Names of the security schemes. Their definitions are added where documents are merged.
const SECURITIES: [&str; 2] = ["bearer", "apiKey"];

/// The router and document under construction.
pub(super) struct Api {
    router: Router<Control>,
    paths: Paths,
    schemas: Schemas,
    tags: Vec<&'static str>,
}

/// An operation: its handler and its documentation.
#[derive(Clone)]
pub(super) struct ApiOperation {
    method: HttpMethod,
    /// Also accepts `POST`, for old clients.
    is_posted_too: bool,
    handler: MethodRouter<Control>,
    id: &'static str,
    summary: &'static str,
    needs_key: bool,
    query: Vec<Parameter>,
    body: Option<RequestBody>,
    /// Error statuses.
    fails: Vec<u16>,
    answers: BTreeMap<u16, Response>,
    schemas: Schemas,
}

pub(super) fn get<T: 'static, H>(handler: H) -> ApiOperation
where
    H: Handler<T, Control> + DescribedHandler<T>,
{
    ApiOperation::new(HttpMethod::Get, MethodFilter::GET, handler)
}

pub(super) fn post<T: 'static, H>(handler: H) -> ApiOperation
where
    H: Handler<T, Control> + DescribedHandler<T>,
{
    ApiOperation::new(HttpMethod::Post, MethodFilter::POST, handler)
}

pub(super) fn delete<T: 'static, H>(handler: H) -> ApiOperation
where
    H: Handler<T, Control> + DescribedHandler<T>,
{
    ApiOperation::new(HttpMethod::Delete, MethodFilter::DELETE, handler)
}

/// An update, which accepts `PUT` and `POST`.
pub(super) fn update<T: 'static, H>(handler: H) -> ApiOperation
where
    H: Handler<T, Control> + DescribedHandler<T>,
{
    let both = MethodFilter::PUT.or(MethodFilter::POST);
    ApiOperation {
        is_posted_too: true,
        ..ApiOperation::new(HttpMethod::Put, both, handler)
    }
}

// === impl ApiOperation ===

impl ApiOperation {
    fn new<T: 'static, H>(method: HttpMethod, filter: MethodFilter, handler: H) -> Self
    where
        H: Handler<T, Control> + DescribedHandler<T>,
    {
        let mut op = Self {
            method,
            is_posted_too: false,
            handler: on(filter, handler),
            id: "",
            summary: "",
            needs_key: false,
            query: Vec::new(),
            body: None,
            fails: error::ALWAYS.to_vec(),
            answers: BTreeMap::new(),
            schemas: Schemas::new(),
        };
        H::describe(&mut op);
        op
    }

    /// Sets the operation's id, which generated clients use, and its summary.
    pub(super) fn named(mut self, id: &'static str, summary: &'static str) -> Self {
        self.id = id;
        self.summary = summary;
        self
    }

    pub(super) fn query<'a>(
        mut self,
        parameters: impl IntoIterator<Item = &'a QueryParam>,
    ) -> Self {
        let parameters = parameters.into_iter().map(QueryParam::parameter);
        self.query.extend(parameters);
        self
    }

    /// Adds error statuses beyond those that its types declare.
    pub(super) fn fails(mut self, statuses: &[u16]) -> Self {
        self.may_fail(statuses);
        self
    }

    pub(super) fn may_fail(&mut self, statuses: &[u16]) {
        self.fails.extend(statuses);
    }

    pub(super) fn needs_key(&mut self) {
        self.needs_key = true;
    }

    /// Adds a JSON request body.
    pub(super) fn takes<T: ToSchema>(&mut self, required: Required) {
        let schema = self.reference::<T>();
        let body = RequestBody::builder()
            .content(JSON, Content::new(Some(schema)))
            .required(Some(required));
        self.body = Some(body.build());
    }

    pub(super) fn answers(
        &mut self,
        status: u16,
        about: &str,
        (kind, schema): (&str, RefOr<Schema>),
    ) {
        let content = Content::new(Some(schema));
        let response = Response::builder().description(about);
        let response = response.content(kind, content).build();
        self.answers.insert(status, response);
    }

    /// Adds a header to every success response.
    pub(super) fn answers_header(&mut self, name: &str, header: &Header) {
        for response in self.answers.values_mut() {
            response
                .headers
                .insert(name.to_owned(), header.clone().into());
        }
    }

    /// References a type, and adds it and the types it uses to the document.
    pub(super) fn reference<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let mut all = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut all);
        for (name, schema) in all {
            collect(&mut self.schemas, name, schema);
        }
        RefOr::Ref(Ref::from_schema_name(T::name()))
    }

    /// The documented operation at a path. `suffix` keeps ids unique if the operation has several paths.
    fn operation(&self, tag: &str, path: &str, suffix: &str) -> Operation {
        let mut operation = OperationBuilder::new()
            .tag(tag)
            .operation_id(Some(format!("{}{suffix}", self.id)))
            .summary(Some(self.summary))
            .request_body(self.body.clone());
        for parameter in path_parameters(path).chain(self.query.iter().cloned()) {
            operation = operation.parameter(parameter);
        }
        for (status, response) in &self.answers {
            operation = operation.response(status.to_string(), response.clone());
        }
        for status in &self.fails {
            let response = Ref::from_response_name(error::name_of(*status));
            operation = operation.response(status.to_string(), response);
        }
        if self.needs_key {
            for name in SECURITIES {
                operation = operation.security(SecurityRequirement::new(name, [""; 0]));
            }
        }
        operation.build()
    }
}

/// Two types of one name would hide each other; a test ensures that there are none.
fn collect(schemas: &mut Schemas, name: String, schema: RefOr<Schema>) {
    match schemas.entry(name) {
        Entry::Vacant(place) => {
            place.insert(schema);
        }
        Entry::Occupied(other) => {
            debug_assert!(
                *other.get() == schema,
                "two schemas have the name {}",
                other.key()
            );
        }
    }
}

fn path_parameters(path: &str) -> impl Iterator<Item = Parameter> {
    let names = path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?;
        name.strip_suffix('}')
    });
    names.map(|name| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(super::query::about_segment(name))
            .schema(Some(super::query::segment()))
            .build()
    })
}

// === impl Api ===

impl Api {
    pub(super) fn new() -> Self {
        Self {
            router: Router::new(),
            paths: Paths::new(),
            schemas: Schemas::new(),
            tags: Vec::new(),
        }
    }

    /// Sets the tag of the operations that follow.
    pub(super) fn about(mut self, tag: &'static str) -> Self {
        self.tags.push(tag);
        self
    }

    /// Adds operations at a path.
    pub(super) fn at<const N: usize>(self, path: &str, ops: [ApiOperation; N]) -> Self {
        self.at_each(&[path], ops)
    }

    /// Adds the same operations at several paths.
    pub(super) fn at_each<const N: usize>(
        mut self,
        paths: &[&str],
        ops: [ApiOperation; N],
    ) -> Self {
        let tag = self.tags.last().copied().unwrap_or_default();
        for (at, path) in paths.iter().enumerate() {
            // The first path has the plain id.
            let suffix = match at {
                0 => String::new(),
                _ => at.saturating_add(1).to_string(),
            };
            for op in &ops {
                self.router = self.router.route(path, op.handler.clone());
                let operation = op.operation(tag, path, &suffix);
                self.paths
                    .add_path_operation(path, vec![op.method.clone()], operation);
                if op.is_posted_too {
                    let operation = op.operation(tag, path, &format!("{suffix}ByPost"));
                    self.paths
                        .add_path_operation(path, vec![HttpMethod::Post], operation);
                }
            }
        }
        for (name, schema) in ops.into_iter().flat_map(|op| op.schemas) {
            collect(&mut self.schemas, name, schema);
        }
        self
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.paths.merge(other.paths);
        for (name, schema) in other.schemas {
            collect(&mut self.schemas, name, schema);
        }
        self.tags.extend(other.tags);
        self
    }

    pub(super) fn map_router(
        mut self,
        map: impl FnOnce(Router<Control>) -> Router<Control>,
    ) -> Self {
        self.router = map(self.router);
        self
    }

    pub(super) fn into_router(self) -> Router<Control> {
        self.router
    }

    /// The document of these paths, to be merged with others.
    pub(super) fn into_document(mut self) -> OpenApi {
        flatten(&mut self.schemas, &self.paths);
        let mut components = Components::new();
        components.schemas.extend(self.schemas);
        error::describe(&mut components);
        OpenApiBuilder::new()
            .info(Info::new("", ""))
            .paths(self.paths)
            .components(Some(components))
            .tags(Some(self.tags.into_iter().map(Tag::new)))
            .build()
    }
}

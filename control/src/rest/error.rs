//! REST errors: the status and the documented error body of a failed request.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use proxyxai_contract::Invalid;
use serde::Serialize;
use utoipa::{
    PartialSchema as _, ToSchema,
    openapi::{
        Components, Content, ObjectBuilder, Ref, ResponseBuilder, Type, header::HeaderBuilder,
    },
};

use crate::Error;

/// An error as the client sees it.
#[derive(Debug)]
pub(super) enum RestError {
    /// An operation, or reading the request, failed.
    Operation(Error),
    /// The request itself cannot be served, independent of the caller.
    Request {
        status: StatusCode,
        code: &'static str,
        message: &'static str,
    },
}

impl RestError {
    pub(super) const UNKNOWN_PATH: Self = Self::Request {
        status: StatusCode::NOT_FOUND,
        code: "not_found",
        message: "there is nothing at this path",
    };
    pub(super) const WRONG_METHOD: Self = Self::Request {
        status: StatusCode::METHOD_NOT_ALLOWED,
        code: "method_not_allowed",
        message: "this path does not take this method",
    };
    pub(super) const SLOW_BODY: Self = Self::Request {
        status: StatusCode::REQUEST_TIMEOUT,
        code: "request_timeout",
        message: "the body did not arrive in time",
    };
    pub(super) const TOO_LARGE: Self = Self::Request {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        code: "request_too_large",
        message: "the body is larger than this path takes",
    };

    fn status(&self) -> StatusCode {
        match self {
            Self::Request { status, .. } => *status,
            Self::Operation(error) => match error {
                Error::Invalid(_) => StatusCode::BAD_REQUEST,
                Error::Unauthenticated
                | Error::Suspended { .. }
                | Error::IpNotAllowed { .. }
                | Error::ManagementBalance { .. } => StatusCode::UNAUTHORIZED,
                Error::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
                Error::Forbidden(_) => StatusCode::FORBIDDEN,
                Error::NotFound { .. } => StatusCode::NOT_FOUND,
                Error::Conflict { .. } | Error::Busy(_) => StatusCode::CONFLICT,
                Error::InsufficientBalance { .. } => StatusCode::PAYMENT_REQUIRED,
                Error::Storage(_) => StatusCode::SERVICE_UNAVAILABLE,
                Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }
}

/// All documented errors: status, name in the document, and when they occur.
const ERRORS: [(u16, &str, &str); 11] = [
    (
        400,
        "BadRequest",
        "A field, the query, the path or the body cannot be used.",
    ),
    (
        401,
        "Unauthorized",
        "The key is missing or invalid, the account is suspended, or its balance is too low to manage accounts.",
    ),
    (402, "PaymentRequired", "The payer has too little."),
    (403, "Forbidden", "It is root's alone, or not for oneself."),
    (
        404,
        "NotFound",
        "There is none, or none at or below the caller.",
    ),
    (408, "RequestTimeout", "The body did not arrive in time."),
    (
        409,
        "Conflict",
        "A name, an address or a key is already in use, or the same operation is under way.",
    ),
    (
        413,
        "ContentTooLarge",
        "The body is larger than the path allows.",
    ),
    (
        429,
        "TooManyRequests",
        "The account sends more requests than `ADMIN_RPM` allows.",
    ),
    (
        500,
        "InternalServerError",
        "An internal error; the log has details.",
    ),
    (
        503,
        "ServiceUnavailable",
        "The storage or the control plane cannot be reached.",
    ),
];
/// Statuses that any operation may return.
pub(super) const ALWAYS: [u16; 2] = [500, 503];

/// The name of the response for a status.
pub(super) fn name_of(status: u16) -> &'static str {
    let found = ERRORS.iter().find(|(known, ..)| *known == status);
    found.map_or("", |(_, name, _)| name)
}

/// Adds the errors to the document.
pub(super) fn describe(components: &mut Components) {
    let schema = (ErrorBody::name().into_owned(), ErrorBody::schema());
    let mut schemas = vec![schema];
    ErrorBody::schemas(&mut schemas);
    components.schemas.extend(schemas);
    for (status, name, when) in ERRORS {
        let body = Ref::from_schema_name(ErrorBody::name());
        let mut response = ResponseBuilder::new()
            .description(when)
            .content("application/json", Content::new(Some(body)));
        if status == 429 {
            let seconds = ObjectBuilder::new().schema_type(Type::Integer);
            let header = HeaderBuilder::new()
                .schema(Some(seconds))
                .description(Some("Seconds until another request is taken"));
            response = response.header("retry-after", header.build());
        }
        components
            .responses
            .insert(name.to_owned(), response.build().into());
    }
}

/// What every error answers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
struct ErrorBody<'a> {
    error: ErrorTold<'a>,
    // Older pages print it and would show `error` as "[object Object]".
    message: &'a str,
}

#[derive(Debug, Serialize, ToSchema)]
struct ErrorTold<'a> {
    /// A message for people. If a field is at fault, it begins with its name.
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    /// For programs.
    code: &'static str,
    #[schema(required = true)]
    param: Option<&'a str>,
}

fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYMENT_REQUIRED => "insufficient_quota",
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE => "server_error",
        _ => "invalid_request_error",
    }
}

/// The field that caused the error, if one did.
fn param(error: &Error) -> Option<&str> {
    match error {
        Error::Invalid(Invalid { field, .. }) => Some(field),
        Error::Conflict { field, .. } => Some(field),
        Error::Unauthenticated
        | Error::Suspended { .. }
        | Error::IpNotAllowed { .. }
        | Error::ManagementBalance { .. }
        | Error::TooOften { .. }
        | Error::Forbidden(_)
        | Error::NotFound { .. }
        | Error::Busy(_)
        | Error::InsufficientBalance { .. }
        | Error::Storage(_)
        | Error::Internal(_) => None,
    }
}

impl IntoResponse for RestError {
    fn into_response(self) -> Response {
        let (code, message, param) = match &self {
            Self::Request { code, message, .. } => (*code, (*message).to_owned(), None),
            Self::Operation(error) => (error.code(), error.to_string(), param(error)),
        };
        if let Self::Operation(Error::Internal(cause)) = &self {
            // The response hides the cause, so it is logged here.
            let cause: &(dyn std::error::Error + 'static) = cause.as_ref();
            tracing::error!(error = cause, "a REST request failed");
        }
        let status = self.status();
        let body = ErrorBody {
            error: ErrorTold {
                message: &message,
                kind: kind(status),
                code,
                param,
            },
            message: &message,
        };
        let mut response = (status, Json(body)).into_response();
        if let Self::Operation(Error::TooOften { retry_after_ms, .. }) = &self {
            let seconds = HeaderValue::from((retry_after_ms + 999) / 1000);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

/// Renames the field of an error to the name that the caller used.
pub(super) fn of_field(error: Error, known: &'static str) -> RestError {
    match error {
        Error::Invalid(Invalid { field, problem }) if field.eq_ignore_ascii_case(known) => {
            Invalid::new(known, problem).into()
        }
        other => other.into(),
    }
}

impl From<Error> for RestError {
    fn from(error: Error) -> Self {
        Self::Operation(error)
    }
}

impl From<Invalid> for RestError {
    fn from(invalid: Invalid) -> Self {
        Self::Operation(invalid.into())
    }
}

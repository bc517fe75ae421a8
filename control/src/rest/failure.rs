//! What a failed request answers over REST: status and the documented error body.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use proxyxai_contract::Invalid;
use serde_json::json;

use crate::Error;

/// An error as it is shown.
#[derive(Debug)]
pub(super) enum Failure {
    /// An operation, or the reading of the request, failed.
    Operation(Error),
    /// The request cannot be served for what it is, whoever asks.
    Request {
        status: StatusCode,
        code: &'static str,
        message: &'static str,
    },
}

impl Failure {
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

/// The field that is at fault, where one is.
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

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (code, message, param) = match &self {
            Self::Request { code, message, .. } => (*code, (*message).to_owned(), None),
            Self::Operation(error) => (error.code(), error.to_string(), param(error)),
        };
        if let Self::Operation(Error::Internal(cause)) = &self {
            // The caller learns nothing of it, so this is where it is handled.
            let cause: &(dyn std::error::Error + 'static) = cause.as_ref();
            tracing::error!(error = cause, "a REST request failed");
        }
        let status = self.status();
        // Older pages print the top-level `message` and would show `error` as "[object Object]".
        let body = json!({
            "error": { "message": &message, "type": kind(status), "code": code, "param": param },
            "message": &message,
        });
        let mut response = (status, Json(body)).into_response();
        if let Self::Operation(Error::TooOften { retry_after_ms, .. }) = &self {
            let seconds = HeaderValue::from((retry_after_ms + 999) / 1000);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

/// Names a field as the caller knows it.
pub(super) fn of_field(error: Error, known: &'static str) -> Failure {
    match error {
        Error::Invalid(Invalid { field, problem }) if field.eq_ignore_ascii_case(known) => {
            Invalid::new(known, problem).into()
        }
        other => other.into(),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Operation(error)
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::Operation(invalid.into())
    }
}

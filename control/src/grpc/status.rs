//! Converts the error of an operation to a gRPC status.

use tonic::{Code, Status};

use crate::Error;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Invalid(_) => Code::InvalidArgument,
            Error::Unauthenticated
            | Error::Suspended { .. }
            | Error::IpNotAllowed { .. }
            | Error::ManagementBalance { .. } => Code::Unauthenticated,
            Error::TooOften { .. } => Code::ResourceExhausted,
            Error::Forbidden(_) => Code::PermissionDenied,
            Error::NotFound { .. } => Code::NotFound,
            Error::Conflict { .. } => Code::AlreadyExists,
            Error::Busy(_) => Code::Aborted,
            Error::InsufficientBalance { .. } => Code::FailedPrecondition,
            Error::Storage(_) => Code::Unavailable,
            Error::Internal(_) => Code::Internal,
        };
        if let Error::Internal(cause) = &error {
            // The response hides the cause, so it is logged here.
            let cause: &(dyn std::error::Error + 'static) = cause.as_ref();
            tracing::error!(error = cause, "a gRPC call failed");
        }
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proxyxai_contract::{Invalid, money::Money};

    use super::*;

    #[test]
    fn each_error_has_its_documented_code() {
        let some = Money::from_nanos(1);
        for (error, code) in [
            (
                Error::Invalid(Invalid::new("level", "is bad")),
                Code::InvalidArgument,
            ),
            (Error::Unauthenticated, Code::Unauthenticated),
            (
                Error::Suspended {
                    name: "n".to_owned(),
                },
                Code::Unauthenticated,
            ),
            (
                Error::ManagementBalance {
                    balance: some,
                    minimum: some,
                },
                Code::Unauthenticated,
            ),
            (
                Error::TooOften {
                    name: "n".to_owned(),
                    retry_after_ms: 1500,
                },
                Code::ResourceExhausted,
            ),
            (Error::Forbidden("no"), Code::PermissionDenied),
            (
                Error::NotFound {
                    kind: "Key",
                    name: "7".to_owned(),
                },
                Code::NotFound,
            ),
            (
                Error::Conflict {
                    field: "Name",
                    with: String::new(),
                },
                Code::AlreadyExists,
            ),
            (Error::Busy("it"), Code::Aborted),
            (
                Error::InsufficientBalance {
                    balance: some,
                    needed: some,
                    in_use: Money::ZERO,
                },
                Code::FailedPrecondition,
            ),
        ] {
            let text = error.to_string();
            let status = Status::from(error);
            assert_eq!((status.code(), status.message()), (code, text.as_str()));
        }
    }

    #[test]
    fn an_internal_cause_is_not_shown() {
        let cause = "disk /secret/path is full";
        for (error, code) in [
            (Error::internal(cause), Code::Internal),
            (Error::Storage(cause.into()), Code::Unavailable),
        ] {
            let status = Status::from(error);
            assert_eq!(status.code(), code);
            assert!(!status.message().contains("secret"));
        }
    }
}

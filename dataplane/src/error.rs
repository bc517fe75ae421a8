//! What can keep a data plane from starting. Failures of single calls are answers, not errors.

use std::path::PathBuf;

/// Why a data plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The usage spool on disk cannot be used.
    #[error("the usage spool {path} cannot be opened")]
    Spool {
        /// Its file.
        path: PathBuf,
        /// What the store said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The address of control cannot be used.
    #[error("CONTROL_GRPC is not usable")]
    Control(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// TLS towards providers cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The access log cannot be written where it is wanted.
    #[error("the access log cannot be opened")]
    AccessLog(#[source] std::io::Error),
    /// Traces cannot be sent where they are wanted.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT is not usable")]
    Tracing(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The system gives no more threads.
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
}

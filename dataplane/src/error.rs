//! Errors that keep a data plane from starting. A single call that fails gets a response instead.

use std::path::PathBuf;

/// Why a data plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The usage spool on disk cannot be used.
    #[error("the usage spool {path} cannot be opened")]
    Spool {
        /// Path of its file.
        path: PathBuf,
        /// Error of the store.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The address of control cannot be used.
    #[error("CONTROL_GRPC is not usable")]
    Control(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// TLS towards providers cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The access log cannot be opened for writing.
    #[error("the access log cannot be opened")]
    AccessLog(#[source] std::io::Error),
    /// The exporter for traces cannot be set up.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT is not usable")]
    Tracing(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The system cannot start another thread.
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
}

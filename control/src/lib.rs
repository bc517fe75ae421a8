//! The control plane: owns upstream keys, the account tree, its credit and the settings; answers
//! gRPC and the REST shim; streams the configuration to data planes and posts their usage.
//! It never relays a call itself.

pub mod config;
pub mod domain;
mod error;
mod grpc;
mod ops;
mod publish;
mod rest;
mod store;
mod vault;
pub mod view;

pub use error::Error;

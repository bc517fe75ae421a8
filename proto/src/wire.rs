//! Code generated from `proto/`. Used only where messages cross the boundary: `convert`, the gRPC services of control
//! and the link of the data plane.
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    clippy::pedantic,
    clippy::allow_attributes,
    reason = "generated code"
)]

tonic::include_proto!("proxyxai.v1");

/// Descriptors of all services, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

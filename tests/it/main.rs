//! The laws of the gateway, tested from outside: the built binary, real sockets, a scripted upstream. One file per
//! area; every test starts its own world on free ports.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "test code: a panic is how it fails"
)]

mod abandoned;
mod grpc;
mod raw;
mod upstream;
mod wire;
mod world;

mod affinity;
mod bad_admin;
mod bad_input;
mod bodies;
mod books;
mod cascade;
mod child;
mod client_keys;
mod credit;
mod deleted;
mod document;
mod drain;
mod earnings;
mod edges;
mod failover;
mod faults;
mod fleet;
mod gate;
mod holds;
mod key_headers;
mod kill;
mod later;
mod lifecycle;
mod limits;
mod master;
mod models;
mod named;
mod neighbour;
mod objects;
mod pages;
mod pool;
mod prices;
mod refusals;
mod relay;
mod replicas;
mod restart;
mod routes;
mod routing;
mod secrets;
mod sight;
mod storage;
mod streams;
mod sync;
mod tidy;
mod traces;
mod transparency;
mod usage;
mod usage_matrix;
mod verdicts;
mod verify;
mod windows;

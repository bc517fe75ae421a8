//! The contract of ProxyXAI: what control and data planes say to each other, and the values both
//! sides compute with. Everything here but `wire` and `convert` is pure: no I/O, no async.

pub mod access;
pub mod attempt;
pub mod bill;
mod bill_explanation;
mod bill_storage;
pub mod client_key;
pub mod clock;
pub mod convert;
pub mod earnings;
pub mod egress;
pub mod id;
pub mod invalid;
pub mod invisible_chars;
pub mod key_headers;
pub mod key_price;
pub mod lease;
pub mod load_balancing;
pub mod model_aliases;
pub mod money;
pub mod object;
pub mod part;
pub mod passthrough;
pub mod pattern;
pub mod plan;
pub mod price;
#[cfg(test)]
mod price_data_tests;
mod price_entry;
pub mod price_file;
pub mod provider;
pub mod refused_call;
pub mod routing;
pub mod secret;
pub mod snapshot;
pub mod tokens;
pub mod usage;
pub mod window;
pub mod wire;

pub use invalid::Invalid;

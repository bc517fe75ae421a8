//! Decisions: whether a call is admitted, which key it gets, when it is retried. Routing is in the contract's `plan`,
//! because control explains it. All of it is pure: values, the time and a random number in, a decision out; the relay
//! carries it out.

pub(crate) mod address;
pub(crate) mod admit;
pub(crate) mod affinity;
pub(crate) mod blame;
pub(crate) mod ceiling;
pub(crate) mod connect_failure;
mod counter;
pub(crate) mod endpoint_access;
pub(crate) mod health;
pub(crate) mod hedge;
pub(crate) mod hidden;
pub(crate) mod lease_sizing;
pub(crate) mod limit;
pub(crate) mod load_balancing;
pub(crate) mod own;
pub(crate) mod peak_ewma;
mod refusal;
pub(crate) mod retry_budget;
pub(crate) mod sample;
pub(crate) mod share;
pub(crate) mod via;

#[cfg(test)]
pub(crate) mod samples;

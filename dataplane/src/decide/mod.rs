//! Decisions: whether a call is let in, which key it gets, when it is tried again. Where it goes is in the
//! contract's `plan`, since control explains it. Pure:
//! values, the moment and a random number in, an answer out; the relay obeys.

pub(crate) mod address;
pub(crate) mod admit;
pub(crate) mod affinity;
pub(crate) mod blame;
pub(crate) mod ceiling;
mod counter;
pub(crate) mod gate;
pub(crate) mod health;
pub(crate) mod hedge;
pub(crate) mod hidden;
pub(crate) mod limit;
pub(crate) mod own;
pub(crate) mod pace;
pub(crate) mod pick;
mod refusal;
pub(crate) mod retry;
pub(crate) mod sample;
pub(crate) mod share;
pub(crate) mod spend;
pub(crate) mod unreached;
pub(crate) mod via;

#[cfg(test)]
pub(crate) mod samples;

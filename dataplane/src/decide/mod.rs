//! Decisions: whether a call is let in, where it goes, which key it gets, when it is tried again. Pure:
//! values, the moment and a random number in, an answer out; the relay obeys.

pub(crate) mod address;
pub(crate) mod admit;
mod counter;
pub(crate) mod health;
pub(crate) mod limit;
pub(crate) mod pick;
mod refusal;
pub(crate) mod retry;
pub(crate) mod route;
pub(crate) mod spend;
pub(crate) mod via;

#[cfg(test)]
pub(crate) mod samples;

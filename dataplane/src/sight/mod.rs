//! What can be seen of calls from outside.

mod id;

pub use id::RequestId;
pub(crate) use id::{UPSTREAM_REQUEST_ID, X_REQUEST_ID};

//! Authenticates the caller from the metadata of a call.

use proxyxai_contract::client_key;
use tonic::{Request, metadata::MetadataMap};

use crate::{Control, Error, model::Caller, ops};

/// The account whose key the call carries.
pub(super) async fn caller<T: Sync>(
    control: &Control,
    request: &Request<T>,
) -> Result<Caller, Error> {
    let key = presented(request.metadata()).ok_or(Error::Unauthenticated)?;
    let address = request.remote_addr().map(|peer| peer.ip().to_canonical());
    ops::auth::authenticate(control, key, address).await
}

/// Admits data planes only.
pub(super) async fn node<T: Sync>(control: &Control, request: &Request<T>) -> Result<(), Error> {
    let token = presented(request.metadata()).ok_or(Error::Unauthenticated)?;
    ops::auth::check_node(control, token).await
}

/// The key or token in the metadata.
fn presented(metadata: &MetadataMap) -> Option<&str> {
    let text = |name| metadata.get(name)?.to_str().ok();
    client_key::credential_from(text("authorization"), text("x-api-key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_forms_of_a_credential_are_read() {
        for (name, value, key) in [
            ("authorization", "Bearer k", Some("k")),
            ("authorization", "bearer  k ", Some("k")),
            ("authorization", "k", Some("k")),
            ("authorization", "", None),
            ("x-api-key", "k", Some("k")),
            ("api-key", "k", None),
        ] {
            let mut metadata = MetadataMap::new();
            metadata.insert(name, value.parse().unwrap());
            assert_eq!(presented(&metadata), key, "{name}: {value}");
        }
    }
}

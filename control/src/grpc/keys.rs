//! Service `Keys`.

use proxyxai_contract::{
    Invalid,
    convert::{config_from_wire, config_to_wire, health_state_to_wire, millis_to_wire},
    id::{KeyId, Level},
    secret::Secret,
    wire::{self, keys_server::Keys},
};
use tonic::{Request, Response, Status};

use super::{auth, count, page_from_wire};
use crate::{
    Control, Error,
    model::{
        KeyState, NewUpstreamKey, ProbeResult, UpstreamKey, UpstreamKeyChange, UpstreamKeyFilter,
    },
    ops,
};

#[derive(Debug)]
pub(super) struct KeysService(pub(super) Control);

#[tonic::async_trait]
impl Keys for KeysService {
    async fn create_key(
        &self,
        request: Request<wire::CreateKeyRequest>,
    ) -> Result<Response<wire::Key>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let new = new_from_wire(request.into_inner())?;
        let key = ops::keys::create(&self.0, &caller, new).await?;
        Ok(Response::new(key_to_wire(key)))
    }

    async fn get_key(
        &self,
        request: Request<wire::GetKeyRequest>,
    ) -> Result<Response<wire::Key>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::GetKeyRequest { id } = request.into_inner();
        let key = ops::keys::get(&self.0, &caller, key_id(id)?).await?;
        Ok(Response::new(key_to_wire(key)))
    }

    async fn list_keys(
        &self,
        request: Request<wire::ListKeysRequest>,
    ) -> Result<Response<wire::ListKeysResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::ListKeysRequest {
            page,
            level,
            provider,
            search,
            state,
        } = request.into_inner();
        let filter = UpstreamKeyFilter {
            id: None,
            level: level.map(level_from_wire).transpose()?,
            provider: (!provider.is_empty()).then_some(provider),
            search: (!search.is_empty()).then_some(search),
            state: match state.as_str() {
                "" => None,
                name => Some(KeyState::parse(name).map_err(Error::from)?),
            },
        };
        let page = page_from_wire(page).map_err(Error::from)?;
        let listing = ops::keys::list(&self.0, &caller, filter, page).await?;
        Ok(Response::new(wire::ListKeysResponse {
            keys: listing.rows.into_iter().map(key_to_wire).collect(),
            total: count(listing.total),
        }))
    }

    async fn update_key(
        &self,
        request: Request<wire::UpdateKeyRequest>,
    ) -> Result<Response<wire::Key>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let (id, change) = change_from_wire(request.into_inner())?;
        let key = ops::keys::update(&self.0, &caller, id, change).await?;
        Ok(Response::new(key_to_wire(key)))
    }

    async fn delete_key(
        &self,
        request: Request<wire::DeleteKeyRequest>,
    ) -> Result<Response<wire::Key>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::DeleteKeyRequest { id } = request.into_inner();
        let key = ops::keys::delete(&self.0, &caller, key_id(id)?).await?;
        Ok(Response::new(key_to_wire(key)))
    }

    async fn probe_key(
        &self,
        request: Request<wire::ProbeKeyRequest>,
    ) -> Result<Response<wire::ProbeKeyResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::ProbeKeyRequest { id, model } = request.into_inner();
        let ProbeResult {
            accepted,
            status,
            detail,
            duration_ms,
        } = ops::keys::probe(&self.0, &caller, key_id(id)?, Some(&model)).await?;
        Ok(Response::new(wire::ProbeKeyResponse {
            accepted,
            status: status.into(),
            detail,
            duration_ms: count(duration_ms),
        }))
    }
}

fn new_from_wire(request: wire::CreateKeyRequest) -> Result<NewUpstreamKey, Error> {
    let wire::CreateKeyRequest {
        secret,
        name,
        provider,
        level,
        enabled,
        config,
    } = request;
    Ok(NewUpstreamKey {
        secret: Secret::new(secret),
        name,
        provider: (!provider.is_empty()).then_some(provider),
        level: level_from_wire(level)?,
        enabled: enabled.unwrap_or(true),
        config: config
            .map(config_from_wire)
            .transpose()?
            .unwrap_or_default(),
    })
}

fn change_from_wire(request: wire::UpdateKeyRequest) -> Result<(KeyId, UpstreamKeyChange), Error> {
    let wire::UpdateKeyRequest {
        id,
        secret,
        name,
        provider,
        level,
        enabled,
        config,
    } = request;
    let change = UpstreamKeyChange {
        secret: secret.map(Secret::new),
        name,
        provider,
        level: level.map(level_from_wire).transpose()?,
        enabled,
        config: config.map(config_from_wire).transpose()?,
    };
    Ok((key_id(id)?, change))
}

pub(super) fn key_to_wire(key: UpstreamKey) -> wire::Key {
    let UpstreamKey {
        id,
        name,
        provider,
        level,
        enabled,
        config,
        secret_hint,
        health,
        health_reason,
        created,
        updated,
    } = key;
    wire::Key {
        id: id.get(),
        name,
        provider,
        level: level.get().into(),
        enabled,
        config: Some(config_to_wire(&config)),
        secret_hint,
        health: Some(health_state_to_wire(health, &health_reason)),
        create_time: Some(millis_to_wire(created)),
        update_time: Some(millis_to_wire(updated)),
    }
}

fn key_id(id: i64) -> Result<KeyId, Error> {
    Ok(KeyId::new(id)?)
}

fn level_from_wire(level: i32) -> Result<Level, Error> {
    let named = |error: Invalid| error.under("level");
    Ok(Level::new(level.into()).map_err(named)?)
}

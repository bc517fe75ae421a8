//! Service `Settings`.

use proxyxai_contract::wire::{self, settings_server::Settings};
use tonic::{Request, Response, Status};

use super::{auth, count};
use crate::{Control, ops};

#[derive(Debug)]
pub(super) struct Service(pub(super) Control);

#[tonic::async_trait]
impl Settings for Service {
    async fn get_settings(
        &self,
        request: Request<wire::GetSettingsRequest>,
    ) -> Result<Response<wire::GetSettingsResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let settings = ops::settings::get(&self.0, &caller).await?;
        Ok(Response::new(wire::GetSettingsResponse {
            settings: settings.into_iter().collect(),
        }))
    }

    async fn update_settings(
        &self,
        request: Request<wire::UpdateSettingsRequest>,
    ) -> Result<Response<wire::GetSettingsResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::UpdateSettingsRequest { set, reset } = request.into_inner();
        let set = set.into_iter().collect();
        let settings = ops::settings::update(&self.0, &caller, set, reset).await?;
        Ok(Response::new(wire::GetSettingsResponse {
            settings: settings.into_iter().collect(),
        }))
    }

    async fn reload_keys(
        &self,
        request: Request<wire::ReloadKeysRequest>,
    ) -> Result<Response<wire::ReloadKeysResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let (keys, revision) = ops::keys::reload(&self.0, &caller).await?;
        Ok(Response::new(wire::ReloadKeysResponse {
            keys: count(keys),
            revision: revision.0,
        }))
    }
}

//! Service `Settings`.

use proxyxai_contract::{
    secret::Secret,
    wire::{self, settings_server::Settings},
};
use tonic::{Request, Response, Status};

use super::{auth, count, routes::route_to_wire};
use crate::{Control, ops, ops::settings::SettingsScope};

#[derive(Debug)]
pub(super) struct SettingsService(pub(super) Control);

#[tonic::async_trait]
impl Settings for SettingsService {
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
        let wire::UpdateSettingsRequest {
            set,
            reset,
            cascade,
        } = request.into_inner();
        let set = set.into_iter().collect();
        let scope = if cascade {
            SettingsScope::AllAccounts
        } else {
            SettingsScope::System
        };
        let settings = ops::settings::change(&self.0, &caller, set, reset, scope).await?;
        Ok(Response::new(wire::GetSettingsResponse {
            settings: settings.into_iter().collect(),
        }))
    }

    async fn generate_client_key(
        &self,
        request: Request<wire::GenerateClientKeyRequest>,
    ) -> Result<Response<wire::GenerateClientKeyResponse>, Status> {
        auth::caller(&self.0, &request).await?;
        let key = ops::settings::generate_client_key()?;
        Ok(Response::new(wire::GenerateClientKeyResponse {
            client_key: key.expose().to_owned(),
        }))
    }

    async fn seal_text(
        &self,
        request: Request<wire::SealTextRequest>,
    ) -> Result<Response<wire::SealTextResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let text = Secret::new(request.into_inner().text);
        let sealed = ops::settings::seal_text(&self.0, &caller, &text).await?;
        Ok(Response::new(wire::SealTextResponse { sealed }))
    }

    async fn open_text(
        &self,
        request: Request<wire::OpenTextRequest>,
    ) -> Result<Response<wire::OpenTextResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::OpenTextRequest { sealed } = request.into_inner();
        let opened = ops::settings::open_text(&self.0, &caller, &sealed).await?;
        Ok(Response::new(wire::OpenTextResponse {
            text: opened.expose().to_owned(),
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

    async fn explain_route(
        &self,
        request: Request<wire::ExplainRouteRequest>,
    ) -> Result<Response<wire::ExplainRouteResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::ExplainRouteRequest { model, account } = request.into_inner();
        let account = Some(account.as_str()).filter(|account| !account.is_empty());
        let route = ops::routes::explain(&self.0, &caller, &model, account).await?;
        Ok(Response::new(route_to_wire(route)))
    }
}

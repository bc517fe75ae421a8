//! Service `Prices`.

use proxyxai_contract::{
    convert::{millis_to_wire, optional_millis_from_wire},
    id::AccountId,
    wire::{self, prices_server::Prices},
};
use tonic::{Request, Response, Status};

use super::{auth, count, reports::days_from_wire};
use crate::{
    Control, Error,
    model::{PriceVersion, RerateRequest, RerateResult},
    ops::{self, prices::PriceTableUpload},
};

#[derive(Debug)]
pub(super) struct PricesService(pub(super) Control);

#[tonic::async_trait]
impl Prices for PricesService {
    async fn get_prices(
        &self,
        request: Request<wire::GetPricesRequest>,
    ) -> Result<Response<wire::GetPricesResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::GetPricesRequest { version, time } = request.into_inner();
        let time = optional_millis_from_wire("time", time.as_ref()).map_err(Error::from)?;
        let found = ops::prices::get(&self.0, &caller, named(&version), time).await?;
        let versions = ops::prices::versions(&self.0, &caller).await?;
        Ok(Response::new(wire::GetPricesResponse {
            version: Some(version_to_wire(&found)),
            table: found.text,
            overrides: found.overrides,
            versions: versions.iter().map(version_to_wire).collect(),
        }))
    }

    async fn diff_prices(
        &self,
        request: Request<wire::DiffPricesRequest>,
    ) -> Result<Response<wire::DiffPricesResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::DiffPricesRequest { table, valid_from } = request.into_inner();
        let valid_from =
            optional_millis_from_wire("valid_from", valid_from.as_ref()).map_err(Error::from)?;
        let changes = ops::prices::diff(&self.0, &caller, &table, valid_from).await?;
        Ok(Response::new(wire::DiffPricesResponse {
            changes: changes.iter().map(Into::into).collect(),
        }))
    }

    async fn load_prices(
        &self,
        request: Request<wire::LoadPricesRequest>,
    ) -> Result<Response<wire::LoadPricesResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::LoadPricesRequest {
            table,
            valid_from,
            note,
            force,
            over_version,
        } = request.into_inner();
        let new = PriceTableUpload {
            text: table,
            valid_from: optional_millis_from_wire("valid_from", valid_from.as_ref())
                .map_err(Error::from)?,
            note,
            force,
            over: named(&over_version).map(str::to_owned),
        };
        let (version, changes) = Box::pin(ops::prices::load(&self.0, &caller, new)).await?;
        Ok(Response::new(wire::LoadPricesResponse {
            version: Some(version_to_wire(&version)),
            changes: changes.iter().map(Into::into).collect(),
        }))
    }

    async fn rerate(
        &self,
        request: Request<wire::RerateRequest>,
    ) -> Result<Response<wire::RerateResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::RerateRequest {
            start_date,
            end_date,
            account,
            version,
            dry_run,
        } = request.into_inner();
        let today = ops::reports::today(&self.0);
        let rerating = RerateRequest {
            days: days_from_wire(&start_date, &end_date, today)?,
            account: named(&account).map(str::to_owned),
            version: named(&version).map(str::to_owned),
            dry_run,
        };
        let RerateResult {
            records,
            unpriced,
            corrections,
        } = Box::pin(ops::prices::rerate(&self.0, &caller, rerating)).await?;
        let correction = |(account, (records, difference)): (AccountId, _)| {
            let (records, difference): (u64, proxyxai_contract::money::Money) =
                (records, difference);
            wire::AccountCorrection {
                account_id: account.get(),
                records: count(records),
                difference_nanos: difference.nanos(),
            }
        };
        Ok(Response::new(wire::RerateResponse {
            records: count(records),
            unpriced: count(unpriced),
            corrections: corrections.into_iter().map(correction).collect(),
        }))
    }
}

fn named(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn version_to_wire(version: &PriceVersion) -> wire::PriceVersion {
    let PriceVersion {
        version,
        valid_from,
        source,
        note,
        text: _,
        overrides: _,
        created,
        created_by,
    } = version;
    wire::PriceVersion {
        version: version.clone(),
        valid_from: Some(millis_to_wire(*valid_from)),
        source: source.as_str().to_owned(),
        note: note.clone(),
        create_time: Some(millis_to_wire(*created)),
        created_by: created_by.map_or(0, AccountId::get),
    }
}

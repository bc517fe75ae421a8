//! The gRPC front: parses wire messages, calls one operation, and returns wire messages. Rights, limits and money are
//! up to the operations.

mod accounts;
mod auth;
mod fleet;
mod keys;
mod news;
mod prices;
mod reports;
mod routes;
mod settings;
mod status;
#[cfg(test)]
mod tests;

use futures_util::FutureExt as _;
use proxyxai_contract::{
    Invalid,
    wire::{
        self, accounts_server::AccountsServer, fleet_server::FleetServer, keys_server::KeysServer,
        news_server::NewsServer, prices_server::PricesServer, reports_server::ReportsServer,
        settings_server::SettingsServer,
    },
};
use tonic::{server::NamedService, service::Routes};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::{Control, model::Page};

/// Administrative messages are small; the longest is a settings change that contains a price table.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// A table of thousands of models has about 1 MiB.
const PRICES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest report of a data plane.
const REPORT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A full update with 100,000 accounts has about 20 MiB. The same limit as on data planes: a larger update would stop
/// all of them.
const UPDATE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// All services, with health and both versions of reflection.
pub(crate) fn routes(control: Control) -> Routes {
    let fleet = FleetServer::new(fleet::FleetService(control.clone()))
        .max_decoding_message_size(REPORT_BYTES_MAX)
        .max_encoding_message_size(UPDATE_BYTES_MAX);
    let keys = KeysServer::new(keys::KeysService(control.clone()));
    let accounts = AccountsServer::new(accounts::AccountsService(control.clone()));
    let settings = SettingsServer::new(settings::SettingsService(control.clone()));
    let news = NewsServer::new(news::NewsService(control.clone()));
    let prices = PricesServer::new(prices::PricesService(control.clone()))
        .max_decoding_message_size(PRICES_BYTES_MAX);
    let reports = ReportsServer::new(reports::ReportsService(control));
    let routes = Routes::new(fleet)
        .add_service(keys.max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(accounts.max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(settings.max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(news.max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(reports.max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(prices)
        .add_service(health());
    with_reflection(routes)
}

fn health() -> HealthServer<HealthService> {
    let reporter = HealthReporter::new();
    let names = [
        PricesServer::<prices::PricesService>::NAME,
        KeysServer::<keys::KeysService>::NAME,
        AccountsServer::<accounts::AccountsService>::NAME,
        SettingsServer::<settings::SettingsService>::NAME,
        NewsServer::<news::NewsService>::NAME,
        ReportsServer::<reports::ReportsService>::NAME,
        FleetServer::<fleet::FleetService>::NAME,
    ];
    for name in names {
        let report = reporter.set_service_status(name, ServingStatus::Serving);
        // No other task holds this reporter, so its lock is free and one poll is enough.
        tokio::task::unconstrained(report).now_or_never();
    }
    HealthServer::new(HealthService::from_health_reporter(reporter))
}

/// Adds reflection. Common builds of grpcurl still ask for v1alpha.
fn with_reflection(routes: Routes) -> Routes {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(wire::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "gRPC reflection is off: the descriptors cannot be read");
            routes
        }
    }
}

fn page_from_wire(page: Option<wire::PageRequest>) -> Result<Page, Invalid> {
    let wire::PageRequest { page, size } = page.unwrap_or_default();
    let page = match page {
        0 => 1,
        page => u64::try_from(page).map_err(|_| Invalid::new("page.page", "must be positive"))?,
    };
    let size = match size {
        0 => 1000,
        size => u64::try_from(size)
            .ok()
            .filter(|size| *size <= 1000)
            .ok_or_else(|| Invalid::new("page.size", "must be from 1 to 1000"))?,
    };
    Ok(Page { page, size })
}

/// A count for the wire, clamped to `i64`.
fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

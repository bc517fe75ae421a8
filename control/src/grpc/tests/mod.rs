//! The gRPC front through its own routes, over a real control plane on SQLite.

mod accounts;
mod admin;
mod fleet;
mod news;

use tempfile::TempDir;

use futures_util::StreamExt as _;
use proxyxai_contract::{
    clock::{Clock, Millis},
    wire::{
        self, accounts_client::AccountsClient, fleet_client::FleetClient, keys_client::KeysClient,
        settings_client::SettingsClient,
    },
};
use tonic::{Code, Request, Status, service::Routes};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{Control, config::Config, store::database::Database};

const START: Millis = Millis(1_741_600_000_000);
const SECRET: &str = "sk-upstream-0123456789";

struct GrpcHarness {
    control: Control,
    routes: Routes,
    root: String,
    token: String,
    _dir: TempDir,
}

impl GrpcHarness {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let config = Config::new(
            Database::Sqlite(dir.path().join("test.db")),
            dir.path().to_owned(),
        );
        let control = Control::start(config, Clock::manual(START)).await.unwrap();
        Self {
            routes: control.grpc_routes(),
            root: control.first_root_key().unwrap().expose().to_owned(),
            token: control.node_token().expose().to_owned(),
            control,
            _dir: dir,
        }
    }

    fn as_root<T>(&self, message: T) -> Request<T> {
        with_key(&self.root, message)
    }

    fn as_node<T>(&self, message: T) -> Request<T> {
        with_key(&self.token, message)
    }

    async fn child(&self, name: &str, dollars: i64) -> (wire::Account, String) {
        let new = wire::CreateAccountRequest {
            name: name.to_owned(),
            email: format!("{name}@example.com"),
            credit_nanos: dollars * 1_000_000_000,
            ..wire::CreateAccountRequest::default()
        };
        let mut accounts = AccountsClient::new(self.routes.clone());
        let created = accounts.create_account(self.as_root(new)).await.unwrap();
        let created = created.into_inner();
        (created.account.unwrap(), created.client_key)
    }
}

fn with_key<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

fn code<T>(answer: Result<T, Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "messages hold it as an optional field"
)]
fn named(identifier: &str) -> Option<wire::AccountRef> {
    Some(wire::AccountRef {
        identifier: identifier.to_owned(),
    })
}

#[tokio::test]
async fn keys_and_settings_are_roots_and_the_fleet_is_the_nodes() {
    let rig = GrpcHarness::start().await;
    let (_, anna) = rig.child("anna", 100).await;
    let mut keys = KeysClient::new(rig.routes.clone());
    let mut settings = SettingsClient::new(rig.routes.clone());
    let mut fleet = FleetClient::new(rig.routes.clone());
    let list = wire::ListKeysRequest::default;
    assert_eq!(
        code(keys.list_keys(with_key(&anna, list())).await),
        Code::PermissionDenied
    );
    assert_eq!(code(keys.list_keys(list()).await), Code::Unauthenticated);
    assert_eq!(
        code(keys.list_keys(rig.as_node(list())).await),
        Code::Unauthenticated
    );
    let get = wire::GetSettingsRequest {};
    assert_eq!(
        code(settings.get_settings(with_key(&anna, get)).await),
        Code::PermissionDenied
    );

    let nodes = || wire::ListNodesRequest {};
    assert_eq!(code(fleet.list_nodes(rig.as_root(nodes())).await), Code::Ok);
    assert_eq!(
        code(fleet.list_nodes(rig.as_node(nodes())).await),
        Code::Unauthenticated
    );
    assert_eq!(
        code(fleet.list_nodes(with_key(&anna, nodes())).await),
        Code::PermissionDenied
    );
    let watch = || wire::WatchRequest {
        node: "one".to_owned(),
        epoch: 1,
        version: "0".to_owned(),
        heartbeats: false,
        process: 0,
        chunks: false,
    };
    assert_eq!(
        code(fleet.watch(rig.as_root(watch())).await),
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn every_service_is_healthy() {
    let rig = GrpcHarness::start().await;
    let mut health = HealthClient::new(rig.routes.clone());
    for service in ["", "Keys", "Accounts", "Settings", "Reports", "Fleet"] {
        let service = match service {
            "" => String::new(),
            name => format!("proxyxai.v1.{name}"),
        };
        let answer = health.check(HealthCheckRequest { service }).await.unwrap();
        assert_eq!(answer.into_inner().status, 1);
    }
    let nothing = HealthCheckRequest {
        service: "proxyxai.v1.Nothing".to_owned(),
    };
    assert_eq!(code(health.check(nothing).await), Code::NotFound);
}

/// Both versions have the same messages in packages of different names.
macro_rules! lists_all_services {
    ($test:ident, $version:ident) => {
        #[tokio::test]
        async fn $test() {
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
            };
            let rig = GrpcHarness::start().await;
            let ask = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut client = ServerReflectionClient::new(rig.routes.clone());
            let asked = futures_util::stream::iter([ask]);
            let mut answers = client
                .server_reflection_info(asked)
                .await
                .unwrap()
                .into_inner();
            let answer = answers.next().await.unwrap().unwrap();
            let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
                panic!("{answer:?}");
            };
            let names: Vec<_> = list
                .service
                .into_iter()
                .map(|service| service.name)
                .collect();
            for name in ["Keys", "Accounts", "Settings", "Reports", "Fleet"] {
                assert!(names.contains(&format!("proxyxai.v1.{name}")), "{names:?}");
            }
        }
    };
}
lists_all_services!(reflection_v1_lists_all_services, v1);
lists_all_services!(reflection_v1alpha_lists_all_services, v1alpha);

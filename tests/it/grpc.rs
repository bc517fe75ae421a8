//! A gRPC client with an account's key.

use proxyxai_contract::wire::{
    self, accounts_client::AccountsClient, fleet_client::FleetClient, reports_client::ReportsClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use crate::world::ROOT;

/// Makes calls with the credential of one account.
#[derive(Clone)]
pub struct Grpc(InterceptedService<Channel, Bearer>);

#[derive(Clone)]
struct Bearer(MetadataValue<Ascii>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Grpc {
    /// As root, at an address like `127.0.0.1:3444`.
    pub fn root(address: &str) -> Self {
        Self::with(address, ROOT)
    }

    /// With any credential.
    pub fn with(address: &str, credential: &str) -> Self {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        let bearer = Bearer(format!("Bearer {credential}").parse().unwrap());
        Self(InterceptedService::new(channel, bearer))
    }

    /// An account, by its identifier.
    pub async fn me(&self, identifier: &str) -> Result<wire::Account, Status> {
        let request = wire::GetAccountRequest {
            account: Some(wire::AccountRef {
                identifier: identifier.to_owned(),
            }),
        };
        let answer = AccountsClient::new(self.0.clone())
            .get_account(request)
            .await;
        answer.map(tonic::Response::into_inner)
    }

    /// Usage records of an account, newest first.
    pub async fn usage(&self, account: &str) -> Vec<wire::PostedUsage> {
        let request = wire::ListUsageRequest {
            request_id: String::new(),
            account: account.to_owned(),
            page: None,
        };
        let listed = ReportsClient::new(self.0.clone())
            .list_usage(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            listed.total,
            i64::try_from(listed.records.len()).unwrap(),
            "one page holds them all"
        );
        listed.records
    }

    /// Like [`Self::usage`], over all pages.
    pub async fn usage_all(&self, account: &str) -> Vec<wire::PostedUsage> {
        loop {
            let (mut records, mut totals) = (Vec::new(), Vec::new());
            for page in 1.. {
                let request = wire::ListUsageRequest {
                    request_id: String::new(),
                    account: account.to_owned(),
                    page: Some(wire::PageRequest { page, size: 1000 }),
                };
                let listed = ReportsClient::new(self.0.clone())
                    .list_usage(request)
                    .await
                    .unwrap()
                    .into_inner();
                totals.push(listed.total);
                let full = listed.records.len() == 1000;
                records.extend(listed.records);
                if !full {
                    break;
                }
            }
            // New records move others to later pages.
            if totals.iter().all(|total| *total == totals[0]) {
                return records;
            }
        }
    }

    pub async fn account(&self, name: &str) -> wire::Account {
        let account = Some(wire::AccountRef {
            identifier: name.to_owned(),
        });
        let request = wire::GetAccountRequest { account };
        AccountsClient::new(self.0.clone())
            .get_account(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// Panics if the books do not balance.
    pub async fn verify_books(&self) {
        let request = wire::VerifyBooksRequest {};
        let books = ReportsClient::new(self.0.clone())
            .verify_books(request)
            .await
            .unwrap()
            .into_inner();
        assert!(books.balanced, "{}", books.difference);
        assert!(books.postings > 0);
    }

    pub async fn nodes(&self) -> Result<wire::ListNodesResponse, Status> {
        let answer = FleetClient::new(self.0.clone())
            .list_nodes(wire::ListNodesRequest {})
            .await;
        answer.map(tonic::Response::into_inner)
    }

    /// The first update of a `Fleet.Watch`, as a data plane of this name gets it.
    pub async fn watch(&self, node: &str) -> Result<wire::Update, Status> {
        let request = wire::WatchRequest {
            node: node.to_owned(),
            epoch: 1,
            version: "test".to_owned(),
            heartbeats: false,
            process: 0,
            chunks: false,
        };
        let mut updates = FleetClient::new(self.0.clone())
            .watch(request)
            .await?
            .into_inner();
        Ok(updates.message().await?.expect("an update"))
    }
}

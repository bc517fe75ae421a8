//! The link to data planes, and the reports on what they metered.

use futures_util::StreamExt as _;
use proxyxai_contract::{
    convert::millis_to_wire,
    wire::{self, fleet_client::FleetClient, reports_client::ReportsClient},
};
use tonic::Code;

use super::{Rig, START, code};

fn watch(node: &str) -> wire::WatchRequest {
    wire::WatchRequest {
        node: node.to_owned(),
        epoch: 7,
        version: "0.1".to_owned(),
    }
}

fn report(records: Vec<wire::UsageRecord>) -> wire::ReportUsageRequest {
    wire::ReportUsageRequest {
        node: "one".to_owned(),
        epoch: 7,
        records,
    }
}

fn record(sequence: u64, account_id: i64) -> wire::UsageRecord {
    wire::UsageRecord {
        sequence,
        account_id,
        model_used: "gpt-4o".to_owned(),
        tries: 1,
        status: 200,
        measure: wire::Measure::Measured.into(),
        cost_nanos: 250_000_000,
        priced: true,
        start_time: Some(millis_to_wire(START)),
        ..wire::UsageRecord::default()
    }
}

#[tokio::test]
async fn a_node_gets_everything_first_and_is_listed_with_what_it_made_of_it() {
    let rig = Rig::start("watch").await;
    rig.child("anna", 100).await;
    let mut fleet = FleetClient::new(rig.routes.clone());
    let watched = fleet.watch(rig.as_node(watch("one"))).await;
    let mut updates = watched.unwrap().into_inner();
    let first = updates.next().await.unwrap().unwrap();
    assert!(first.full && first.settings.is_some() && first.prices.is_some());
    assert_eq!(first.accounts.len(), 2);

    let rejection = wire::Rejection {
        kind: "key".to_owned(),
        item: "7".to_owned(),
        problem: "provider: is not a URL".to_owned(),
    };
    let acknowledge = wire::AcknowledgeRequest {
        node: "one".to_owned(),
        epoch: 7,
        revision: first.revision,
        rejections: vec![rejection.clone()],
    };
    fleet.acknowledge(rig.as_node(acknowledge)).await.unwrap();
    let list = rig.as_root(wire::ListNodesRequest {});
    let listed = fleet.list_nodes(list).await.unwrap().into_inner();
    assert_eq!(listed.revision, first.revision);
    let node = &listed.nodes[0];
    assert!(node.connected);
    assert_eq!((node.name.as_str(), node.epoch), ("one", 7));
    assert_eq!(node.applied_revision, first.revision);
    assert_eq!(node.rejections, [rejection]);
}

#[tokio::test]
async fn usage_that_is_sent_twice_is_posted_once() {
    let rig = Rig::start("usage").await;
    let (anna, _) = rig.child("anna", 100).await;
    let mut fleet = FleetClient::new(rig.routes.clone());
    for _ in 0..2 {
        let sent = rig.as_node(report(vec![record(1, anna.id)]));
        let posted = fleet.report_usage(sent).await.unwrap().into_inner();
        assert_eq!(posted.through_sequence, 1);
        assert_eq!(posted.standings[0].balance_nanos, 99_750_000_000);
    }
    let mut reports = ReportsClient::new(rig.routes.clone());
    let bill = rig.as_root(wire::GetBillRequest {
        account: "anna".to_owned(),
        ..wire::GetBillRequest::default()
    });
    let bill = reports.get_bill(bill).await.unwrap().into_inner();
    assert_eq!(bill.models[0].model, "gpt-4o");
    assert_eq!(bill.total.unwrap().cost_nanos, 250_000_000);
    let usage = rig.as_root(wire::ListUsageRequest {
        request_id: String::new(),
        account: "anna".to_owned(),
        page: None,
    });
    let usage = reports.list_usage(usage).await.unwrap().into_inner();
    assert_eq!((usage.total, usage.records[0].node.as_str()), (1, "one"));
    let calls = |request| reports_of(&rig, request);
    let listed = calls(wire::ListCallsRequest::default()).await.unwrap();
    assert_eq!(
        (listed.calls[0].account_name.as_str(), listed.next.as_str()),
        ("anna", "")
    );
    assert_eq!(listed.calls[0].usage, Some(usage.records[0].clone()));
    let since = wire::ListCallsRequest {
        after: listed.latest,
        ..wire::ListCallsRequest::default()
    };
    assert!(calls(since).await.unwrap().calls.is_empty());
    for size in [-1, 501] {
        let wrong = wire::ListCallsRequest {
            size,
            ..wire::ListCallsRequest::default()
        };
        assert_eq!(
            calls(wrong).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    let verify = rig.as_root(wire::VerifyBooksRequest {});
    let books = reports.verify_books(verify).await.unwrap().into_inner();
    assert!(books.balanced, "{}", books.difference);
}

async fn reports_of(
    rig: &Rig,
    request: wire::ListCallsRequest,
) -> Result<wire::ListCallsResponse, tonic::Status> {
    let mut reports = ReportsClient::new(rig.routes.clone());
    let listed = reports.list_calls(rig.as_root(request)).await?;
    Ok(listed.into_inner())
}

#[tokio::test]
async fn a_batch_out_of_order_is_refused_whole() {
    let rig = Rig::start("order").await;
    let (anna, _) = rig.child("anna", 100).await;
    let mut fleet = FleetClient::new(rig.routes.clone());
    let records = vec![record(2, anna.id), record(1, anna.id)];
    let refused = fleet.report_usage(rig.as_node(report(records))).await;
    assert_eq!(code(refused), Code::InvalidArgument);
    let unnamed = fleet.watch(rig.as_node(watch("One!"))).await;
    assert_eq!(code(unnamed), Code::InvalidArgument);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_holds_up_no_other() {
    let rig = Rig::start("unread").await;
    let (anna, _) = rig.child("anna", 100).await;
    let mut fleet = FleetClient::new(rig.routes.clone());
    let garbled = wire::UsageRecord {
        cost_nanos: -1,
        request_id: "odd".to_owned(),
        ..record(2, anna.id)
    };
    let records = vec![record(1, anna.id), garbled, record(3, anna.id)];
    let posted = fleet.report_usage(rig.as_node(report(records))).await;
    assert_eq!(posted.unwrap().into_inner().through_sequence, 3);
    let mut reports = ReportsClient::new(rig.routes.clone());
    let verify = rig.as_root(wire::VerifyBooksRequest {});
    let books = reports.verify_books(verify).await.unwrap().into_inner();
    assert!(books.balanced, "{}", books.difference);
    assert_eq!((books.records, books.quarantined), (2, 1));
    let aside = &books.latest_quarantined[0];
    assert_eq!(
        (aside.sequence, aside.account_id, aside.request_id.as_str()),
        (2, anna.id, "odd")
    );
    assert!(aside.reason.contains("cost_nanos"), "{}", aside.reason);
}

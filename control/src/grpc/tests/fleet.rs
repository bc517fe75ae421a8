//! The link to data planes, and the reports on the usage that they metered.

use futures_util::StreamExt as _;
use proxyxai_contract::{
    clock::Millis,
    convert::millis_to_wire,
    wire::{self, fleet_client::FleetClient, reports_client::ReportsClient},
};
use tonic::Code;

use super::{GrpcHarness, START, code, with_key};

fn watch(node: &str) -> wire::WatchRequest {
    wire::WatchRequest {
        node: node.to_owned(),
        epoch: 7,
        version: "0.1".to_owned(),
        heartbeats: false,
        process: 0,
        chunks: false,
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
    let rig = GrpcHarness::start().await;
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
    let rig = GrpcHarness::start().await;
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
    rig: &GrpcHarness,
    request: wire::ListCallsRequest,
) -> Result<wire::ListCallsResponse, tonic::Status> {
    let mut reports = ReportsClient::new(rig.routes.clone());
    let listed = reports.list_calls(rig.as_root(request)).await?;
    Ok(listed.into_inner())
}

#[tokio::test]
async fn a_batch_out_of_order_is_refused_whole() {
    let rig = GrpcHarness::start().await;
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
    let rig = GrpcHarness::start().await;
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

#[tokio::test]
async fn refused_calls_are_listed_page_by_page() {
    let rig = GrpcHarness::start().await;
    let (anna, key) = rig.child("anna", 100).await;
    let mut fleet = FleetClient::new(rig.routes.clone());
    let refusal = |id: i64, status| wire::RefusedCall {
        id,
        time: Some(millis_to_wire(START.plus(id))),
        account_id: anna.id,
        status,
        code: "c".to_owned(),
        represents: 1,
        ..wire::RefusedCall::default()
    };
    let report = wire::ReportRefusalsRequest {
        node: "one".to_owned(),
        refusals: (1..=5)
            .map(|id| refusal(id, if id == 3 { 402 } else { 429 }))
            .collect(),
    };
    fleet.report_refusals(rig.as_node(report)).await.unwrap();
    let mut reports = ReportsClient::new(rig.routes.clone());
    let mut asked = wire::ListRefusalsRequest {
        status: "4xx".to_owned(),
        size: 2,
        ..wire::ListRefusalsRequest::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = reports.list_refusals(with_key(&key, asked.clone())).await;
        let page = page.unwrap().into_inner();
        assert!(page.refusals.iter().all(|row| row.account_name == "anna"));
        seen.extend(
            page.refusals
                .into_iter()
                .filter_map(|row| row.call)
                .map(|call| call.id),
        );
        asked.before = page.next;
        if asked.before.is_empty() {
            break;
        }
        assert!(seen.len() < 10);
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    for (status, start, ids) in [("402", None, vec![3]), ("", Some(4), vec![5, 4])] {
        let asked = wire::ListRefusalsRequest {
            status: status.to_owned(),
            start_time: start.map(|after| millis_to_wire(START.plus(after))),
            ..wire::ListRefusalsRequest::default()
        };
        let page = reports.list_refusals(with_key(&key, asked)).await.unwrap();
        let calls = page
            .into_inner()
            .refusals
            .into_iter()
            .filter_map(|row| row.call);
        assert_eq!(calls.map(|call| call.id).collect::<Vec<_>>(), ids);
    }
    let far = wire::ListRefusalsRequest {
        size: 501,
        ..wire::ListRefusalsRequest::default()
    };
    let refused = reports.list_refusals(with_key(&key, far)).await;
    assert_eq!(code(refused), Code::InvalidArgument);
}

#[tokio::test]
async fn use_is_told_as_a_series_and_windows_by_what_is_left() {
    let rig = GrpcHarness::start().await;
    let (anna, key) = rig.child("anna", 100).await;
    let mut fleet = FleetClient::new(rig.routes.clone());
    let posted = fleet.report_usage(rig.as_node(report(vec![record(1, anna.id)])));
    posted.await.unwrap();
    let mut reports = ReportsClient::new(rig.routes.clone());
    for (by, per, points, request) in [
        ("", "", 1, rig.as_root(wire::GetSpendRequest::default())),
        (
            "account",
            "hour",
            10,
            with_key(&key, wire::GetSpendRequest::default()),
        ),
    ] {
        let mut request = request;
        request.get_mut().by = by.to_owned();
        request.get_mut().per = per.to_owned();
        let spend = reports.get_spend(request).await.unwrap().into_inner();
        assert_eq!((spend.points.len(), spend.values), (points, 1));
        let (row, total) = (&spend.rows[0], spend.total.as_ref().unwrap());
        assert_eq!(row.points, total.points);
        assert_eq!(row.now.as_ref().unwrap().cost_nanos, 250_000_000);
        assert_eq!(row.points.last().unwrap().requests, 1);
        assert_eq!(spend.in_dollars, by.is_empty());
    }
    let wrong = wire::GetSpendRequest {
        per: "minute".to_owned(),
        ..wire::GetSpendRequest::default()
    };
    assert_eq!(
        code(reports.get_spend(rig.as_root(wrong)).await),
        Code::InvalidArgument
    );
    let ask = wire::LeaseWindowsRequest {
        node: "one".to_owned(),
        asks: vec![wire::WindowAsk {
            key: Some(wire::WindowKey {
                account_id: anna.id,
                client_key_id: 0,
                window: wire::Window::Rpm.into(),
                model: String::new(),
                start_time: Some(millis_to_wire(Millis(START.0 / 60_000 * 60_000))),
            }),
            limit: 10,
            need: 2,
            want: 2,
            overspent: 0,
        }],
    };
    fleet.lease_windows(rig.as_node(ask)).await.unwrap();
    let windows = reports.list_windows(with_key(&key, wire::ListWindowsRequest::default()));
    let windows = windows.await.unwrap().into_inner();
    assert_eq!(windows.total, 1);
    let used = &windows.windows[0];
    assert_eq!(
        (used.window.as_str(), used.taken, used.limit),
        ("RPM", 2, 10)
    );
}

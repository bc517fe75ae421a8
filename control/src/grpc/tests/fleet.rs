//! The fleet and the reports on what it used.

#[tokio::test]
async fn a_node_gets_everything_first_and_its_usage_is_posted_once() {
    let rig = Rig::start("fleet").await;
    let (anna, _) = rig.child("anna", 100).await;
    let mut fleet = FleetClient::new(rig.routes.clone());
    let watch = wire::WatchRequest {
        node: "one".to_owned(),
        epoch: 7,
        version: "0.1".to_owned(),
    };
    let mut updates = fleet.watch(rig.as_node(watch)).await.unwrap().into_inner();
    let first = updates.next().await.unwrap().unwrap();
    assert!(first.full && first.settings.is_some() && first.prices.is_some());
    assert_eq!(first.accounts.len(), 2);

    let acknowledge = wire::AcknowledgeRequest {
        node: "one".to_owned(),
        epoch: 7,
        revision: first.revision,
        rejections: vec![],
    };
    fleet.acknowledge(rig.as_node(acknowledge)).await.unwrap();
    let report = || wire::ReportUsageRequest {
        node: "one".to_owned(),
        epoch: 7,
        records: vec![wire::UsageRecord {
            sequence: 1,
            account_id: anna.id,
            model_used: "gpt-4o".to_owned(),
            tries: 1,
            status: 200,
            measure: wire::Measure::Measured.into(),
            cost_nanos: 250_000_000,
            priced: true,
            start_time: Some(proxyxai_contract::convert::millis_to_wire(START)),
            ..wire::UsageRecord::default()
        }],
    };
    for _ in 0..2 {
        let posted = fleet
            .report_usage(rig.as_node(report()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(posted.through_sequence, 1);
        assert_eq!(posted.standings[0].balance_nanos, 99_750_000_000);
    }
    let nodes = wire::ListNodesRequest {};
    let listed = fleet
        .list_nodes(rig.as_root(nodes))
        .await
        .unwrap()
        .into_inner();
    let node = &listed.nodes[0];
    assert!(node.connected);
    assert_eq!(
        (node.name.as_str(), node.applied_revision),
        ("one", first.revision)
    );

    let mut reports = ReportsClient::new(rig.routes.clone());
    let bill = wire::GetBillRequest {
        account: "anna".to_owned(),
        ..wire::GetBillRequest::default()
    };
    let bill = reports
        .get_bill(rig.as_root(bill))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(bill.total.unwrap().cost_nanos, 250_000_000);
    assert_eq!(bill.models[0].model, "gpt-4o");
    let usage = wire::ListUsageRequest {
        account: "anna".to_owned(),
        page: None,
    };
    let usage = reports
        .list_usage(rig.as_root(usage))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((usage.total, usage.records[0].node.as_str()), (1, "one"));
    let verify = wire::VerifyBooksRequest {};
    let books = reports
        .verify_books(rig.as_root(verify))
        .await
        .unwrap()
        .into_inner();
    assert!(books.balanced, "{}", books.difference);
}

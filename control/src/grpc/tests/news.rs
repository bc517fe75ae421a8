//! News and the audit log.

use proxyxai_contract::wire::{
    self, news_client::NewsClient, reports_client::ReportsClient, settings_client::SettingsClient,
};
use tonic::Code;

use super::{GrpcHarness, code, with_key};

#[tokio::test]
async fn news_are_posted_read_and_deleted() {
    let rig = GrpcHarness::start().await;
    let (anna, key) = rig.child("anna", 100).await;
    let mut news = NewsClient::new(rig.routes.clone());
    let post = |target: &str, days| wire::PostNewsRequest {
        target: target.to_owned(),
        title: "Hello".to_owned(),
        content: "World".to_owned(),
        days,
    };
    for target in ["", "anna", anna.dna.as_str()] {
        let posted = news.post_news(rig.as_root(post(target, Some(1)))).await;
        let posted = posted.unwrap().into_inner();
        let days = posted.expire_time.unwrap().seconds - posted.create_time.unwrap().seconds;
        assert_eq!(days, 86_400);
    }
    let refused = news.post_news(with_key(&key, post("", None))).await;
    assert_eq!(code(refused), Code::PermissionDenied);
    let refused = news.post_news(rig.as_root(post("", Some(-1)))).await;
    assert_eq!(code(refused), Code::InvalidArgument);
    let list = news.list_news(with_key(&key, wire::ListNewsRequest {}));
    let board = list.await.unwrap().into_inner();
    assert_eq!(
        (board.system.len(), board.user.len(), board.group.len()),
        (1, 1, 1)
    );
    let posted = news.list_posted_news(rig.as_root(wire::ListPostedNewsRequest::default()));
    let posted = posted.await.unwrap().into_inner();
    let targets: Vec<_> = posted.news.iter().map(|row| row.target.as_str()).collect();
    assert_eq!(
        (posted.total, targets),
        (3, vec![&*anna.dna, &*anna.id.to_string(), ""])
    );
    let one = wire::DeleteNewsRequest {
        id: posted.news[0].news.as_ref().unwrap().id,
        ..wire::DeleteNewsRequest::default()
    };
    let deleted = news.delete_news(rig.as_root(one)).await.unwrap();
    assert_eq!(deleted.into_inner().deleted, 1);
    let delete = wire::DeleteNewsRequest {
        target: "anna".to_owned(),
        ..wire::DeleteNewsRequest::default()
    };
    let deleted = news.delete_news(rig.as_root(delete)).await.unwrap();
    assert_eq!(deleted.into_inner().deleted, 1);
}

#[tokio::test]
async fn logs_are_listed_by_action_and_target() {
    let rig = GrpcHarness::start().await;
    let (anna, key) = rig.child("anna", 100).await;
    let mut settings = SettingsClient::new(rig.routes.clone());
    let change = wire::UpdateSettingsRequest {
        set: [("EMAIL_PASS".to_owned(), "hunter2".to_owned())].into(),
        ..wire::UpdateSettingsRequest::default()
    };
    let shown = settings.update_settings(rig.as_root(change)).await.unwrap();
    assert_eq!(shown.into_inner().settings["EMAIL_PASS"], "***");
    let mut reports = ReportsClient::new(rig.routes.clone());
    let all = reports.list_logs(rig.as_root(wire::ListLogsRequest::default()));
    let all = all.await.unwrap().into_inner();
    let actions: Vec<_> = all.logs.iter().map(|log| log.action.as_str()).collect();
    assert_eq!((all.total, actions), (2, vec!["update_config", "add_user"]));
    assert_eq!(
        all.logs[0].details,
        r#"{"EMAIL_PASS":{"after":"***","before":"***"}}"#
    );
    assert_eq!(all.logs[0].target_id, None);
    let own = wire::ListLogsRequest {
        target_id: Some(anna.id),
        action: "add_user".to_owned(),
        ..wire::ListLogsRequest::default()
    };
    let own = reports.list_logs(with_key(&key, own)).await.unwrap();
    assert_eq!(own.into_inner().total, 1);
}

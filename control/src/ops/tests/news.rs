//! Tests of news: they reach their audience, from accounts that may post, until they expire.

use crate::{
    Error,
    model::{AuditFilter, Caller, NewsDraft, NewsItem, Page, PostedNews},
    ops,
    testing::{DAY_MS, ROOT, World, by, everywhere},
};

fn news(title: &str) -> NewsDraft {
    NewsDraft {
        title: title.to_owned(),
        content: "Some words.".to_owned(),
        days: None,
    }
}

async fn post(
    world: &World,
    caller: &Caller,
    target: Option<&str>,
    title: &str,
) -> Result<NewsItem, Error> {
    ops::news::post(&world.control, caller, target, news(title)).await
}

/// Titles for all accounts, for the caller, for its groups.
async fn board(world: &World, caller: &Caller) -> [Vec<String>; 3] {
    let board = ops::news::board(&world.control, caller).await.unwrap();
    [board.system, board.user, board.group]
        .map(|news| news.into_iter().map(|item| item.title).collect())
}

fn titles(lists: [&[&str]; 3]) -> [Vec<String>; 3] {
    lists.map(|list| list.iter().map(|title| (*title).to_owned()).collect())
}

#[tokio::test]
async fn news_reach_those_they_are_for() {
    everywhere(async |world| {
        let anna = world.child(&ROOT, "anna", 300.0).await;
        let bert = world.child(&ROOT, "bert", 300.0).await;
        let carl = world.child(&by(&anna), "carl", 50.0).await;
        post(world, &ROOT, None, "all").await.unwrap();
        post(world, &ROOT, Some("anna"), "to anna").await.unwrap();
        post(world, &ROOT, Some(&anna.dna), "to annas")
            .await
            .unwrap();
        let id = carl.id.to_string();
        post(world, &by(&anna), Some(&id), "to carl").await.unwrap();
        assert_eq!(
            board(world, &by(&anna)).await,
            titles([&["all"], &["to anna"], &["to annas"]])
        );
        assert_eq!(
            board(world, &by(&carl)).await,
            titles([&["all"], &["to carl"], &["to annas"]])
        );
        assert_eq!(board(world, &by(&bert)).await, titles([&["all"], &[], &[]]));
    })
    .await;
}

#[tokio::test]
async fn nobody_posts_to_others_or_to_all() {
    everywhere(async |world| {
        let anna = world.child(&ROOT, "anna", 300.0).await;
        let bert = world.child(&ROOT, "bert", 300.0).await;
        let poor = world.child(&ROOT, "poor", 5.0).await;
        for (caller, target) in [
            (&anna, Some("bert")),
            (&anna, Some(bert.dna.as_str())),
            (&anna, Some("root")),
            (&anna, Some(".1.")),
        ] {
            let refused = post(world, &by(caller), target, "x").await;
            assert!(matches!(refused, Err(Error::NotFound { .. })), "{target:?}");
        }
        let refused = post(world, &by(&anna), None, "x").await;
        assert!(matches!(refused, Err(Error::Forbidden(_))));
        let refused = ops::news::delete(&world.control, &by(&anna), None).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))));
        let refused = post(world, &by(&poor), Some("poor"), "x").await;
        assert!(matches!(refused, Err(Error::ManagementBalance { .. })));
        assert_eq!(board(world, &by(&bert)).await, titles([&[], &[], &[]]));
    })
    .await;
}

#[tokio::test]
async fn at_most_eight_are_shown_and_expired_ones_are_not() {
    everywhere(async |world| {
        for n in 0..10 {
            post(world, &ROOT, None, &format!("n{n}")).await.unwrap();
        }
        let [system, ..] = board(world, &ROOT).await;
        assert_eq!(system.len(), 8);
        assert_eq!((system[0].as_str(), system[7].as_str()), ("n9", "n2"));
        world.clock.advance(7 * DAY_MS - 1);
        assert_eq!(board(world, &ROOT).await[0].len(), 8);
        world.clock.advance(1);
        assert_eq!(board(world, &ROOT).await[0].len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_scope_has_a_limit_and_is_emptied_at_once() {
    everywhere(async |world| {
        for n in 0..100 {
            post(world, &ROOT, Some(".1."), &format!("n{n}"))
                .await
                .unwrap();
        }
        let refused = post(world, &ROOT, Some(".1."), "one more").await;
        assert!(matches!(refused, Err(Error::Invalid(error)) if error.field == "target"));
        post(world, &ROOT, None, "for all").await.unwrap();
        let deleted = ops::news::delete(&world.control, &ROOT, Some(".1.")).await;
        assert_eq!(deleted.unwrap(), 100);
        assert_eq!(board(world, &ROOT).await, titles([&["for all"], &[], &[]]));
    })
    .await;
}

#[tokio::test]
async fn nobody_deletes_what_an_ancestor_posted() {
    everywhere(async |world| {
        let anna = world.child(&ROOT, "anna", 300.0).await;
        post(world, &ROOT, Some(&anna.dna), "from root")
            .await
            .unwrap();
        post(world, &by(&anna), Some(&anna.dna), "from anna")
            .await
            .unwrap();
        let by_anna = ops::news::delete(&world.control, &by(&anna), Some(&anna.dna)).await;
        assert_eq!(by_anna.unwrap(), 1);
        assert_eq!(
            board(world, &by(&anna)).await,
            titles([&[], &[], &["from root"]])
        );
        let by_root = ops::news::delete(&world.control, &ROOT, Some(&anna.dna)).await;
        assert_eq!(by_root.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn who_posted_news_sees_them_with_whom_they_are_for_and_takes_back_one() {
    everywhere(async |world| {
        let anna = world.child(&ROOT, "anna", 300.0).await;
        let bert = world.child(&ROOT, "bert", 300.0).await;
        let carl = world.child(&by(&anna), "carl", 50.0).await;
        let id = carl.id.to_string();
        post(world, &ROOT, None, "all").await.unwrap();
        post(world, &ROOT, Some("anna"), "to anna").await.unwrap();
        let annas = post(world, &by(&anna), Some(&anna.dna), "to annas")
            .await
            .unwrap();
        post(world, &by(&anna), Some(&id), "to carl").await.unwrap();
        post(world, &by(&anna), Some(&id), "again").await.unwrap();
        let posted = async |caller: &Caller, page: Page| {
            let posted = ops::news::posted(&world.control, caller, page)
                .await
                .unwrap();
            let row = |row: PostedNews| (row.news.title, row.target, row.target_name);
            (
                posted.rows.into_iter().map(row).collect::<Vec<_>>(),
                posted.total,
            )
        };
        let row = |title: &str, target: &str, name: &str| {
            (title.to_owned(), target.to_owned(), name.to_owned())
        };
        let all = Page { page: 1, size: 10 };
        let mut of_anna = vec![
            row("again", &id, "carl"),
            row("to carl", &id, "carl"),
            row("to annas", &anna.dna, "anna"),
        ];
        assert_eq!(posted(&by(&anna), all).await, (of_anna.clone(), 3));
        let (rows, total) = posted(&ROOT, all).await;
        assert_eq!(total, 5);
        assert_eq!(
            rows[3..],
            [
                row("to anna", &anna.id.to_string(), "anna"),
                row("all", "", "")
            ]
        );
        assert_eq!(
            posted(&ROOT, Page { page: 3, size: 2 }).await,
            (rows[4..].to_vec(), 5)
        );
        for caller in [&bert, &carl] {
            assert_eq!(posted(&by(caller), all).await, (vec![], 0));
            let refused = ops::news::delete_one(&world.control, &by(caller), annas.id).await;
            assert!(matches!(refused, Err(Error::NotFound { .. })));
        }
        ops::news::delete_one(&world.control, &by(&anna), annas.id)
            .await
            .unwrap();
        of_anna.pop();
        assert_eq!(posted(&by(&anna), all).await, (of_anna, 2));
        assert_eq!(board(world, &by(&carl)).await[2], [""; 0]);
        let caller = by(&anna);
        let logs = ops::audit::list(&world.control, &caller, AuditFilter::default(), all);
        let log = logs.await.unwrap().rows.remove(0);
        assert_eq!(
            (log.action.as_str(), log.target),
            ("delete_news", Some(anna.id.get()))
        );
        assert!(log.details.contains("to annas"), "{}", log.details);
    })
    .await;
}

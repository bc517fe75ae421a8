//! Earnings of all accounts below one, by day, instead of those of all accounts: one query covers an account and the
//! rows of those below it, however many they are. One row for each data plane, so that no row is hot.

pub(super) const SCHEMA: &str = "
DROP TABLE earning_total;
CREATE TABLE earning_below (
    account_id BIGINT NOT NULL,
    day TEXT NOT NULL,
    key_id BIGINT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    level BIGINT NOT NULL,
    node TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    expense BIGINT NOT NULL,
    PRIMARY KEY (account_id, day, key_id, provider, model, level, node)
) {CLUSTERED};
INSERT INTO earning_below (account_id, day, key_id, provider, model, level, node, requests, input, cached, output, cost,
    expense)
WITH RECURSIVE above (id, account_id) AS (
    SELECT id, parent_id FROM account WHERE parent_id IS NOT NULL
    UNION ALL SELECT above.id, account.parent_id FROM above JOIN account ON account.id = above.account_id
    WHERE account.parent_id IS NOT NULL)
SELECT above.account_id, day, key_id, provider, model, level, '', CAST(SUM(requests) AS BIGINT),
    CAST(SUM(input) AS BIGINT), CAST(SUM(cached) AS BIGINT), CAST(SUM(output) AS BIGINT), CAST(SUM(cost) AS BIGINT),
    CAST(SUM(expense) AS BIGINT)
FROM earning JOIN above ON above.id = earning.account_id
GROUP BY above.account_id, day, key_id, provider, model, level
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ops,
        store::testing::meddle,
        testing::{ROOT, World, by, call, everywhere, node},
    };

    #[tokio::test]
    async fn what_was_earned_before_is_found_below_each_ancestor() {
        everywhere(async |world: &mut World| {
            let anna = world.child(&ROOT, "anna", 100.0).await;
            let berta = world.child(&by(&anna), "berta", 10.0).await;
            let of = |n| if n % 3 == 0 { anna.id } else { berta.id };
            let records: Vec<_> = (1..=9).map(|n| call(n, of(n), 0.1)).collect();
            let name = node("n1");
            let posted = ops::fleet::report_usage(&world.control, &name, 1, records);
            Box::pin(posted).await.unwrap();
            let store = world.control.store();
            // The schema as the previous step left it.
            meddle(store, "DROP TABLE earning_below").await;
            meddle(store, "CREATE TABLE earning_total (day TEXT)").await;
            for statement in SCHEMA.replace("{CLUSTERED}", "").split(";\n") {
                meddle(store, statement).await;
            }
            world.balanced().await;
            let of = |account| {
                format!("SELECT CAST(SUM(requests) AS BIGINT) AS number FROM earning_below WHERE account_id = {account}")
            };
            assert_eq!(world.number(&of(1)).await, 9);
            assert_eq!(world.number(&of(anna.id.get())).await, 6);
        })
        .await;
    }
}

//! In which ten-minute spans calls of a key and of a model began. A search for rare ones skips the other spans.

use std::collections::BTreeSet;

use proxyxai_contract::{id::NodeName, usage::UsageRecord};
use sea_orm::{ConnectionTrait as _, Value};

use crate::{
    Error,
    store::{Db, Tx, in_batches, statement},
};

/// Length of a span; migrations repeat the value.
pub(in crate::store) const SPAN_MS: i64 = 600_000;
const MARGIN_MS: i64 = 7 * 86_400_000;
/// Kinds of values.
pub(in crate::store) const KEY: &str = "key";
pub(in crate::store) const MODEL: &str = "model";

/// Stores the keys and models of records. Each data plane has rows of its own, or their reports would wait for each
/// other.
pub(super) async fn note(tx: &Tx, node: &NodeName, records: &[UsageRecord]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for record in records {
        let span = record.start.0.div_euclid(SPAN_MS);
        let key = record.key.map(|key| (KEY, key.to_string(), span));
        seen.extend(key);
        seen.insert((MODEL, record.model_used.clone(), span));
        if record.model_asked != record.model_used {
            seen.insert((MODEL, record.model_asked.clone(), span));
        }
    }
    let row = |(kind, value, span): (&str, String, i64)| -> [Value; 4] {
        [kind.into(), value.into(), span.into(), node.as_str().into()]
    };
    let rows = seen.into_iter().map(row).collect();
    let sql = |rows: &str| {
        format!(
            "INSERT INTO usage_seen (kind, value, span, node) SELECT * FROM ({rows}) AS new WHERE TRUE ON CONFLICT DO NOTHING"
        )
    };
    in_batches(tx, rows, sql).await.map(drop)
}

/// Deletes spans from before the first record, with a margin: a report in progress may rely on an existing row.
pub(crate) async fn prune(tx: &Tx) -> Result<(), Error> {
    let sql = format!(
        "DELETE FROM usage_seen WHERE span < ((SELECT MIN(start_at) FROM usage_record) - {MARGIN_MS}) / {SPAN_MS}"
    );
    let done = tx.handle().execute_raw(statement(tx, &sql, [])).await;
    done.map(drop).map_err(Error::from)
}

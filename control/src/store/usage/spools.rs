//! How far the spool of each data plane is posted. A spool is posted in the order of its sequences and one report at a
//! time, so that one number describes all that was posted of it, whatever commits in between.

use proxyxai_contract::{clock::Millis, id::NodeName};
use sea_orm::{ConnectionTrait as _, Value};

use crate::{
    Error,
    store::{Db as _, Tx, signed, statement},
};

/// Stores that all records up to a sequence are posted, in the transaction that posts them. The data plane's row is
/// locked.
pub(super) async fn advance(
    tx: &Tx,
    node: &NodeName,
    epoch: u64,
    through: u64,
    now: Millis,
) -> Result<(), Error> {
    let sql = "INSERT INTO usage_spool (node, epoch, through, posted_at) VALUES (?, ?, ?, ?) \
         ON CONFLICT (node, epoch) DO UPDATE SET posted_at = excluded.posted_at, through = CASE \
         WHEN usage_spool.through < excluded.through THEN excluded.through ELSE usage_spool.through END";
    let values = [
        Value::from(node.as_str()),
        epoch.cast_signed().into(),
        signed(through).into(),
        now.0.into(),
    ];
    let done = tx.handle().execute_raw(statement(tx, sql, values)).await;
    done.map(drop).map_err(Error::from)
}

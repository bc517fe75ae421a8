//! Links mailed to verify addresses: the latest one for each address of an account.

use proxyxai_contract::{clock::Millis, id::AccountId};
use sea_orm::ConnectionTrait as _;

use super::{Db, Tx, statement};
use crate::Error;

/// A link that was sent, with what has to match when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerificationLink {
    pub(crate) address: String,
    pub(crate) nonce: String,
    pub(crate) expires: Millis,
}

/// The latest link for an address of an account.
pub(crate) async fn get(
    db: &impl Db,
    account: AccountId,
    field: &str,
) -> Result<Option<VerificationLink>, Error> {
    let sql = "SELECT address, nonce, expires_at FROM mail_link WHERE account_id = ? AND field = ?";
    let found = statement(db, sql, [account.get().into(), field.into()]);
    let Some(row) = db.handle().query_one_raw(found).await? else {
        return Ok(None);
    };
    Ok(Some(VerificationLink {
        address: row.try_get("", "address")?,
        nonce: row.try_get("", "nonce")?,
        expires: Millis(row.try_get("", "expires_at")?),
    }))
}

/// Stores a link, in place of the one before.
pub(crate) async fn put(
    tx: &Tx,
    account: AccountId,
    field: &str,
    link: &VerificationLink,
) -> Result<(), Error> {
    let sql = "INSERT INTO mail_link (account_id, field, address, nonce, expires_at) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (account_id, field) DO UPDATE SET address = excluded.address, nonce = excluded.nonce, \
         expires_at = excluded.expires_at";
    let VerificationLink {
        address,
        nonce,
        expires,
    } = link;
    let values = [
        account.get().into(),
        field.into(),
        address.as_str().into(),
        nonce.as_str().into(),
        expires.0.into(),
    ];
    let done = tx.handle().execute_raw(statement(tx, sql, values)).await;
    done.map(drop).map_err(Error::from)
}

/// Deletes a link, which is then no longer valid.
pub(crate) async fn remove(tx: &Tx, account: AccountId, field: &str) -> Result<(), Error> {
    let sql = "DELETE FROM mail_link WHERE account_id = ? AND field = ?";
    let values = [account.get().into(), field.into()];
    let done = tx.handle().execute_raw(statement(tx, sql, values)).await;
    done.map(drop).map_err(Error::from)
}

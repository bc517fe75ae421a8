//! Which addresses of accounts are verified, since when and by whom; pending links; and which account caused a mail.
//! Addresses that root entered count as verified, as all did before. Debts that older versions left with deleted
//! accounts are settled like newer ones.

pub(super) const SCHEMA: &str = "
ALTER TABLE account ADD COLUMN email_verified_at BIGINT;
ALTER TABLE account ADD COLUMN email_verified_by TEXT NOT NULL DEFAULT '';
ALTER TABLE account ADD COLUMN billing_verified_at BIGINT;
ALTER TABLE account ADD COLUMN billing_verified_by TEXT NOT NULL DEFAULT '';
UPDATE account SET email_verified_at = created_at, email_verified_by = 'root' WHERE parent_id IS NULL OR parent_id = 1;
UPDATE account SET closing = TRUE WHERE deleted_at IS NOT NULL AND (debt > 0 OR leased > 0);
ALTER TABLE mail ADD COLUMN sender_id BIGINT;
CREATE INDEX mail_sender ON mail (sender_id, created_at);
CREATE INDEX mail_recipient ON mail (recipient, created_at);
CREATE TABLE mail_link (
    account_id BIGINT NOT NULL,
    field TEXT NOT NULL,
    address TEXT NOT NULL,
    nonce TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, field)
)
";

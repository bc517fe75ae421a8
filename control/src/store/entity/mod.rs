//! Rows as the database has them. They never leave `store`.
#![expect(unreachable_pub, reason = "the entity derive makes public items")]

pub(super) mod account;
pub(super) mod audit;
pub(super) mod client_key;
pub(super) mod credit_card;
pub(super) mod job;
pub(super) mod lease;
pub(super) mod mail;
pub(super) mod mail_mark;
pub(super) mod master_copy;
pub(super) mod news;
pub(super) mod node;
pub(super) mod posting;
pub(super) mod price_version;
pub(super) mod revision;
pub(super) mod setting;
pub(super) mod upstream_key;
pub(super) mod usage_correction;
pub(super) mod usage_record;
pub(super) mod window_grant;

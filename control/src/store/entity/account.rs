//! An account. Deleted ones stay for the ledger. Never leaves `store`.

#![expect(
    clippy::struct_field_names,
    clippy::struct_excessive_bools,
    reason = "columns are called what they hold, and are what they are"
)]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub parent_id: Option<i64>,
    #[sea_orm(column_type = "Text")]
    pub dna: String,
    #[sea_orm(column_type = "Text")]
    pub name: String,
    #[sea_orm(column_type = "Text")]
    pub name_key: String,
    #[sea_orm(column_type = "Text")]
    pub email: String,
    #[sea_orm(column_type = "Text")]
    pub alias: String,
    #[sea_orm(column_type = "Text")]
    pub billing_email: String,
    #[sea_orm(column_type = "Text")]
    pub qr_code: String,
    pub key_hash: Option<Vec<u8>>,
    #[sea_orm(column_type = "Text")]
    pub partial_key: String,
    pub level: i64,
    pub gear: i64,
    pub role: i64,
    pub tier: i64,
    pub rates: i64,
    pub factor: i64,
    pub debt: i64,
    pub leased: i64,
    pub credit_granted: i64,
    pub credit_used: i64,
    pub requests: i64,
    pub hard_limit: Option<i64>,
    pub soft_limit: Option<i64>,
    pub auto_quota: i64,
    pub rpm: i64,
    pub rph: i64,
    pub rpd: i64,
    pub tpm: i64,
    pub tph: i64,
    pub tpd: i64,
    #[sea_orm(column_type = "Text")]
    pub allow_ips: String,
    #[sea_orm(column_type = "Text")]
    pub allow_models: String,
    #[sea_orm(column_type = "Text")]
    pub allow_levels: String,
    #[sea_orm(column_type = "Text")]
    pub resources: String,
    #[sea_orm(column_type = "Text")]
    pub model_mapper: String,
    #[sea_orm(column_type = "Text")]
    pub level_mapper: String,
    #[sea_orm(column_type = "Text")]
    pub switch_over: String,
    #[sea_orm(column_type = "Text")]
    pub model_failover: String,
    pub child_limit: i64,
    pub enabled: bool,
    pub suspended: bool,
    pub created_at: i64,
    pub updated_at: i64,
    pub deleted_at: Option<i64>,
    pub gone: bool,
    pub revision: i64,
    #[sea_orm(column_type = "Text")]
    pub model_limits: String,
    /// 0 if the account has no limit of its own.
    pub calls_max: i64,
    pub heir: Option<i64>,
    pub fee_due: i64,
    pub closing: bool,
    pub email_verified_at: Option<i64>,
    #[sea_orm(column_type = "Text")]
    pub email_verified_by: String,
    pub billing_verified_at: Option<i64>,
    #[sea_orm(column_type = "Text")]
    pub billing_verified_by: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

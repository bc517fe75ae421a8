//! A client key that an account has beside its first one. Never leaves `store`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "client_key")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub account_id: i64,
    pub name: String,
    pub name_folded: String,
    pub key_hash: Vec<u8>,
    pub partial_key: String,
    pub enabled: bool,
    pub expires_at: Option<i64>,
    pub credit_limit: Option<i64>,
    pub rpm: Option<i64>,
    pub allow_models: String,
    pub credit_used: i64,
    pub leased: i64,
    pub requests: i64,
    pub used_at: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
    pub deleted_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

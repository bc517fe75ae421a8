//! Credit that a data plane may spend without asking. Never leaves `store`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "lease")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub client_key_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub node: String,
    pub epoch: i64,
    pub amount: i64,
    pub version: i64,
    pub touched_at: i64,
    pub recalled_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

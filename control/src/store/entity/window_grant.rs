//! Units of a window that were granted to data planes. Never leaves `store`.

#![expect(
    clippy::struct_field_names,
    reason = "columns are called what they hold"
)]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "window_grant")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub client_key_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub window: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub model: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub start_at: i64,
    pub granted: i64,
    pub overspent: i64,
    pub most: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

//! A metered call. Never leaves `store`.

#![expect(
    clippy::struct_field_names,
    reason = "columns are called what they hold"
)]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_record")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub node: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub epoch: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub sequence: i64,
    #[sea_orm(column_type = "Text")]
    pub request_id: String,
    pub account_id: i64,
    #[sea_orm(column_type = "Text")]
    pub path: String,
    #[sea_orm(column_type = "Text")]
    pub model_asked: String,
    #[sea_orm(column_type = "Text")]
    pub model_used: String,
    pub key_id: Option<i64>,
    pub level: i64,
    pub tries: i64,
    pub status: i64,
    pub input: i64,
    pub cached: i64,
    pub cache_write: i64,
    pub output: i64,
    pub reasoning: i64,
    pub input_audio: i64,
    pub output_audio: i64,
    pub input_image: i64,
    pub output_image: i64,
    #[sea_orm(column_type = "Text")]
    pub measure: String,
    pub cost: i64,
    pub priced: bool,
    #[sea_orm(column_type = "Text")]
    pub price_version: String,
    pub start_at: i64,
    pub duration_ms: i64,
    pub first_byte_ms: i64,
    pub streamed: bool,
    pub posted_at: i64,
    pub images: i64,
    #[sea_orm(column_type = "Text")]
    pub image_size: String,
    pub rates: Option<i64>,
    pub factor: Option<i64>,
    pub cache_write_hour: i64,
    #[sea_orm(column_type = "Text")]
    pub tier: String,
    #[sea_orm(column_type = "Text")]
    pub bill: String,
    #[sea_orm(column_type = "Text")]
    pub tag: String,
    pub abandoned: String,
    #[sea_orm(column_type = "Text")]
    pub attempts: String,
    pub expense: Option<i64>,
    pub client_key_id: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

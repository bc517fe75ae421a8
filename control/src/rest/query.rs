//! Parameters of paths and queries for the document. A handler that refuses unknown parameters uses the same list.

use utoipa::openapi::{
    KnownFormat, ObjectBuilder, Required, Schema, SchemaFormat, Type,
    path::{Parameter, ParameterBuilder, ParameterIn},
    schema::OneOfBuilder,
};

/// A query parameter. None is required.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryParam {
    pub(super) name: &'static str,
    about: &'static str,
    takes: ParamType,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy)]
pub(super) enum ParamType {
    Text,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A whole number between these two, both included.
    Whole(i64, i64),
    Number,
    /// An HTTP status, or a class of them.
    Status,
    Flag,
    Day,
    Moment,
    MomentOrDay,
}

/// The range of ids.
pub(super) const ID: ParamType = ParamType::Whole(1, i64::MAX);

pub(super) const fn query(name: &'static str, takes: ParamType, about: &'static str) -> QueryParam {
    QueryParam { name, about, takes }
}

/// The names in a table of names and values.
pub(super) const fn words<T, const N: usize>(table: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = table[at].0;
        at += 1;
    }
    words
}

/// The names alone, to refuse unknown parameters.
pub(super) fn names(queries: &[QueryParam]) -> Vec<&'static str> {
    queries.iter().map(|query| query.name).collect()
}

pub(super) const USER: QueryParam = query(
    "user",
    ParamType::Text,
    "An account: its ID, name, address or DNA path; default: the caller",
);
pub(super) const U: QueryParam = query("u", ParamType::Text, "The same as `user`");
pub(super) const PAGE: QueryParam = query(
    "page",
    ParamType::Whole(1, super::request::PAGE_NUMBER_MAX.cast_signed()),
    "Page number; default: 1",
);
/// The page size of listings that allow up to 1,000 rows.
pub(super) const SIZE: QueryParam = size(1000);

pub(super) const fn size(most: u64) -> QueryParam {
    query(
        "size",
        ParamType::Whole(1, most.cast_signed()),
        "Rows of a page",
    )
}

/// Parameters that select accounts by label.
pub(super) const LABELS: [QueryParam; 5] = [
    query("level", ParamType::Whole(0, 10), "Accounts of this level"),
    query("gear", ParamType::Whole(0, 255), "Accounts of this gear"),
    query("role", WHOLE, "Accounts of this role"),
    query("tier", WHOLE, "Accounts of this tier"),
    query("factor", ParamType::Number, "Accounts of this factor"),
];
const WHOLE: ParamType = ParamType::Whole(i32::MIN as i64, i32::MAX as i64);

pub(super) const BELOW: QueryParam = query(
    "below",
    ParamType::Flag,
    "Whether accounts below it are included; default: true",
);
pub(super) const BEFORE: QueryParam = query(
    "before",
    ParamType::Text,
    "Position of the next page: `next` of the previous answer",
);
pub(super) const REQUEST_ID: QueryParam = query("request_id", ParamType::Text, "The id of a call");
pub(super) const STATUS: QueryParam =
    query("status", ParamType::Status, "A status, or a class: `4xx`");
pub(super) const FROM: QueryParam =
    query("start", ParamType::MomentOrDay, "The first moment or day");
pub(super) const UNTIL: QueryParam = query("end", ParamType::MomentOrDay, "The last moment or day");

/// Parameters for the days of a report.
pub(super) const DAYS: [QueryParam; 7] = [
    query("date", ParamType::Day, "One day"),
    query("d", ParamType::Day, "The same as `date`"),
    START,
    query("s", ParamType::Day, "The same as `start`"),
    END,
    query("e", ParamType::Day, "The same as `end`"),
    query(
        "days",
        ParamType::Whole(1, 366),
        "Number of days up to today",
    ),
];
pub(super) const START: QueryParam = query("start", ParamType::Day, "The first day");
pub(super) const END: QueryParam = query("end", ParamType::Day, "The last day, included");

impl QueryParam {
    pub(super) fn parameter(&self) -> Parameter {
        ParameterBuilder::new()
            .name(self.name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(self.about))
            .schema(Some(self.takes.schema()))
            .build()
    }
}

impl ParamType {
    fn schema(self) -> Schema {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let of = |format| text().format(Some(SchemaFormat::KnownFormat(format)));
        match self {
            Self::Text => text().into(),
            Self::Words(words) => text().enum_values(Some(words.iter().copied())).into(),
            Self::Whole(least, most) => ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(least))
                .maximum(Some(most))
                .into(),
            Self::Number => ObjectBuilder::new().schema_type(Type::Number).into(),
            Self::Status => text().pattern(Some("^[1-5]([0-9][0-9]|xx)$")).into(),
            Self::Flag => ObjectBuilder::new().schema_type(Type::Boolean).into(),
            Self::Day => of(KnownFormat::Date).into(),
            Self::Moment => of(KnownFormat::DateTime).into(),
            Self::MomentOrDay => OneOfBuilder::new()
                .item(Self::Moment.schema())
                .item(Self::Day.schema())
                .into(),
        }
    }
}

/// The schema of a path segment: any text.
pub(super) fn segment() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .into()
}

/// The description of a named path segment.
pub(super) fn about_segment(name: &str) -> Option<&'static str> {
    Some(match name {
        "identifier" => {
            "An account: its ID, name, address or DNA path. Of a listing, a label as well: `L3`"
        }
        "id" => "The ID of a client key",
        "filter" => {
            "The ID of a key. Of a listing, a level (`L3`) or the host of a provider as well"
        }
        "target" => "An account, or one and all below it: `.1.42.`",
        "token" => "The secret part of a mailed link",
        "text" => "A text, percent-encoded",
        _ => return None,
    })
}

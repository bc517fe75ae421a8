//! What the types of a handler say of it: the extractors it takes, and what it answers.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{ArrayBuilder, RefOr, Required, Schema},
};

use super::{
    answer::{PAGE_HEADERS, Paged, Placed, page_header},
    api::{JSON, Op},
    body::Body,
    client_keys::Named,
    failure::Failure,
    request::{Asker, JsonBody, Operator, OptionalBody, Params, Reader, Segment},
};
use crate::Control;

/// A handler whose document is known. `T` are its arguments, as axum's own trait has them.
pub(super) trait Described<T> {
    fn describe(op: &mut Op);
}

/// An argument of a handler.
pub(super) trait Part {
    fn tell(op: &mut Op);
}

/// What a handler answers.
pub(super) trait Shown {
    fn show(op: &mut Op);
}

macro_rules! described {
    ($($part:ident),*) => {
        impl<M, F, Fut, A, $($part),*> Described<(M, $($part,)*)> for F
        where
            F: Fn($($part),*) -> Fut,
            Fut: Future<Output = Result<A, Failure>>,
            A: Shown,
            $($part: Part,)*
        {
            fn describe(op: &mut Op) {
                $($part::tell(op);)*
                A::show(op);
            }
        }
    };
}

described!(P1);
described!(P1, P2);
described!(P1, P2, P3);
described!(P1, P2, P3, P4);

// === arguments ===

impl Part for State<Control> {
    fn tell(_: &mut Op) {}
}

impl Part for Asker {
    fn tell(op: &mut Op) {
        op.needs_key();
        // A further client key only reads of its account.
        op.may_fail(&[401, 403, 429]);
    }
}

impl Part for Reader {
    fn tell(op: &mut Op) {
        op.needs_key();
        op.may_fail(&[401, 429]);
    }
}

impl Part for Operator {
    fn tell(op: &mut Op) {
        Asker::tell(op);
    }
}

impl Part for Named {
    fn tell(op: &mut Op) {
        op.may_fail(&[400]);
    }
}

impl Part for Segment {
    fn tell(op: &mut Op) {
        op.may_fail(&[400]);
    }
}

impl Part for Params {
    fn tell(op: &mut Op) {
        op.may_fail(&[400]);
    }
}

impl<B: Body + ToSchema> Part for JsonBody<B> {
    fn tell(op: &mut Op) {
        op.takes::<B>(Required::True);
        op.may_fail(&BODY_FAILS);
    }
}

impl<B: Body + ToSchema> Part for OptionalBody<B> {
    fn tell(op: &mut Op) {
        op.takes::<B>(Required::False);
        op.may_fail(&BODY_FAILS);
    }
}

/// How reading a body may fail.
const BODY_FAILS: [u16; 3] = [400, 408, 413];

// === answers ===

impl<T: Serialize + ToSchema> Shown for Json<T> {
    fn show(op: &mut Op) {
        let schema = op.reference::<T>();
        op.answers(200, "Done.", (JSON, schema));
    }
}

impl<R: Serialize + ToSchema> Shown for Paged<R> {
    fn show(op: &mut Op) {
        let row = op.reference::<R>();
        let rows = ArrayBuilder::new().items(row);
        op.answers(200, "A page of them.", (JSON, RefOr::T(Schema::from(rows))));
        in_pages(op);
    }
}

impl<A: Shown> Shown for Placed<A> {
    fn show(op: &mut Op) {
        A::show(op);
        in_pages(op);
    }
}

fn in_pages(op: &mut Op) {
    for (name, about) in PAGE_HEADERS {
        op.answers_header(name, &page_header(about));
    }
}

//! Derives the documentation of a handler from its types: its extractors and its response.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{ArrayBuilder, RefOr, Required, Schema},
};

use super::{
    body::Body,
    client_keys::ClientKeyPath,
    error::RestError,
    openapi::{ApiOperation, JSON},
    request::{
        AccountCaller, AnyKeyCaller, JsonBody, OptionalBody, PathParam, QueryParams, RootCaller,
    },
    response::{PAGE_HEADERS, PagedResponse, WithPageHeaders, page_header},
};
use crate::Control;

/// A handler that can be documented. `T` are its arguments, as in axum's own trait.
pub(super) trait DescribedHandler<T> {
    fn describe(op: &mut ApiOperation);
}

/// An argument of a handler.
pub(super) trait ArgumentSpec {
    fn tell(op: &mut ApiOperation);
}

/// The return type of a handler.
pub(super) trait ResponseSpec {
    fn show(op: &mut ApiOperation);
}

macro_rules! described {
    ($($part:ident),*) => {
        impl<M, F, Fut, A, $($part),*> DescribedHandler<(M, $($part,)*)> for F
        where
            F: Fn($($part),*) -> Fut,
            Fut: Future<Output = Result<A, RestError>>,
            A: ResponseSpec,
            $($part: ArgumentSpec,)*
        {
            fn describe(op: &mut ApiOperation) {
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

impl ArgumentSpec for State<Control> {
    fn tell(_: &mut ApiOperation) {}
}

impl ArgumentSpec for AccountCaller {
    fn tell(op: &mut ApiOperation) {
        op.needs_key();
        // A further client key may only read its account.
        op.may_fail(&[401, 403, 429]);
    }
}

impl ArgumentSpec for AnyKeyCaller {
    fn tell(op: &mut ApiOperation) {
        op.needs_key();
        op.may_fail(&[401, 429]);
    }
}

impl ArgumentSpec for RootCaller {
    fn tell(op: &mut ApiOperation) {
        AccountCaller::tell(op);
    }
}

impl ArgumentSpec for ClientKeyPath {
    fn tell(op: &mut ApiOperation) {
        op.may_fail(&[400]);
    }
}

impl ArgumentSpec for PathParam {
    fn tell(op: &mut ApiOperation) {
        op.may_fail(&[400]);
    }
}

impl ArgumentSpec for QueryParams {
    fn tell(op: &mut ApiOperation) {
        op.may_fail(&[400]);
    }
}

impl<B: Body + ToSchema> ArgumentSpec for JsonBody<B> {
    fn tell(op: &mut ApiOperation) {
        op.takes::<B>(Required::True);
        op.may_fail(&BODY_FAILS);
    }
}

impl<B: Body + ToSchema> ArgumentSpec for OptionalBody<B> {
    fn tell(op: &mut ApiOperation) {
        op.takes::<B>(Required::False);
        op.may_fail(&BODY_FAILS);
    }
}

/// Error statuses of reading a body.
const BODY_FAILS: [u16; 3] = [400, 408, 413];

// === responses ===

impl<T: Serialize + ToSchema> ResponseSpec for Json<T> {
    fn show(op: &mut ApiOperation) {
        let schema = op.reference::<T>();
        op.answers(200, "Done.", (JSON, schema));
    }
}

impl<R: Serialize + ToSchema> ResponseSpec for PagedResponse<R> {
    fn show(op: &mut ApiOperation) {
        let row = op.reference::<R>();
        let rows = ArrayBuilder::new().items(row);
        op.answers(200, "A page of them.", (JSON, RefOr::T(Schema::from(rows))));
        in_pages(op);
    }
}

impl<A: ResponseSpec> ResponseSpec for WithPageHeaders<A> {
    fn show(op: &mut ApiOperation) {
        A::show(op);
        in_pages(op);
    }
}

fn in_pages(op: &mut ApiOperation) {
    for (name, about) in PAGE_HEADERS {
        op.answers_header(name, &page_header(about));
    }
}

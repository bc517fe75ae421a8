//! `/x-verify/{token}`: the page behind a mailed link, open to anyone who has the link. Viewing it changes nothing;
//! only its button verifies. So programs that follow links in mails verify nothing.

use askama::Template;
use axum::{
    Json,
    extract::State,
    response::{Html, IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{Object, RefOr, Schema, Type},
};

use super::{
    error::RestError,
    handler_spec::ResponseSpec,
    openapi::ApiOperation,
    request::{AccountCaller, PathParam},
};
use crate::{Control, ops, ops::verification::VerificationRequest};

const HTML: &str = "text/html";

/// `POST /x-users/{id}/verify`: mails links to the account's unverified addresses.
pub(super) async fn ask(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
) -> Result<Json<VerificationAsked>, RestError> {
    let sent = ops::verification::ask(&control, &caller, &segment.0).await?;
    Ok(Json(VerificationAsked {
        success: true,
        sent,
    }))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VerificationAsked)]
pub(super) struct VerificationAsked {
    success: bool,
    /// Which addresses a link was sent to.
    sent: Vec<&'static str>,
}

/// The HTML page of a link.
#[derive(Debug)]
pub(super) struct LinkPage(Response);

impl IntoResponse for LinkPage {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ResponseSpec for LinkPage {
    fn show(op: &mut ApiOperation) {
        let html = || RefOr::T(Schema::Object(Object::with_type(Type::String)));
        op.answers(200, "A page.", (HTML, html()));
        op.answers(
            410,
            "A page that says that the link is not good any more.",
            (HTML, html()),
        );
    }
}

/// `GET /x-verify/{token}`.
pub(super) async fn show(
    State(control): State<Control>,
    segment: PathParam,
) -> Result<LinkPage, RestError> {
    let request = ops::verification::look(&control, &segment.0).await?;
    Ok(page(request.as_ref().map_or(
        VerificationText::Invalid,
        VerificationText::Question,
    )))
}

/// `POST /x-verify/{token}`.
pub(super) async fn confirm(
    State(control): State<Control>,
    segment: PathParam,
) -> Result<LinkPage, RestError> {
    let request = ops::verification::confirm(&control, &segment.0).await?;
    Ok(page(request.as_ref().map_or(
        VerificationText::Invalid,
        VerificationText::Verified,
    )))
}

/// A page that loads nothing, sends no referrer and is not cached, because its address is a secret.
fn page(text: VerificationText<'_>) -> LinkPage {
    let status = match text {
        VerificationText::Question(_) | VerificationText::Verified(_) => StatusCode::OK,
        VerificationText::Invalid => StatusCode::GONE,
    };
    // Rendering fails only if a value's `Display` does, and neither an id's nor a string's does.
    let html = VerificationHtml { page: text }.render().unwrap_or_default();
    let mut response = (status, Html(html)).into_response();
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    LinkPage(response)
}

/// What the page says.
enum VerificationText<'a> {
    Question(&'a VerificationRequest),
    Verified(&'a VerificationRequest),
    /// No address waits for this link.
    Invalid,
}

#[derive(Template)]
#[template(path = "email_verification.html")]
struct VerificationHtml<'a> {
    page: VerificationText<'a>,
}

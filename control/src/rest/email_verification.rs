//! `/x-verify/{token}`: the page behind a mailed link, open to anyone who has the link. Viewing it changes nothing;
//! only its button verifies. So programs that follow links in mails verify nothing.

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
    let wish = ops::verification::look(&control, &segment.0).await?;
    Ok(wish.map_or_else(no_such_link, |VerificationRequest { account, address }| {
        page(
            StatusCode::OK,
            &format!(
                "<p>Does <b>{}</b> belong to the account with ID {account}? If you do not know of it, close this page.</p>\n\
                 <form method=\"post\"><button>Yes, send its mail there</button></form>",
                escaped(&address)
            ),
        )
    }))
}

/// `POST /x-verify/{token}`.
pub(super) async fn confirm(
    State(control): State<Control>,
    segment: PathParam,
) -> Result<LinkPage, RestError> {
    let wish = ops::verification::confirm(&control, &segment.0).await?;
    Ok(
        wish.map_or_else(no_such_link, |VerificationRequest { account, address }| {
            let address = escaped(&address);
            let text = format!(
                "<p>Mail of the account with ID {account} goes to <b>{address}</b> now.</p>"
            );
            page(StatusCode::OK, &text)
        }),
    )
}

fn no_such_link() -> LinkPage {
    let text = "<p>This link is not good any more: it was used, a newer one was sent, or it is older than three days.</p>";
    page(StatusCode::GONE, text)
}

/// A page that loads nothing, sends no referrer and is not cached, because its address is a secret.
fn page(status: StatusCode, text: &str) -> LinkPage {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Address</title></head><body>\n{text}\n</body></html>\n"
    );
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

fn escaped(text: &str) -> String {
    crate::domain::mail::templates::escaped(text)
}

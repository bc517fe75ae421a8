//! The endpoint of a call: one of the register, or one that the operator has opened. Any other is refused.

use http::Method;
use proxyxai_contract::{
    passthrough::PassthroughRoute,
    price::ModelPrice,
    snapshot::{AccountConfig, ProxySettings},
};

use super::refusal::Refusal;
use crate::formats::endpoint::{BillingRule, Endpoint, EndpointMatch};

/// Why an unknown endpoint is not relayed.
const UNKNOWN: &str = "the gateway does not know what it costs";
/// Why work that ends after its call is not relayed.
const LATER: &str = "it ends after the call, which is over before anything was used";

/// What the head of a request asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointRequest<'a> {
    pub(crate) found: EndpointMatch,
    pub(crate) method: &'a Method,
    /// The path for the upstream.
    pub(crate) path: &'a str,
}

/// Why a call may pass.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AllowedEndpoint<'a> {
    /// It is a row of the register.
    Row(&'static Endpoint),
    /// The operator has opened it.
    Opened(&'a PassthroughRoute),
}

impl AllowedEndpoint<'_> {
    /// Whether its request names a model, by which it is priced.
    pub(crate) const fn takes_model(self) -> bool {
        match self {
            Self::Row(row) => row.takes_model(),
            Self::Opened(_) => false,
        }
    }

    /// Whether its request is a batch of calls, each of which names a model.
    pub(crate) const fn takes_calls(self) -> bool {
        match self {
            Self::Row(row) => row.takes_calls(),
            Self::Opened(_) => false,
        }
    }

    /// Whether those calls are in a file that it names.
    pub(crate) const fn takes_file(self) -> bool {
        match self {
            Self::Row(row) => row.takes_file(),
            Self::Opened(_) => false,
        }
    }

    /// What each call costs, if that is fixed and not zero.
    pub(crate) fn fixed_price(self) -> Option<Box<ModelPrice>> {
        match self {
            Self::Opened(opened) if !opened.is_free() => Some(Box::new(opened.price.clone())),
            Self::Row(_) | Self::Opened(_) => None,
        }
    }
}

/// Finds the endpoint of a call.
///
/// # Errors
/// Errors if the endpoint is not open.
pub(crate) fn allow<'a>(
    request: EndpointRequest<'_>,
    chain: &[&AccountConfig],
    settings: &'a ProxySettings,
) -> Result<AllowedEndpoint<'a>, Refusal> {
    let EndpointRequest {
        found,
        method,
        path,
    } = request;
    let why = match found {
        EndpointMatch::Row(row) => match row.billing {
            BillingRule::ByModel
            | BillingRule::ByCalls
            | BillingRule::ByFile
            | BillingRule::Free => return Ok(AllowedEndpoint::Row(row)),
            BillingRule::Closed(why) => why,
        },
        EndpointMatch::Misspelt => return Err(not_open(method, path, None)),
        EndpointMatch::Unknown => UNKNOWN,
    };
    opened(request, chain, settings)
        .map(AllowedEndpoint::Opened)
        .ok_or_else(|| not_open(method, path, Some(why)))
}

/// How work that ends after its call is charged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DeferredWork {
    /// There is none.
    No,
    /// The most that it can cost stays reserved until its use is known.
    Held,
    /// At the operator's price, with the call.
    Fixed(Option<Box<ModelPrice>>),
}

impl DeferredWork {
    /// What its call costs, if that is fixed and not zero.
    pub(crate) fn fixed_price(self) -> Option<Box<ModelPrice>> {
        match self {
            Self::Fixed(price) => price,
            Self::No | Self::Held => None,
        }
    }
}

/// Permits work that ends after its call if its result can be looked up later, or if the operator opened it by name
/// with a price.
///
/// # Errors
/// Errors if it is not permitted.
pub(crate) fn deferred_work(
    request: EndpointRequest<'_>,
    member: Option<&'static str>,
    chain: &[&AccountConfig],
    settings: &ProxySettings,
) -> Result<DeferredWork, Refusal> {
    let Some(member) = member else {
        return Ok(DeferredWork::No);
    };
    let makes = matches!(request.found, EndpointMatch::Row(row) if row.makes.is_some());
    let fixed = opened(request, chain, settings);
    match fixed.map(|opened| AllowedEndpoint::Opened(opened).fixed_price()) {
        Some(Some(price)) => Ok(DeferredWork::Fixed(Some(price))),
        _ if makes => Ok(DeferredWork::Held),
        Some(None) => Ok(DeferredWork::Fixed(None)),
        None => Err(not_open(
            request.method,
            &format!("{} with {member}", request.path),
            Some(LATER),
        )),
    }
}

/// The operator's entry that opens a path to an account.
fn opened<'a>(
    request: EndpointRequest<'_>,
    chain: &[&AccountConfig],
    settings: &'a ProxySettings,
) -> Option<&'a PassthroughRoute> {
    let names = chain.iter().map(|account| account.name.as_str());
    settings
        .passthrough
        .find(request.method.as_str(), request.path, &names)
}

fn not_open(method: &Method, path: &str, why: Option<&'static str>) -> Refusal {
    let asked = format!("{method} {path}");
    Refusal::NotOpen {
        asked: asked.chars().take(200).collect(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use proxyxai_contract::passthrough::Passthrough;

    use super::*;
    use crate::{
        decide::samples::{account, settings},
        formats::endpoint::{canonical, find},
    };

    fn request<'a>(method: &'a Method, path: &'a str) -> EndpointRequest<'a> {
        EndpointRequest {
            found: find(method, path),
            method,
            path,
        }
    }

    fn code(passthrough: &str, method: &Method, path: &str) -> &'static str {
        let mut settings = settings();
        settings.passthrough = Passthrough::parse(passthrough).unwrap();
        let account = account(7);
        let path = canonical(path);
        match allow(request(method, &path), &[&account], &settings) {
            Ok(AllowedEndpoint::Row(_)) => "row",
            Ok(AllowedEndpoint::Opened(_)) => "opened",
            Err(refusal) => refusal.code(),
        }
    }

    #[test]
    fn what_is_no_open_row_needs_the_operator() {
        for (method, path) in [
            (Method::POST, "/v1/videos"),
            (Method::GET, "/v1/vector_stores/v_1"),
            (Method::POST, "/v1/of/the/future"),
        ] {
            assert_eq!(code("", &method, path), "not_found", "{path}");
            assert_eq!(code("* /v1/*", &method, path), "opened", "{path}");
        }
        assert_eq!(code("", &Method::POST, "/v1/chat/completions"), "row");
        assert_eq!(code("* /v1/*", &Method::POST, "/chat/completions"), "row");
    }

    #[test]
    fn work_that_ends_after_its_call_is_held_for_or_needs_the_operator_who_sets_its_price() {
        let account = account(7);
        let settings = settings();
        let ask = |path, member, settings: &ProxySettings| {
            let request = request(&Method::POST, path);
            deferred_work(request, member, &[&account], settings)
        };
        assert_eq!(ask("/v1/responses", None, &settings), Ok(DeferredWork::No));
        let held = ask("/v1/responses", Some("background"), &settings);
        assert_eq!(held, Ok(DeferredWork::Held));
        let refusal = ask("/v1/messages", Some("background"), &settings).unwrap_err();
        assert_eq!(refusal.code(), "not_found");
        assert!(refusal.message().contains("PASSTHROUGH"));
        let with = |entry: &str| {
            let mut settings = self::settings();
            settings.passthrough = Passthrough::parse(entry).unwrap();
            settings
        };
        let asked = |path, entry| ask(path, Some("background"), &with(entry));
        // An entry without a price does not make the call free.
        assert_eq!(asked("/v1/responses", "* /v1/*"), Ok(DeferredWork::Held));
        assert_eq!(
            asked("/v1/messages", "* /v1/*"),
            Ok(DeferredWork::Fixed(None))
        );
        let fixed = asked("/v1/responses", "POST /v1/responses price=2").unwrap();
        assert!(
            matches!(fixed, DeferredWork::Fixed(Some(price)) if price.call().to_string() == "$2")
        );
    }

    #[test]
    fn no_setting_opens_another_spelling_of_what_is_metered() {
        for path in [
            "/v1/chat%2Fcompletions",
            "/v1/Chat/Completions",
            "/v1/chat/completions;x",
            "/v1/chat/completions%00",
            "/v1/chat/completions%20",
            "/v1/chat%252Fcompletions",
            "/v1/x/../chat/completions",
            "/v1/%76%31/chat/completions",
        ] {
            assert_eq!(code("* /v1/*", &Method::POST, path), "not_found", "{path}");
        }
        let put = code("* /v1/*", &Method::PUT, "/v1/chat/completions");
        assert_eq!(put, "not_found");
    }
}

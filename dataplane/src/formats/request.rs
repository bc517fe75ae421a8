//! Request bodies: read once for the facts that decide where a call goes, then forwarded as the same bytes with at most
//! two replacements. Unknown fields are neither read nor checked. Where a model is read, no parser may find another
//! one.

pub(crate) mod decompress;
mod form;
mod kind;
mod members;
mod model_names;
mod rewrite;
mod skim;
mod tools;

use std::ops::Range;

use proxyxai_contract::{part::BillPart, price};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use self::{
    kind::BodyKind,
    members::{
        BEST_OF, BodyMembers, CHOICES, CONVERSATION, LATER, LIMITS, MCP_SERVERS, MODEL, N, NAMES,
        PREVIOUS, PROMPT, QUALITY, REASONING, ROUTE, SEARCHES, SIZE, STORE, STREAM, STREAM_OPTIONS,
        TIER, TOOL_CALLS, USER,
    },
};
use super::{
    Route,
    lenient::Id,
    multipart,
    references::{Reference, ReferenceCues},
    text,
};

pub(crate) use members::{FOLDED_BYTES_MAX, fold_into, folded, in_query};
pub(crate) use model_names::in_target;
use rewrite::usage_ask;
pub(crate) use rewrite::{UsageAsk, rewrite};
pub(crate) use tools::RequestTools;

/// Longer than any model's name. In a form, where names are not quoted, the limit also rules out a file sent under this
/// field name.
const MODEL_BYTES_MAX: usize = 1024;
/// Members that name the user of a call.
const USER_MEMBERS: [usize; 3] = [USER.start, USER.start + 1, USER.start + 2];
/// Longer than any image size.
const SIZE_BYTES_MAX: usize = 32;

/// Images that a request asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskedImages<'a> {
    pub(crate) count: u64,
    pub(crate) size: &'a str,
}

/// The facts read from a request body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct RequestFacts {
    /// The model it names.
    pub(crate) model: Option<String>,
    /// Range of the model's name: a JSON string with its quotes, or the value of a form field.
    pub(crate) model_span: Option<Range<usize>>,
    /// Whether it asks for a stream of events.
    pub(crate) stream: bool,
    /// Whether it asks for usage at the end of the stream.
    pub(crate) usage: UsageAsk,
    /// Most tokens of the answer, by the members that limit them.
    limits: [Option<u64>; 3],
    /// How many choices or images it asks for.
    pub(crate) n: Option<u64>,
    /// How many choices the model generates to select from, or a number under another provider's name.
    written: Option<u64>,
    /// Size of the images it asks for, after their quality if given: `high/1024x1024`.
    pub(crate) size: Option<String>,
    /// The service tier it asks for.
    pub(crate) tier: Option<String>,
    /// The member that defers the work until after the call.
    pub(crate) deferred_by: Option<&'static str>,
    /// Further models that it names: fallbacks, and models of tools or nested requests.
    pub(crate) named: Vec<String>,
    /// The previous response that it continues.
    pub(crate) previous: Option<String>,
    /// The conversation it belongs to.
    pub(crate) conversation: Option<String>,
    /// Whether it tells the provider to store the answer, or not to.
    pub(crate) store: Option<bool>,
    /// What the names of its members say about references to objects; `None` if unknown.
    pub(crate) cues: Option<ReferenceCues>,
    /// References in form fields.
    pub(crate) in_form: Vec<Reference>,
    /// Whether the model may read more than the text of the body: images, referenced objects, or stored data.
    pub(crate) reads_more: bool,
    /// Whether it has a `prompt`: a template stored by the provider, unless it is the text itself.
    prompts: bool,
    /// Tools, and other members that make the provider search or run something.
    pub(crate) tools: RequestTools,
    /// How often tools may be used in total.
    pub(crate) tool_calls_max: Option<u64>,
    /// Whether it configures reasoning.
    pub(crate) reasons: bool,
    /// Whether it is a form with a file, and names no file elsewhere.
    pub(crate) has_file: bool,
    form: Form,
    /// Ranges of the members that name the user: `user`, `safety_identifier`, `metadata`.
    pub(crate) tag_spans: [Option<Range<usize>>; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    #[default]
    Json,
    Multipart,
}

/// A body that cannot be forwarded. It is always the client's fault, so retries are useless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    /// It is declared as JSON or a form, but is not.
    #[error("the request body is not valid {what}: {problem}")]
    Malformed {
        /// The format that was expected.
        what: &'static str,
        /// The parser's message, with line and column.
        problem: String,
    },
    /// A field that must be understood cannot be read.
    #[error("{field} {problem}")]
    Field {
        /// Its name in the body.
        field: &'static str,
        /// The problem, as a phrase that follows the name.
        problem: &'static str,
    },
}

/// Reads a body. A body that is neither JSON nor a form has no facts.
///
/// With `strict`, it must be a JSON object, or a form declared as one. It must contain nothing that a more lenient
/// upstream could read as another model or limit. Without a declared type it must be JSON.
///
/// # Errors
/// Errors if a body declared as JSON or a form is not, or if its model or stream member is invalid.
pub(crate) fn read(
    body: &[u8],
    content_type: &str,
    strict: bool,
) -> Result<RequestFacts, BadRequest> {
    if body.is_empty() {
        return Ok(RequestFacts::default());
    }
    let kind = if strict {
        BodyKind::strictly(content_type)?
    } else {
        BodyKind::of(content_type)
    };
    if let BodyKind::Form { boundary } = &kind {
        return form::read(body, boundary, strict);
    }
    let start = text::bom(body);
    let json = body.get(start..).unwrap_or_default();
    let is_object = json.get(text::spaces(json)) == Some(&b'{');
    if strict {
        check_text(body, start, is_object)?;
    }
    let said_json = kind == BodyKind::Json;
    if !is_object {
        if said_json {
            serde_json::from_slice::<IgnoredAny>(json).map_err(|error| malformed(&error))?;
        }
        return Ok(RequestFacts::default());
    }
    let members = skim::members(json).map_or_else(|| read_slowly(json), Ok);
    match members {
        Ok(members) => facts(body, members, start + text::spaces(json), strict),
        Err(error) if said_json => Err(malformed(&error)),
        Err(_) => Ok(RequestFacts::default()),
    }
}

/// Reads the members of an unusual body.
fn read_slowly(json: &[u8]) -> Result<BodyMembers<'_>, serde_json::Error> {
    let mut members = NAMES.read(json)?;
    members.cues = ReferenceCues::of(json);
    Ok(members)
}

/// Checks for what all JSON parsers read alike: an object in UTF-8 without a byte order mark.
fn check_text(body: &[u8], mark: usize, is_object: bool) -> Result<(), BadRequest> {
    let problem = if mark > 0 {
        "it begins with a byte order mark"
    } else if !is_object {
        "it is no object"
    } else if simdutf8::basic::from_utf8(body).is_err() {
        "it is not UTF-8"
    } else {
        return Ok(());
    };
    Err(BadRequest::Malformed {
        what: "JSON",
        problem: problem.to_owned(),
    })
}

// === impl RequestFacts ===

impl RequestFacts {
    /// Most tokens of the answer. Limits under names that the route does not have are ignored, and so is zero, which
    /// many read as unset.
    pub(crate) fn max_tokens(&self, route: Route) -> Option<u64> {
        let [old, new, of_responses] = self.limits;
        let most = match route {
            Route::Chat => old.max(new),
            Route::Completions | Route::Messages => old,
            Route::Responses => of_responses,
            Route::Embeddings | Route::Other => old.max(new).max(of_responses),
        };
        most.filter(|most| *most > 0)
    }

    /// How many choices are generated.
    pub(crate) fn choices(&self) -> u64 {
        self.n.max(self.written).unwrap_or_default().max(1)
    }

    /// Whether the model may read more than the text of the body.
    pub(crate) const fn reads_more(&self, route: Route) -> bool {
        self.reads_more || self.prompts && matches!(route, Route::Responses)
    }

    /// The images it asks for. Zero counts as one: many JSON writers leave out a zero, and parsers
    /// then use the default.
    pub(crate) fn pictures(&self) -> AskedImages<'_> {
        AskedImages {
            count: self.n.unwrap_or_default().max(1),
            size: self.size.as_deref().unwrap_or_default(),
        }
    }

    /// Whether `rewrite` can ask for usage that this route would not report otherwise.
    pub(crate) fn may_ask_usage(&self, route: Route) -> bool {
        route.usage_is_optional() && matches!(self.usage, UsageAsk::NotAsked(_))
    }
}

fn facts(
    body: &[u8],
    mut members: BodyMembers<'_>,
    brace: usize,
    strict: bool,
) -> Result<RequestFacts, BadRequest> {
    members.check_spelling(strict)?;
    let raw = members.value(MODEL);
    let raw = raw.filter(|raw| strict || !members.named.add_object(raw));
    check_route(&members)?;
    let tools = tools(&mut members);
    let named = std::mem::take(&mut members.named).checked(strict)?;
    let model: Option<String> = value(raw, "model", "must be a string")?;
    check_model(model.as_deref(), strict)?;
    let span = raw.and_then(|raw| span(body, raw));
    let stream: Option<bool> = value(members.value(STREAM), "stream", "must be true or false")?;
    let number = |at| number(members.value(at), NAMES.get(at), strict);
    let [old, new, of_responses] = LIMITS.map(number);
    let word =
        |at| lenient::<String>(members.value(at)).filter(|word| word.len() <= SIZE_BYTES_MAX);
    let size = match (word(QUALITY), word(SIZE)) {
        (Some(quality), size) => Some(format!("{quality}/{}", size.unwrap_or_default())),
        (None, size) => size,
    };
    let tier = tier(&TIER.map(word));
    let previous = id_of(members.value(PREVIOUS), "previous_response_id")?;
    let conversation = id_of(members.value(CONVERSATION), "conversation")?;
    let [candidates, generations] = CHOICES.map(number);
    Ok(RequestFacts {
        model_span: model.is_some().then_some(span).flatten(),
        model,
        stream: stream.unwrap_or_default(),
        usage: usage_ask(body, members.value(STREAM_OPTIONS), brace, strict)?,
        limits: [old?, new?, of_responses?],
        n: number(N)?,
        written: number(BEST_OF)?.max(candidates?).max(generations?),
        deferred_by: later(&members),
        named,
        reads_more: previous.is_some()
            || conversation.is_some()
            || tools.sees
            || members.cues.is_none_or(|cues| cues.media),
        prompts: members.has(PROMPT),
        tools,
        tool_calls_max: number(TOOL_CALLS)?,
        has_file: false,
        reasons: REASONING.iter().any(|at| is_wanted(&members, *at)),
        previous,
        conversation,
        store: lenient(members.value(STORE)),
        size,
        tier,
        cues: members.cues,
        in_form: Vec::new(),
        form: Form::Json,
        tag_spans: user_spans(body, &members),
    })
}

/// Ranges of the members that name the user.
fn user_spans(body: &[u8], members: &BodyMembers<'_>) -> [Option<Range<usize>>; 3] {
    USER_MEMBERS.map(|at| members.value(at).and_then(|raw| span(body, raw)))
}

/// `OpenRouter` chooses a model by itself if a fallback is requested without naming models.
fn check_route(members: &BodyMembers<'_>) -> Result<(), BadRequest> {
    let field = "route";
    let Some(route) = members.value(ROUTE).map(RawValue::get) else {
        return Ok(());
    };
    let problem = if route.starts_with(['{', '[']) {
        "must be a text"
    } else if route == r#""fallback""# && members.named.is_empty() {
        "needs the models to fall back to, in `models`"
    } else {
        return Ok(());
    };
    Err(BadRequest::Field { field, problem })
}

/// The id of what the request continues, or of an object with one. Other values are refused, because other parsers may
/// find an id in them.
fn id_of(raw: Option<&RawValue>, field: &'static str) -> Result<Option<String>, BadRequest> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Ok(None);
    };
    match serde_json::from_str(raw.get()) {
        Ok(Id(Some(id))) => Ok(Some(id)),
        Ok(Id(None)) | Err(_) => Err(BadRequest::Field {
            field,
            problem: "must be a text, or an object with one `id`",
        }),
    }
}

/// The member that defers the work until after the call, if any.
fn later(members: &BodyMembers<'_>) -> Option<&'static str> {
    let wanted = |at: &&usize| is_wanted(members, **at);
    LATER.iter().find(wanted).map(|at| NAMES.get(*at))
}

/// Tools, and other members that make the provider search or run something.
fn tools(members: &mut BodyMembers<'_>) -> RequestTools {
    let mut tools = std::mem::take(&mut members.named.tools);
    if SEARCHES.iter().any(|at| is_wanted(members, *at)) {
        tools.run(Some(BillPart::WebSearch), None);
    }
    if is_wanted(members, MCP_SERVERS) {
        tools.run(None, None);
    }
    tools
}

/// Whether a member is present and not empty.
fn is_wanted(members: &BodyMembers<'_>, at: usize) -> bool {
    let raw = members.value(at).map(RawValue::get);
    raw.is_some_and(|text| !matches!(text, "false" | "null" | "[]"))
}

/// Checks a model's name: neither lists nor prices would match a name that is too long, or padded with characters that
/// some providers strip.
fn check_model(model: Option<&str>, strict: bool) -> Result<(), BadRequest> {
    let model = model.unwrap_or_default();
    let problem = if model.len() > MODEL_BYTES_MAX {
        "is too long to name a model"
    } else if strict && (model.trim() != model || model.contains(char::is_control)) {
        "must have neither blanks around it nor control characters"
    } else {
        return Ok(());
    };
    Err(BadRequest::Field {
        field: "model",
        problem,
    })
}

/// A whole number in any notation. A negative one sets no limit and is `None`. With `strict`, other values are refused:
/// some providers parse numbers from texts, or round them.
fn number(
    raw: Option<&RawValue>,
    field: &'static str,
    strict: bool,
) -> Result<Option<u64>, BadRequest> {
    let Some(text) = raw.map(RawValue::get).filter(|text| *text != "null") else {
        return Ok(None);
    };
    if let Ok(number) = text.parse() {
        return Ok(Some(number));
    }
    let number = serde_json::from_str::<f64>(text).ok();
    match number.filter(|number| number.fract() == 0.0) {
        Some(below) if below < 0.0 => Ok(None),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and not negative, and the largest there is will do for larger ones"
        )]
        Some(whole) => Ok(Some(whole as u64)),
        None if strict => Err(BadRequest::Field {
            field,
            problem: "must be a whole number",
        }),
        None => Ok(None),
    }
}

/// A field that the upstream validates; an invalid one is `None`.
fn lenient<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

/// A known field with the right type; null is `None`.
fn value<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    field: &'static str,
    problem: &'static str,
) -> Result<Option<T>, BadRequest> {
    raw.map_or(Ok(None), |raw| {
        serde_json::from_str::<Option<T>>(raw.get())
            .map_err(|_| BadRequest::Field { field, problem })
    })
}

fn span(body: &[u8], raw: &RawValue) -> Option<Range<usize>> {
    text::span(body, raw.get().as_bytes())
}

fn malformed(error: &serde_json::Error) -> BadRequest {
    BadRequest::Malformed {
        what: "JSON",
        problem: error.to_string(),
    }
}

/// The first requested tier that may have a price of its own.
fn tier(asked: &[Option<String>]) -> Option<String> {
    // The name for no particular region.
    let asked = || asked.iter().flatten().filter(|word| *word != "global");
    let own = asked().find(|word| !price::is_standard(word));
    own.or_else(|| asked().next()).cloned()
}

#[cfg(test)]
mod tests;

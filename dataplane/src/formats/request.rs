//! Request bodies: read once for the few facts that decide where a call goes, then passed on as the
//! same bytes, with at most two places replaced. Unknown fields are neither read nor checked; that a body's
//! structure is what it seems is, and so is, where a model is read, that nobody could read another one.

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
        TIER, TOLD, TOOL_CALLS,
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

/// Longer than any model's name. In a form, where it is not quoted, the limit also tells it from a file
/// sent under its name.
const MODEL_BYTES_MAX: usize = 1024;
/// What says for whom a call is.
const TOLD_PLACES: [usize; 3] = [TOLD.start, TOLD.start + 1, TOLD.start + 2];
/// Longer than any picture's size.
const SIZE_BYTES_MAX: usize = 32;
/// What a request body says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct RequestFacts {
    /// The model it names.
    pub(crate) model: Option<String>,
    /// Where the body names it: a JSON string with its quotes, or the value of a multipart field.
    pub(crate) model_span: Option<Range<usize>>,
    /// Whether it wants a stream of events.
    pub(crate) stream: bool,
    /// Whether it asks for usage at the end of a stream.
    pub(crate) usage: UsageAsk,
    /// Most tokens the answer may have, by the names in which that is said.
    limits: [Option<u64>; 3],
    /// How many answers, or pictures, it asks for.
    pub(crate) n: Option<u64>,
    /// How many answers it has written to choose from, or asks for under another name.
    written: Option<u64>,
    /// Size of the pictures it asks for, after their quality where it names one: `high/1024x1024`.
    pub(crate) size: Option<String>,
    /// The tier that it asks for.
    pub(crate) tier: Option<String>,
    /// The member that has the work done after the call.
    pub(crate) deferred_by: Option<&'static str>,
    /// Further models that it names, for others to be used: alternatives, of tools, of requests inside it.
    pub(crate) named: Vec<String>,
    /// The response that it goes on from.
    pub(crate) previous: Option<String>,
    /// The conversation that it belongs to.
    pub(crate) conversation: Option<String>,
    /// Whether it says that the provider is to keep the answer, or not to.
    pub(crate) store: Option<bool>,
    /// What the names of its members tell of references to objects; none where nothing is known of them.
    pub(crate) cues: Option<ReferenceCues>,
    /// References in fields of a form.
    pub(crate) in_form: Vec<Reference>,
    /// Whether the model may read what is not in the body as text: pictures, what it refers to, what is kept elsewhere.
    pub(crate) reads_more: bool,
    /// Whether it names a `prompt`, which is a template that the provider keeps where it is not the text itself.
    prompts: bool,
    /// Its tools, and whatever else has the provider search or run something.
    pub(crate) tools: RequestTools,
    /// How often those may be used in all.
    pub(crate) tool_calls_max: Option<u64>,
    /// Whether it has something to say about thinking.
    pub(crate) reasons: bool,
    /// Whether it is a form with a file, and names none elsewhere.
    pub(crate) has_file: bool,
    form: Form,
    /// Where it says whom it is for: `user`, `safety_identifier`, `metadata`.
    pub(crate) tag_spans: [Option<Range<usize>>; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    #[default]
    Json,
    Multipart,
}

/// A body that cannot be passed on. Always the client's fault; another try is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    /// Said to be JSON or a form, and is not.
    #[error("the request body is not valid {what}: {problem}")]
    Malformed {
        /// The format it was read as.
        what: &'static str,
        /// The parser's words, with line and column.
        problem: String,
    },
    /// A field that must be understood cannot be.
    #[error("{field} {problem}")]
    Field {
        /// Its name in the body.
        field: &'static str,
        /// What is wrong, as a phrase that follows the name.
        problem: &'static str,
    },
}

/// Reads a body. What is neither JSON nor a form has no facts.
///
/// # Errors
/// When a body said to be JSON or a form is none, or names its model or its stream wrongly.
///
/// With `strict`, a body has to be a JSON object or a form that is said to be one, with nothing in it that an
/// upstream which reads more leniently than this could take for another model or limit. One that is said to be
/// nothing has to be JSON.
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

/// The same members of a body that is unusual.
fn read_slowly(json: &[u8]) -> Result<BodyMembers<'_>, serde_json::Error> {
    let mut members = NAMES.read(json)?;
    members.cues = ReferenceCues::of(json);
    Ok(members)
}

/// What all readers of JSON take for the same text: an object in UTF-8, without a mark before it.
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
    /// Most tokens the answer may have. A limit under a name that the route does not have is none, and neither is zero,
    /// which many take for unset.
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

    /// How many answers are written.
    pub(crate) fn choices(&self) -> u64 {
        self.n.max(self.written).unwrap_or_default().max(1)
    }

    /// Whether the model may read what is not in the body as text.
    pub(crate) const fn reads_more(&self, route: Route) -> bool {
        self.reads_more || self.prompts && matches!(route, Route::Responses)
    }

    /// How many pictures it asks for, and of which size. None is one: many writers of JSON leave out a zero, and their
    /// readers put one in its place.
    pub(crate) fn pictures(&self) -> (u64, &str) {
        let size = self.size.as_deref().unwrap_or_default();
        (self.n.unwrap_or_default().max(1), size)
    }

    /// Whether `rewrite` can ask for usage, and this route would otherwise not report it.
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
        tag_spans: told(body, &members),
    })
}

/// Where it says whom it is for.
fn told(body: &[u8], members: &BodyMembers<'_>) -> [Option<Range<usize>>; 3] {
    TOLD_PLACES.map(|at| members.value(at).and_then(|raw| span(body, raw)))
}

/// `OpenRouter` chooses a model by itself where it is told to fall back and not what to.
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

/// The id of what is gone on from, or of an object that has one. Anything else may be one to others: what is there and
/// is no id is refused.
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

/// The member, if there is one, that has the work done after the call.
fn later(members: &BodyMembers<'_>) -> Option<&'static str> {
    let wanted = |at: &&usize| is_wanted(members, **at);
    LATER.iter().find(wanted).map(|at| NAMES.get(*at))
}

/// The tools, and whatever else has the provider search or run something.
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

/// Whether a member is there, and says more than that it might as well not be.
fn is_wanted(members: &BodyMembers<'_>, at: usize) -> bool {
    let raw = members.value(at).map(RawValue::get);
    raw.is_some_and(|text| !matches!(text, "false" | "null" | "[]"))
}

/// A name has an end, and nothing around it that some provider takes off: neither list nor price would know it.
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

/// A whole number, however it is written; none for what is below zero, which sets no limit. Where it counts,
/// nothing else will do: some providers take numbers out of texts, or round them.
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

/// A field that is the upstream's to refuse when it is wrong.
fn lenient<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

/// A known field of its right type; null is none.
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

/// Of several that are asked for, the first that may have a price of its own.
fn tier(asked: &[Option<String>]) -> Option<String> {
    // What no region is called.
    let asked = || asked.iter().flatten().filter(|word| *word != "global");
    let own = asked().find(|word| !price::is_standard(word));
    own.or_else(|| asked().next()).cloned()
}

#[cfg(test)]
mod tests;

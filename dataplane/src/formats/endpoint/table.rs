//! The register: every endpoint that is relayed is a row, and what is no row is not relayed unless the operator
//! opens it (`PASSTHROUGH`). Paths are without version.
//!
//! Sources: <https://platform.openai.com/docs/api-reference>, <https://docs.anthropic.com/en/api/overview>,
//! <https://docs.mistral.ai/api>, <https://api-docs.deepseek.com>, <https://docs.cohere.com/reference/rerank>.

use super::{
    Endpoint,
    Family::{self, Anthropic, OpenAi},
    Paid::{self, ByModel, Closed, Free},
    Verb::{self, Delete, Get, Post, Put},
};
use crate::formats::Route::{self, Chat, Completions, Embeddings, Messages, Other, Responses};

/// Objects that a provider keeps for whoever has the key.
const SHARED: &str =
    "what the provider keeps there belongs to a key of the pool, and so to everybody who uses it";
/// Work that is billed when it is done, long after the call.
const LATER: &str = "the provider bills it when it is done, not with this call";
/// Endpoints that answer with a credential of the provider, or act on its account.
const ACCOUNT: &str = "it gives access to the operator's account at the provider";
/// Work whose cost depends on more than its request says.
const UNBOUNDED: &str = "what it may cost cannot be told from the request";

const fn row(
    verb: Verb,
    path: &'static str,
    (family, route): (Family, Route),
    paid: Paid,
) -> Endpoint {
    Endpoint {
        verb,
        path,
        family,
        route,
        paid,
    }
}

const fn open(verb: Verb, path: &'static str, route: Route, paid: Paid) -> Endpoint {
    row(verb, path, (OpenAi, route), paid)
}

const fn closed(verb: Verb, path: &'static str, why: &'static str) -> Endpoint {
    row(verb, path, (OpenAi, Other), Closed(why))
}

/// Paths that Anthropic has as well as OpenAI, each with objects of its own behind them. Whose are meant is told by the
/// header that Anthropic's clients send.
pub(super) const OF_BOTH: &[&str] = &[
    "/models",
    "/models/{model}",
    "/files",
    "/files/{id}",
    "/files/{id}/content",
    "/skills",
    "/skills/{id}",
    "/skills/{id}/versions",
    "/skills/{id}/versions/{version}",
];

/// What is asked for most comes first.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    open(Post, "/chat/completions", Chat, ByModel),
    row(Post, "/messages", (Anthropic, Messages), ByModel),
    open(Post, "/responses", Responses, ByModel),
    open(Post, "/embeddings", Embeddings, ByModel),
    open(Post, "/completions", Completions, ByModel),
    open(Post, "/fim/completions", Chat, ByModel),
    row(Post, "/messages/count_tokens", (Anthropic, Other), ByModel),
    open(Post, "/responses/compact", Other, ByModel),
    open(Post, "/responses/input_tokens", Other, ByModel),
    open(Post, "/moderations", Other, ByModel),
    open(Post, "/rerank", Other, ByModel),
    open(Post, "/images/generations", Other, ByModel),
    open(Post, "/images/edits", Other, ByModel),
    open(Post, "/images/variations", Other, ByModel),
    open(Post, "/audio/speech", Other, ByModel),
    open(Post, "/audio/transcriptions", Other, ByModel),
    open(Post, "/audio/translations", Other, ByModel),
    open(Get, "/models", Other, Free),
    open(Get, "/models/{model}", Other, Free),
    closed(Delete, "/models/{model}", SHARED),
    // Stored chat completions.
    closed(Get, "/chat/completions", SHARED),
    closed(Get, "/chat/completions/{id}", SHARED),
    closed(Post, "/chat/completions/{id}", SHARED),
    closed(Delete, "/chat/completions/{id}", SHARED),
    closed(Get, "/chat/completions/{id}/messages", SHARED),
    // Stored responses.
    closed(Get, "/responses/{id}", SHARED),
    closed(Delete, "/responses/{id}", SHARED),
    closed(Post, "/responses/{id}/cancel", SHARED),
    closed(Get, "/responses/{id}/input_items", SHARED),
    closed(Post, "/conversations", SHARED),
    closed(Get, "/conversations/{id}", SHARED),
    closed(Post, "/conversations/{id}", SHARED),
    closed(Delete, "/conversations/{id}", SHARED),
    closed(Get, "/conversations/{id}/items", SHARED),
    closed(Post, "/conversations/{id}/items", SHARED),
    closed(Get, "/conversations/{id}/items/{item}", SHARED),
    closed(Delete, "/conversations/{id}/items/{item}", SHARED),
    closed(Get, "/files", SHARED),
    closed(Post, "/files", SHARED),
    closed(Get, "/files/{id}", SHARED),
    closed(Delete, "/files/{id}", SHARED),
    closed(Get, "/files/{id}/content", SHARED),
    closed(Post, "/uploads", SHARED),
    closed(Post, "/uploads/{id}/parts", SHARED),
    closed(Post, "/uploads/{id}/complete", SHARED),
    closed(Post, "/uploads/{id}/cancel", SHARED),
    closed(Get, "/batches", LATER),
    closed(Post, "/batches", LATER),
    closed(Get, "/batches/{id}", LATER),
    closed(Post, "/batches/{id}/cancel", LATER),
    row(Get, "/messages/batches", (Anthropic, Other), Closed(LATER)),
    row(Post, "/messages/batches", (Anthropic, Other), Closed(LATER)),
    row(
        Get,
        "/messages/batches/{id}",
        (Anthropic, Other),
        Closed(LATER),
    ),
    row(
        Delete,
        "/messages/batches/{id}",
        (Anthropic, Other),
        Closed(LATER),
    ),
    row(
        Post,
        "/messages/batches/{id}/cancel",
        (Anthropic, Other),
        Closed(LATER),
    ),
    row(
        Get,
        "/messages/batches/{id}/results",
        (Anthropic, Other),
        Closed(LATER),
    ),
    closed(Get, "/vector_stores", SHARED),
    closed(Post, "/vector_stores", SHARED),
    closed(Get, "/vector_stores/{id}", SHARED),
    closed(Post, "/vector_stores/{id}", SHARED),
    closed(Delete, "/vector_stores/{id}", SHARED),
    closed(Post, "/vector_stores/{id}/search", SHARED),
    closed(Get, "/vector_stores/{id}/files", SHARED),
    closed(Post, "/vector_stores/{id}/files", SHARED),
    closed(Get, "/containers", SHARED),
    closed(Post, "/containers", SHARED),
    closed(Get, "/containers/{id}", SHARED),
    closed(Delete, "/containers/{id}", SHARED),
    closed(Get, "/fine_tuning/jobs", LATER),
    closed(Post, "/fine_tuning/jobs", LATER),
    closed(Get, "/fine_tuning/jobs/{id}", LATER),
    closed(Post, "/fine_tuning/jobs/{id}/cancel", LATER),
    closed(Get, "/fine_tuning/jobs/{id}/events", LATER),
    closed(Get, "/fine_tuning/jobs/{id}/checkpoints", LATER),
    closed(Get, "/evals", LATER),
    closed(Post, "/evals", LATER),
    closed(Post, "/evals/{id}/runs", LATER),
    closed(Get, "/videos", LATER),
    closed(Post, "/videos", LATER),
    closed(Get, "/videos/{id}", LATER),
    closed(Delete, "/videos/{id}", LATER),
    closed(Get, "/videos/{id}/content", LATER),
    closed(Post, "/videos/{id}/remix", LATER),
    closed(Get, "/assistants", UNBOUNDED),
    closed(Post, "/assistants", UNBOUNDED),
    closed(Post, "/threads", UNBOUNDED),
    closed(Post, "/threads/runs", UNBOUNDED),
    closed(Post, "/threads/{id}/messages", UNBOUNDED),
    closed(Post, "/threads/{id}/runs", UNBOUNDED),
    closed(Get, "/realtime", UNBOUNDED),
    closed(Post, "/realtime/sessions", ACCOUNT),
    closed(Post, "/realtime/transcription_sessions", ACCOUNT),
    closed(Post, "/realtime/client_secrets", ACCOUNT),
    closed(Post, "/realtime/calls", ACCOUNT),
    closed(Post, "/chatkit/sessions", ACCOUNT),
    closed(Get, "/organization/{part}", ACCOUNT),
    closed(Post, "/organization/{part}", ACCOUNT),
    closed(Put, "/organization/{part}", ACCOUNT),
];

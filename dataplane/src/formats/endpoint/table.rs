//! The register: every endpoint that is relayed is a row, and what is no row is not relayed unless the operator
//! opens it (`PASSTHROUGH`). Paths are without version.
//!
//! Sources: <https://platform.openai.com/docs/api-reference>, <https://docs.anthropic.com/en/api/overview>,
//! <https://docs.mistral.ai/api>, <https://api-docs.deepseek.com>, <https://docs.cohere.com/reference/rerank>.

use super::{
    BillingRule::{self, ByCalls, ByFile, ByModel, Closed, Free},
    Dialect::{self, Anthropic, OpenAi},
    Endpoint,
    Verb::{self, Delete, Get, Post, Put},
};
use proxyxai_contract::object::ObjectKind::{
    self, Assistant, Batch, Completion, Container, Conversation, Deferred, Eval, File, FineTune,
    MessageBatch, Response, Thread, Upload, VectorStore, Video,
};

use crate::formats::Route::{self, Chat, Completions, Embeddings, Messages, Other, Responses};

/// Belongs to a key of the pool, and so to all its users.
const SHARED: &str =
    "what the provider keeps there belongs to a key of the pool, and so to everybody who uses it";
/// Work that is billed when it is done, long after the call.
const LATER: &str = "the provider bills it when it is done, not with this call";
/// Billed for as long as it is stored.
const KEPT: &str = "the provider bills what is kept there by the day";
/// Endpoints that return a credential of the provider, or act on its account.
const ACCOUNT: &str = "it gives access to the operator's account at the provider";
/// Work whose cost is not determined by the request.
const UNBOUNDED: &str = "what it may cost cannot be told from the request";

const fn row(
    verb: Verb,
    path: &'static str,
    dialect: Dialect,
    route: Route,
    paid: BillingRule,
) -> Endpoint {
    Endpoint {
        verb,
        path,
        dialect,
        route,
        billing: paid,
        makes: None,
        names: None,
        lists: None,
    }
}

const fn open(verb: Verb, path: &'static str, route: Route, paid: BillingRule) -> Endpoint {
    row(verb, path, OpenAi, route, paid)
}

/// Free, and about an object that the caller owns.
const fn of(kind: ObjectKind, verb: Verb, path: &'static str) -> Endpoint {
    open(verb, path, Other, Free).names(kind)
}

/// Answered by the gateway.
const fn list(kind: ObjectKind, path: &'static str) -> Endpoint {
    open(Get, path, Other, Free).lists(kind)
}

const fn closed(verb: Verb, path: &'static str, why: &'static str) -> Endpoint {
    row(verb, path, OpenAi, Other, Closed(why))
}

/// Paths that both Anthropic and OpenAI have, with different objects behind them. A header of Anthropic's clients
/// decides which is meant.
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

/// About Anthropic's message batches.
const fn messages(verb: Verb, path: &'static str) -> Endpoint {
    row(verb, path, Anthropic, Other, Free).names(MessageBatch)
}

/// The most frequent ones come first.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    open(Post, "/chat/completions", Chat, ByModel).makes(Completion),
    row(Post, "/messages", Anthropic, Messages, ByModel),
    open(Post, "/responses", Responses, ByModel).makes(Response),
    open(Post, "/embeddings", Embeddings, ByModel),
    open(Post, "/completions", Completions, ByModel),
    open(Post, "/fim/completions", Chat, ByModel),
    row(Post, "/messages/count_tokens", Anthropic, Other, ByModel),
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
    list(Completion, "/chat/completions"),
    of(Completion, Get, "/chat/completions/{id}"),
    of(Completion, Post, "/chat/completions/{id}"),
    of(Completion, Delete, "/chat/completions/{id}"),
    of(Completion, Get, "/chat/completions/{id}/messages"),
    open(Get, "/chat/deferred-completion/{id}", Chat, Free).names(Deferred),
    // Stored responses.
    open(Get, "/responses/{id}", Responses, Free).names(Response),
    of(Response, Delete, "/responses/{id}"),
    open(Post, "/responses/{id}/cancel", Responses, Free).names(Response),
    of(Response, Get, "/responses/{id}/input_items"),
    open(Post, "/conversations", Other, Free).makes(Conversation),
    of(Conversation, Get, "/conversations/{id}"),
    of(Conversation, Post, "/conversations/{id}"),
    of(Conversation, Delete, "/conversations/{id}"),
    of(Conversation, Get, "/conversations/{id}/items"),
    of(Conversation, Post, "/conversations/{id}/items"),
    of(Conversation, Get, "/conversations/{id}/items/{item}"),
    of(Conversation, Delete, "/conversations/{id}/items/{item}"),
    list(File, "/files"),
    open(Post, "/files", Other, Free).makes(File),
    of(File, Get, "/files/{id}"),
    of(File, Delete, "/files/{id}"),
    of(File, Get, "/files/{id}/content"),
    open(Post, "/uploads", Other, Free).makes(Upload),
    of(Upload, Post, "/uploads/{id}/parts"),
    of(Upload, Post, "/uploads/{id}/complete").makes(File),
    of(Upload, Post, "/uploads/{id}/cancel"),
    list(Batch, "/batches"),
    open(Post, "/batches", Other, ByFile).makes(Batch),
    of(Batch, Get, "/batches/{id}"),
    of(Batch, Post, "/batches/{id}/cancel"),
    row(Get, "/messages/batches", Anthropic, Other, Free).lists(MessageBatch),
    row(Post, "/messages/batches", Anthropic, Other, ByCalls).makes(MessageBatch),
    messages(Get, "/messages/batches/{id}"),
    messages(Delete, "/messages/batches/{id}"),
    messages(Post, "/messages/batches/{id}/cancel"),
    messages(Get, "/messages/batches/{id}/results"),
    list(VectorStore, "/vector_stores"),
    closed(Post, "/vector_stores", KEPT).makes(VectorStore),
    closed(Get, "/vector_stores/{id}", KEPT).names(VectorStore),
    closed(Post, "/vector_stores/{id}", KEPT).names(VectorStore),
    closed(Delete, "/vector_stores/{id}", KEPT).names(VectorStore),
    closed(Post, "/vector_stores/{id}/search", KEPT).names(VectorStore),
    closed(Get, "/vector_stores/{id}/files", KEPT).names(VectorStore),
    closed(Post, "/vector_stores/{id}/files", KEPT).names(VectorStore),
    closed(Get, "/vector_stores/{id}/files/{file}", KEPT).names(VectorStore),
    closed(Delete, "/vector_stores/{id}/files/{file}", KEPT).names(VectorStore),
    closed(Post, "/vector_stores/{id}/file_batches", KEPT).names(VectorStore),
    list(Container, "/containers"),
    closed(Post, "/containers", KEPT).makes(Container),
    closed(Get, "/containers/{id}", KEPT).names(Container),
    closed(Delete, "/containers/{id}", KEPT).names(Container),
    closed(Get, "/containers/{id}/files", KEPT).names(Container),
    closed(Post, "/containers/{id}/files", KEPT).names(Container),
    closed(Get, "/containers/{id}/files/{file}", KEPT).names(Container),
    closed(Get, "/containers/{id}/files/{file}/content", KEPT).names(Container),
    closed(Delete, "/containers/{id}/files/{file}", KEPT).names(Container),
    list(FineTune, "/fine_tuning/jobs"),
    closed(Post, "/fine_tuning/jobs", LATER).makes(FineTune),
    closed(Get, "/fine_tuning/jobs/{id}", LATER).names(FineTune),
    closed(Post, "/fine_tuning/jobs/{id}/cancel", LATER).names(FineTune),
    closed(Get, "/fine_tuning/jobs/{id}/events", LATER).names(FineTune),
    closed(Get, "/fine_tuning/jobs/{id}/checkpoints", LATER).names(FineTune),
    list(Eval, "/evals"),
    closed(Post, "/evals", LATER).makes(Eval),
    closed(Get, "/evals/{id}", LATER).names(Eval),
    closed(Post, "/evals/{id}", LATER).names(Eval),
    closed(Delete, "/evals/{id}", LATER).names(Eval),
    closed(Get, "/evals/{id}/runs", LATER).names(Eval),
    closed(Post, "/evals/{id}/runs", LATER).names(Eval),
    list(Video, "/videos"),
    closed(Post, "/videos", LATER).makes(Video),
    closed(Get, "/videos/{id}", LATER).names(Video),
    closed(Delete, "/videos/{id}", LATER).names(Video),
    closed(Get, "/videos/{id}/content", LATER).names(Video),
    closed(Post, "/videos/{id}/remix", LATER)
        .names(Video)
        .makes(Video),
    list(Assistant, "/assistants"),
    closed(Post, "/assistants", UNBOUNDED).makes(Assistant),
    closed(Get, "/assistants/{id}", UNBOUNDED).names(Assistant),
    closed(Post, "/assistants/{id}", UNBOUNDED).names(Assistant),
    closed(Delete, "/assistants/{id}", UNBOUNDED).names(Assistant),
    closed(Post, "/threads", UNBOUNDED).makes(Thread),
    closed(Post, "/threads/runs", UNBOUNDED),
    closed(Get, "/threads/{id}", UNBOUNDED).names(Thread),
    closed(Post, "/threads/{id}", UNBOUNDED).names(Thread),
    closed(Delete, "/threads/{id}", UNBOUNDED).names(Thread),
    closed(Post, "/threads/{id}/messages", UNBOUNDED).names(Thread),
    closed(Get, "/threads/{id}/messages", UNBOUNDED).names(Thread),
    closed(Post, "/threads/{id}/runs", UNBOUNDED).names(Thread),
    closed(Get, "/threads/{id}/runs/{run}", UNBOUNDED).names(Thread),
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

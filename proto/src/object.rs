//! Objects that providers keep: their owners, and work that continues after the call that created them.

use crate::{
    clock::Millis,
    id::{AccountId, ClientKeyId, KeyId},
    money::Money,
};

/// Longer than any provider's ids.
pub const ID_BYTES_MAX: usize = 255;
/// The most rows on a page of a list.
pub const LIST_MAX: u32 = 100;
const DAY_MS: i64 = 86_400_000;

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A stored or background response.
    Response,
    /// An output item of a response, which other calls may refer to.
    Item,
    /// A conversation.
    Conversation,
    /// A stored chat completion.
    Completion,
    /// A chat completion whose result is fetched later.
    Deferred,
    /// A file.
    File,
    /// A file that is uploaded in parts.
    Upload,
    /// A batch of calls.
    Batch,
    /// Anthropic's batch of messages.
    MessageBatch,
    /// A vector store.
    VectorStore,
    /// A container.
    Container,
    /// A fine-tuning job.
    FineTune,
    /// An evaluation.
    Eval,
    /// A video.
    Video,
    /// An assistant.
    Assistant,
    /// A thread of an assistant.
    Thread,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 16] = [
        Self::Response,
        Self::Item,
        Self::Conversation,
        Self::Completion,
        Self::Deferred,
        Self::File,
        Self::Upload,
        Self::Batch,
        Self::MessageBatch,
        Self::VectorStore,
        Self::Container,
        Self::FineTune,
        Self::Eval,
        Self::Video,
        Self::Assistant,
        Self::Thread,
    ];

    /// The form that is stored, sent and shown; also the `object` of lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Item => "item",
            Self::Conversation => "conversation",
            Self::Completion => "chat.completion",
            Self::Deferred => "deferred",
            Self::File => "file",
            Self::Upload => "upload",
            Self::Batch => "batch",
            Self::MessageBatch => "message_batch",
            Self::VectorStore => "vector_store",
            Self::Container => "container",
            Self::FineTune => "fine_tuning.job",
            Self::Eval => "eval",
            Self::Video => "video",
            Self::Assistant => "assistant",
            Self::Thread => "thread",
        }
    }

    /// Reads what `as_str` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// How long the gateway remembers it: a little longer than providers keep it, and longest if they keep it until it
    /// is deleted.
    ///
    /// Responses and stored completions: 30 days (<https://platform.openai.com/docs/guides/your-data>); Anthropic's
    /// batches: 29 days of results (<https://docs.claude.com/en/docs/build-with-claude/batch-processing>); uploads: an
    /// hour; xAI's deferred completions: 24 hours (<https://docs.x.ai/docs/guides/deferred-chat-completions>).
    pub const fn retention_ms(self) -> i64 {
        DAY_MS
            * match self {
                Self::Upload => 1,
                Self::Deferred => 2,
                Self::Response
                | Self::Item
                | Self::Completion
                | Self::MessageBatch
                | Self::Container
                | Self::Video => 32,
                Self::Conversation
                | Self::File
                | Self::Batch
                | Self::VectorStore
                | Self::FineTune
                | Self::Assistant
                | Self::Thread
                | Self::Eval => 3650,
            }
    }

    /// How long its work may take at most. After that the reserved amount is charged for what is not known.
    pub const fn work_timeout_ms(self) -> i64 {
        match self {
            // 24 hours to be done, and 24 to be cancelled and written out.
            Self::Batch | Self::MessageBatch => 2 * DAY_MS,
            // A deferred completion that is not fetched is discarded after that.
            _ => DAY_MS,
        }
    }

    /// When the gateway first polls for the result by itself.
    pub const fn first_poll_ms(self) -> i64 {
        match self {
            // It can be fetched only once, so leave that to the client as long as there is time.
            Self::Deferred => DAY_MS - DAY_MS / 24,
            _ => 2_000,
        }
    }
}

/// An object that a call created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedObject {
    /// The provider's id.
    pub id: String,
    /// Its kind.
    pub kind: ObjectKind,
    /// When the gateway forgets it.
    pub expires: Millis,
    /// Its status in lists; may be empty.
    pub status: String,
    /// The calls in it, if it is a file of calls.
    pub calls: Option<PendingWork>,
}

/// What a call did with objects. All of it concerns the key that served the call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallObjects {
    /// Objects it created.
    pub made: Vec<CreatedObject>,
    /// Whether the first of them continues after the call, with work still to be charged.
    pub pending: bool,
    /// Amount that stays reserved for that.
    pub held: Money,
    /// The object whose work this record charges.
    pub settles: Option<ObjectSettlement>,
    /// Id of an object that is gone.
    pub forgets: Option<String>,
}

/// The settlement of an object's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSettlement {
    /// The object's id.
    pub id: String,
    /// Equal in all records of the settlement.
    pub settlement: String,
}

/// An object and its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedObject {
    /// The provider's id.
    pub id: String,
    /// Its kind.
    pub kind: ObjectKind,
    /// The account that created it.
    pub account: AccountId,
    /// The further client key that created it; `None` for the account's first. It pays for the object's work.
    pub client_key: Option<ClientKeyId>,
    /// The upstream key that created it.
    pub key: KeyId,
    /// When it was created.
    pub created: Millis,
    /// When the gateway forgets it.
    pub expires: Millis,
    /// Its status in lists; may be empty.
    pub status: String,
    /// Its work that is still to be charged.
    pub pending: Option<PendingWork>,
    /// The calls in it, if it is a file of calls.
    pub calls: Option<PendingWork>,
}

/// Work that is still to be charged, or could be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingWork {
    /// The model that it is billed as, if it is one model.
    pub model: String,
    /// Amount reserved for it, or to be reserved when it starts.
    pub held: Money,
}

/// Work whose result should be fetched now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueWork {
    /// The object.
    pub object: OwnedObject,
    /// Its usage will never become known.
    pub overdue: bool,
}

/// Milliseconds until the next poll after this many polls without a result.
pub const fn next_poll_ms(kind: ObjectKind, looks: u32) -> i64 {
    let longest = match kind {
        ObjectKind::Deferred => 3_600_000 / 4,
        _ => 600_000,
    };
    let doubled = 2_000i64 << (if looks > 16 { 16 } else { looks });
    if doubled < longest { doubled } else { longest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for kind in ObjectKind::ALL {
            assert_eq!(ObjectKind::parse(kind.as_str()), Some(kind));
            assert!(kind.work_timeout_ms() <= kind.retention_ms());
            assert!(kind.first_poll_ms() < kind.work_timeout_ms());
        }
        assert_eq!(ObjectKind::parse("nothing"), None);
    }

    #[test]
    fn looks_get_rarer_and_never_stop() {
        for kind in ObjectKind::ALL {
            let waits: Vec<_> = (0..40).map(|looks| next_poll_ms(kind, looks)).collect();
            assert!(waits.is_sorted());
            assert!(waits[0] >= 1_000 && waits[39] <= 900_000);
        }
    }
}

//! Objects that providers keep: whose they are, and the work that some of them do after the call that made them.

use crate::{
    clock::Millis,
    id::{AccountId, ClientKeyId, KeyId},
    money::Money,
};

/// Ids of providers are shorter.
pub const ID_BYTES_MAX: usize = 255;
/// Pages of lists have no more rows.
pub const LIST_MAX: u32 = 100;
const DAY_MS: i64 = 86_400_000;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A stored or background response.
    Response,
    /// What a response put out, which others may refer to.
    Item,
    /// A conversation.
    Conversation,
    /// A stored chat completion.
    Completion,
    /// A chat completion that is fetched later.
    Deferred,
    /// A file.
    File,
    /// A file that is sent in parts.
    Upload,
    /// A batch of calls.
    Batch,
    /// Anthropic's batch of messages.
    MessageBatch,
    /// A store of vectors.
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
    /// A thread of one.
    Thread,
}

impl ObjectKind {
    /// Every kind there is.
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

    /// As stored, sent and shown; also the `object` of lists.
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

    /// How long it is remembered: a little longer than providers keep it, and longest where they keep it until it is
    /// deleted.
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

    /// How long its work may go on at most. What is not known by then is paid with what was set aside.
    pub const fn work_timeout_ms(self) -> i64 {
        match self {
            // 24 hours to be done, and 24 to be cancelled and written down.
            Self::Batch | Self::MessageBatch => 2 * DAY_MS,
            // A deferred completion that nobody fetched is discarded after that.
            _ => DAY_MS,
        }
    }

    /// When the gateway first looks for the result by itself.
    pub const fn first_poll_ms(self) -> i64 {
        match self {
            // It can be fetched once only, which is left to the client as long as there is time.
            Self::Deferred => DAY_MS - DAY_MS / 24,
            _ => 2_000,
        }
    }
}

/// Something that a call made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedObject {
    /// The provider's id.
    pub id: String,
    /// What it is.
    pub kind: ObjectKind,
    /// When it is forgotten here.
    pub expires: Millis,
    /// What a list says of it; may be empty.
    pub status: String,
    /// The calls in it, where it is a file of such.
    pub calls: Option<PendingWork>,
}

/// What a call had to do with objects. All of it is about the key that answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallObjects {
    /// What it made.
    pub made: Vec<CreatedObject>,
    /// Whether the first of them goes on after the call, and its work is yet to be paid.
    pub pending: bool,
    /// Stays set aside for that.
    pub held: Money,
    /// The object whose work is paid.
    pub settles: Option<ObjectSettlement>,
    /// One that is gone.
    pub forgets: Option<String>,
}

/// A settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSettlement {
    /// The object's id.
    pub id: String,
    /// The same in all its records.
    pub settlement: String,
}

/// An object, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedObject {
    /// The provider's id.
    pub id: String,
    /// What it is.
    pub kind: ObjectKind,
    /// Who made it.
    pub account: AccountId,
    /// With which further client key; none for the account's first. It pays for the object's work.
    pub client_key: Option<ClientKeyId>,
    /// With which upstream key.
    pub key: KeyId,
    /// When it was made.
    pub created: Millis,
    /// When it is forgotten here.
    pub expires: Millis,
    /// What a list says of it; may be empty.
    pub status: String,
    /// Its work that is yet to be paid.
    pub pending: Option<PendingWork>,
    /// The calls in it, where it is a file of such.
    pub calls: Option<PendingWork>,
}

/// Work that is yet to be paid, or could be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingWork {
    /// What it is billed as, where it is one model.
    pub model: String,
    /// What is set aside for it, or would have to be.
    pub held: Money,
}

/// Work to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueWork {
    /// Whose it is and where.
    pub object: OwnedObject,
    /// Nobody will be told any more what it used.
    pub overdue: bool,
}

/// After so many looks in vain the next one is this long after.
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

//! How the use of a call was found, and the record that moves money exactly once.

use crate::{
    attempt::Attempt,
    bill::{self, BilledUsage, CallBill},
    clock::Millis,
    id::{AccountId, ClientKeyId, KeyId, Level},
    lease::PayerId,
    money::{Money, Multiplier},
    object::CallObjects,
    price::{self, ModelPrice},
    tokens::{ImageUsage, TokenUsage},
};

/// How the tokens were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageMeasure {
    /// The provider reported them, and the answer was complete.
    Measured,
    /// The answer ended early, or its data plane died; what had been reported by then, and for the rest
    /// what a tokenizer finds in the request and in the text that was delivered.
    Partial,
    /// The provider reported nothing; what a tokenizer finds in the texts.
    Estimated,
}

impl UsageMeasure {
    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Partial => "partial",
            Self::Estimated => "estimated",
        }
    }

    /// Reads what `as_str` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Measured, Self::Partial, Self::Estimated]
            .into_iter()
            .find(|measure| measure.as_str() == text)
    }
}

/// What becomes of a call whose client leaves before its end: the provider is paid for what it makes either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AbandonedPolicy {
    /// The answer is read to its end, within bounds, and paid by the provider's own count.
    #[default]
    ReadOn,
    /// The call ends at the provider as well, and what it made unseen is estimated.
    Cancel,
    /// All that was set aside is paid.
    Hold,
}

impl AbandonedPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ReadOn, Self::Cancel, Self::Hold];

    /// As set, stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOn => "read-on",
            Self::Cancel => "cancel",
            Self::Hold => "hold",
        }
    }

    /// Reads what `as_str` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// One metered call. Unique for ever by (node, epoch, `sequence`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    /// Position in its data plane's spool, from 1.
    pub sequence: u64,
    /// The call's `x-request-id`.
    pub request_id: String,
    /// Who pays.
    pub account: AccountId,
    /// The further client key that the call was made with; none for the account's first.
    pub client_key: Option<ClientKeyId>,
    /// Request path without query.
    pub path: String,
    /// As the client named it; empty when it named none.
    pub model_asked: String,
    /// As sent upstream, which is what is billed.
    pub model_used: String,
    /// Upstream key that answered; none when every attempt failed.
    pub key: Option<KeyId>,
    /// Level of the pool that answered.
    pub level: Level,
    /// Attempts made upstream.
    pub tries: u32,
    /// HTTP status sent to the client.
    pub status: u16,
    /// Tokens by kind.
    pub tokens: TokenUsage,
    /// Pictures charged by the piece; none where the price is by tokens.
    pub images: ImageUsage,
    /// The tier that served, as the answer said; empty when it said none.
    pub tier: String,
    /// The lines that the cost is the sum of, before rates and factor.
    pub sum: CallBill,
    /// Where the tokens come from.
    pub measure: UsageMeasure,
    /// What the call costs, rates and factor applied, in the units that the account had then. It is charged in
    /// those it has when this is posted.
    pub cost: Money,
    /// Whether a price was known.
    pub priced: bool,
    /// Version of the price table.
    pub price_version: String,
    /// The account's `Rates` when it was priced; none in records that older programs wrote.
    pub rates: Option<Multiplier>,
    /// Its `Factor` then.
    pub factor: Option<Multiplier>,
    /// When the request had been read.
    pub start: Millis,
    /// To the end of the answer.
    pub duration_ms: u64,
    /// To the first byte of the answer; 0 when there was none.
    pub first_byte_ms: u64,
    /// Whether the answer was a stream of events.
    pub streamed: bool,
    /// What it had to do with objects; none mostly.
    pub objects: Option<Box<CallObjects>>,
    /// What the caller counts it under; may be empty.
    pub tag: String,
    /// What was done about a client that left before the end; none where it stayed.
    pub abandoned: Option<AbandonedPolicy>,
    /// In the order in which they ended, where there was more than one or the only one failed. Of the usual call the
    /// rest of the record says as much, so it has none here and pays nothing for them.
    pub attempts: Vec<Attempt>,
    /// What the operator pays for it, which control works out when it posts the record, and tells nobody but root: it is
    /// not on the wire. None where that is not known, or not to be told.
    pub expense: Option<Money>,
}

impl UsageRecord {
    /// What it comes to by a price.
    pub fn bill(&self, price: &ModelPrice) -> CallBill {
        let used = BilledUsage {
            tokens: &self.tokens,
            images: &self.images,
            pieces: &self.sum.pieces(),
            tier: &self.tier,
        };
        // The calls of a batch stand in one record; whether their prompts were long is told by what they cost.
        if self.tier == price::BATCH_TIER {
            let longest = self.sum.above.map_or(0, |above| above.saturating_add(1));
            return bill::lines_of_many(price, &used, longest);
        }
        bill::lines(price, &used)
    }

    /// The further client key whose limit it counts for as well, if it was made with one.
    pub fn key_payer(&self) -> Option<PayerId> {
        self.client_key.map(|client_key| PayerId {
            account: self.account,
            client_key: Some(client_key),
        })
    }

    /// What it takes of the credit that was set aside for it: its cost, and what stays set aside.
    pub fn charge(&self) -> Money {
        let held = self.objects.as_ref().map(|objects| objects.held);
        self.cost.saturating_add(held.unwrap_or_default())
    }
}

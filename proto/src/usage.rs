//! How the usage of a call was determined, and the record that moves money exactly once.

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

/// How the tokens were determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageMeasure {
    /// The provider reported them, and the response was complete.
    Measured,
    /// The response ended early, or its data plane died. The tokens are those reported until then; a tokenizer counts
    /// the rest in the request and the delivered text.
    Partial,
    /// The provider reported nothing; a tokenizer counted the texts.
    Estimated,
}

impl UsageMeasure {
    /// The form that is stored and shown.
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

/// What happens to a call whose client leaves before its end. The provider charges for what it generates in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AbandonedPolicy {
    /// The response is read to its end, within bounds, and charged by the provider's own count.
    #[default]
    ReadOn,
    /// The call is cancelled at the provider as well, and the output that was not seen is estimated.
    Cancel,
    /// All that was reserved is charged.
    Hold,
}

impl AbandonedPolicy {
    /// All policies.
    pub const ALL: [Self; 3] = [Self::ReadOn, Self::Cancel, Self::Hold];

    /// The form that is set, stored and shown.
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
    /// Sequence in its data plane's spool, from 1.
    pub sequence: u64,
    /// The call's `x-request-id`.
    pub request_id: String,
    /// The account that pays.
    pub account: AccountId,
    /// The further client key of the call; `None` for the account's first.
    pub client_key: Option<ClientKeyId>,
    /// Request path without query.
    pub path: String,
    /// The requested model; empty if the client named none.
    pub model_asked: String,
    /// The model sent upstream, which is billed.
    pub model_used: String,
    /// Upstream key that served the call; `None` if every attempt failed.
    pub key: Option<KeyId>,
    /// Level of that key.
    pub level: Level,
    /// Attempts made upstream.
    pub tries: u32,
    /// HTTP status sent to the client.
    pub status: u16,
    /// Tokens by kind.
    pub tokens: TokenUsage,
    /// Images charged by the piece; empty if the price is by tokens.
    pub images: ImageUsage,
    /// The tier that served, as the response reports it; empty if it reports none.
    pub tier: String,
    /// The lines whose sum is the cost, before rates and factor.
    pub sum: CallBill,
    /// How the tokens were determined.
    pub measure: UsageMeasure,
    /// What the call costs, rates and factor applied, in the units of the account at that time. It is charged in the
    /// account's units at the time of posting.
    pub cost: Money,
    /// Whether a price was known.
    pub priced: bool,
    /// Version of the price table.
    pub price_version: String,
    /// The account's `Rates` at the time of pricing; `None` in records of older programs.
    pub rates: Option<Multiplier>,
    /// The account's `Factor` at the time of pricing.
    pub factor: Option<Multiplier>,
    /// When the request had been read.
    pub start: Millis,
    /// Milliseconds to the end of the response.
    pub duration_ms: u64,
    /// Milliseconds to the first byte of the response; 0 if there was none.
    pub first_byte_ms: u64,
    /// Whether the response was a stream of events.
    pub streamed: bool,
    /// What the call did with objects; `None` for most calls.
    pub objects: Option<Box<CallObjects>>,
    /// The tag that the client gave; may be empty.
    pub tag: String,
    /// What was done after the client left early; `None` if it stayed.
    pub abandoned: Option<AbandonedPolicy>,
    /// In the order in which they ended, if there were several or the only one failed. Otherwise empty: the rest of the
    /// record says as much, at no extra cost.
    pub attempts: Vec<Attempt>,
    /// What the call costs the operator. Control computes it when posting and shows it only to root: it is not on the
    /// wire. `None` if it is unknown, or must not be shown.
    pub expense: Option<Money>,
}

impl UsageRecord {
    /// The bill of the call at a price.
    pub fn bill(&self, price: &ModelPrice) -> CallBill {
        let used = BilledUsage {
            tokens: &self.tokens,
            images: &self.images,
            pieces: &self.sum.pieces(),
            tier: &self.tier,
        };
        // The calls of a batch share one record, so the recorded step shows whether their prompts were long.
        if self.tier == price::BATCH_TIER {
            let longest = self.sum.above.map_or(0, |above| above.saturating_add(1));
            return bill::lines_of_many(price, &used, longest);
        }
        bill::lines(price, &used)
    }

    /// The payer of the further client key, if the call was made with one.
    pub fn key_payer(&self) -> Option<PayerId> {
        self.client_key.map(|client_key| PayerId {
            account: self.account,
            client_key: Some(client_key),
        })
    }

    /// What it takes of the reserved credit: its cost, and the amount that stays reserved.
    pub fn charge(&self) -> Money {
        let held = self.objects.as_ref().map(|objects| objects.held);
        self.cost.saturating_add(held.unwrap_or_default())
    }
}

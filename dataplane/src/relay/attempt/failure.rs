//! Why an attempt failed, and what that means for the call and the key.

use std::sync::Arc;

use http::StatusCode;
use proxyxai_contract::{attempt::AttemptOutcome as RecordedOutcome, provider::BaseUrl};

use crate::{
    decide::connect_failure::ConnectFailure,
    formats::error_classifier::FaultVerdict,
    relay::{attempts::AttemptEnd, upstream_client::SendError},
    telemetry::AttemptResult,
};

/// Why an attempt failed, in a form that the client may see.
#[derive(Debug, Clone)]
pub(in crate::relay) struct AttemptFailure {
    /// The provider's status, or 502 or 504 if there was none.
    pub(in crate::relay) status: StatusCode,
    /// The provider's words, or what happened; without secrets.
    pub(in crate::relay) reason: String,
    pub(in crate::relay) verdict: FaultVerdict,
    /// What happened instead of a response; `None` if the provider said what is wrong.
    pub(in crate::relay) silence: Option<RecordedOutcome>,
    /// Why there was no connection, and to which host; for root alone.
    pub(in crate::relay) connect_failure: Option<(ConnectFailure, Arc<str>)>,
}

impl AttemptFailure {
    /// Whether a node above has seen the call before.
    pub(in crate::relay) fn is_loop(&self) -> bool {
        self.status == StatusCode::LOOP_DETECTED
    }

    /// The result under which it is counted.
    pub(super) const fn counted(&self) -> AttemptResult {
        match self.verdict {
            FaultVerdict::RetrySleepPair { .. } => AttemptResult::RateLimited,
            FaultVerdict::RetrySleepKey { .. } | FaultVerdict::RetryBlame => AttemptResult::Failed,
            FaultVerdict::RetryQuarantine | FaultVerdict::RetryDoubt => AttemptResult::Refused,
            FaultVerdict::RetryOnly | FaultVerdict::Deliver => AttemptResult::PassedOn,
        }
    }

    /// What it came to, for the record.
    pub(in crate::relay) fn end(&self) -> AttemptEnd {
        if let Some(silence) = self.silence {
            return AttemptEnd {
                outcome: silence,
                status: None,
            };
        }
        let outcome = match self.verdict {
            FaultVerdict::RetrySleepPair { .. } => RecordedOutcome::RateLimited,
            FaultVerdict::RetrySleepKey { .. } | FaultVerdict::RetryBlame => {
                RecordedOutcome::Failed
            }
            FaultVerdict::RetryQuarantine | FaultVerdict::RetryDoubt => RecordedOutcome::Refused,
            FaultVerdict::RetryOnly | FaultVerdict::Deliver => RecordedOutcome::PassedOn,
        };
        AttemptEnd {
            outcome,
            status: Some(self.status.as_u16()),
        }
    }

    /// Whether the same call may retry this key: the failure was momentary, or the provider said when to come back.
    pub(in crate::relay) fn may_pass(&self) -> bool {
        let hinted = match self.verdict {
            FaultVerdict::RetrySleepKey { hint_ms } | FaultVerdict::RetrySleepPair { hint_ms } => {
                hint_ms.is_some()
            }
            FaultVerdict::Deliver
            | FaultVerdict::RetryQuarantine
            | FaultVerdict::RetryDoubt
            | FaultVerdict::RetryBlame
            | FaultVerdict::RetryOnly => false,
        };
        hinted || matches!(self.status.as_u16(), 408 | 425)
    }

    /// Whether the call itself may be the cause.
    pub(in crate::relay) fn may_be_the_calls(&self) -> bool {
        self.verdict == FaultVerdict::RetryBlame
    }

    /// There was no response, perhaps because of the request.
    pub(in crate::relay) fn transport(status: StatusCode, reason: &str) -> Self {
        let silence = match status {
            StatusCode::GATEWAY_TIMEOUT => RecordedOutcome::TimedOut,
            _ => RecordedOutcome::Broken,
        };
        Self {
            status,
            reason: reason.to_owned(),
            verdict: FaultVerdict::RetryBlame,
            silence: Some(silence),
            connect_failure: None,
        }
    }

    /// No request reached the provider.
    pub(super) fn unreachable(reason: &str) -> Self {
        Self {
            status: StatusCode::BAD_GATEWAY,
            reason: reason.to_owned(),
            verdict: FaultVerdict::RetrySleepKey { hint_ms: None },
            silence: Some(RecordedOutcome::Unreached),
            connect_failure: None,
        }
    }

    pub(super) fn lost(lost: SendError, provider: &BaseUrl) -> Self {
        match lost {
            SendError::Unreachable(why) => Self {
                connect_failure: Some((why, provider.authority().as_str().into())),
                ..Self::unreachable("the provider cannot be reached")
            },
            SendError::Broken => {
                let reason = "the connection to the provider broke";
                Self::transport(StatusCode::BAD_GATEWAY, reason)
            }
        }
    }
}

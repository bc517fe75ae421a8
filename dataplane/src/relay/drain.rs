//! After a client has left: the little that is missing of an answer is read on, within bounds, when the
//! exact usage is in it. What is not near its end is not read on, for then everybody would pay for text
//! that nobody reads.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;

use super::{client::Reply, meter::Meter};
use crate::sight::Ending;

/// How much may be read on, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) bytes_max: u64,
    pub(super) wait: Duration,
}

/// What is left of an answer without a client.
pub(super) struct Left {
    pub(super) meter: Meter,
    /// Frames that have come and that nobody has heard.
    pub(super) unheard: VecDeque<Frame<Bytes>>,
    pub(super) rest: Reply,
}

impl Left {
    /// Closes the bill, after the end of the answer if that is near.
    pub(super) fn close(self, bounds: Bounds) {
        let within = bounds.bytes_max > 0 && self.rest.size_hint().lower() <= bounds.bytes_max;
        match Handle::try_current() {
            Ok(runtime) if within && self.meter.is_near_end() => {
                drop(runtime.spawn(self.read_on(bounds)));
            }
            Ok(_) | Err(_) => self.meter.finish(Ending::Abandoned),
        }
    }

    async fn read_on(mut self, bounds: Bounds) {
        let in_time = tokio::time::timeout(bounds.wait, self.hear(bounds.bytes_max)).await;
        self.meter.finish(in_time.unwrap_or(Ending::Abandoned));
    }

    async fn hear(&mut self, mut bytes_left: u64) -> Ending {
        while !self.meter.closed() {
            let frame = match self.unheard.pop_front() {
                Some(frame) => frame,
                None => match self.rest.frame().await {
                    Some(Ok(frame)) => frame,
                    Some(Err(_)) => return Ending::Abandoned,
                    None => break,
                },
            };
            let data = frame.into_data().unwrap_or_default();
            let Some(left) = bytes_left.checked_sub(data.len() as u64) else {
                return Ending::Abandoned;
            };
            bytes_left = left;
            self.meter.listen(&data, true);
        }
        Ending::Complete
    }
}

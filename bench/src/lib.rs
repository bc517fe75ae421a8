//! What the rig's programs share: the script a stream's model name spells, the loopback check and the clock both
//! ends of a stream read. No measuring and no HTTP here.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A stream longer than this is a typing error, not a measurement.
const CHUNKS_MAX: u32 = 10_000;
const GAP_MS_MAX: u64 = 1_000;

/// How many chunks a scripted stream has and how far apart they leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamScript {
    pub chunks: u32,
    pub gap: Duration,
}

impl StreamScript {
    /// Reads `mock-stream-50x5` as 50 chunks, 5 ms apart; any other name gets just that.
    #[must_use]
    pub fn from_model(model: &str) -> Self {
        Self::parse(model).unwrap_or(Self {
            chunks: 50,
            gap: Duration::from_millis(5),
        })
    }

    fn parse(model: &str) -> Option<Self> {
        let (chunks, gap_ms) = model.strip_prefix("mock-stream-")?.split_once('x')?;
        let (chunks, gap_ms) = (chunks.parse().ok()?, gap_ms.parse().ok()?);
        (chunks <= CHUNKS_MAX && gap_ms <= GAP_MS_MAX).then(|| Self {
            chunks,
            gap: Duration::from_millis(gap_ms),
        })
    }
}

/// The rig puts load on this machine alone.
///
/// # Errors
/// When `text` is no `IP:PORT` or not a loopback address.
pub fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|e| format!("{text}: {e}"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!("{address} is not a loopback address"))
    }
}

/// µs since the epoch: the one clock that both ends of a stream on one machine share.
#[must_use]
pub fn wall_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// One worker per core, as every target of the rig is set up.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_name_spells_its_stream() {
        let script = StreamScript::from_model("mock-stream-7x20");
        assert_eq!(
            script,
            StreamScript {
                chunks: 7,
                gap: Duration::from_millis(20)
            }
        );
        assert_eq!(StreamScript::from_model("gpt").chunks, 50);
        assert_eq!(
            StreamScript::from_model("mock-stream-99999999x5").chunks,
            50
        );
    }

    #[test]
    fn only_loopback_is_ever_loaded() {
        assert!(loopback("127.0.0.1:80").is_ok());
        assert!(loopback("[::1]:80").is_ok());
        for other in [
            "10.0.0.1:80",
            "0.0.0.0:80",
            "192.0.2.1:80",
            "example.com:80",
            "127.0.0.1",
        ] {
            assert!(loopback(other).is_err(), "{other}");
        }
    }
}

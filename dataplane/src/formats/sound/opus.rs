//! Packets of Opus, whose first bytes give their duration (RFC 6716, 3.1).

/// The duration of a packet; the format allows at most 120 ms.
pub(super) fn nanos(packet: &[u8]) -> u64 {
    const LONG: [u64; 4] = [10_000, 20_000, 40_000, 60_000];
    const SHORT: [u64; 4] = [2_500, 5_000, 10_000, 20_000];
    let Some(first) = packet.first() else {
        return 0;
    };
    let config = usize::from(first >> 3);
    let micros = match config {
        0..12 => LONG[config & 3],
        12..16 => LONG[config & 1],
        _ => SHORT[config & 3],
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => packet.get(1).map_or(0, |count| u64::from(count & 0x3F)),
    };
    (micros * frames).min(120_000) * 1_000
}

//! Finds the upstream's send times in a stream of server-sent events, however it was cut on its way. It knows the
//! chunks the mock upstream writes and no others.

use memchr::memmem;

/// Reads events as their bytes come in.
#[derive(Default)]
pub struct ChunkReader {
    carry: Vec<u8>,
    chunks: u32,
    done: bool,
}

impl ChunkReader {
    /// The send times, in µs, of the content chunks that these bytes complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u64> {
        self.carry.extend_from_slice(bytes);
        let mut stamps = Vec::new();
        let mut from = 0;
        while let Some(length) = self
            .carry
            .get(from..)
            .and_then(|rest| memmem::find(rest, b"\n\n"))
        {
            let event = self.carry.get(from..from + length).unwrap_or_default();
            from += length + 2;
            if event == b"data: [DONE]" {
                self.done = true;
            } else if let Some(at) = stamp(event) {
                self.chunks += 1;
                stamps.push(at);
            }
        }
        self.carry.drain(..from);
        stamps
    }

    /// Content chunks seen so far.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Whether the stream ended as it should.
    pub fn done(&self) -> bool {
        self.done
    }
}

/// The text of a chunk with content; a usage chunk, or one that only ends, is not one.
fn stamp(event: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"content\":";
    let text = event.get(memmem::find(event, KEY)? + KEY.len()..)?;
    let digits = text.trim_ascii_start().strip_prefix(b"\"")?;
    let end = digits
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(digits.len());
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_of_a_stream_gives_the_same_chunks() {
        let text = b"data: {\"choices\":[{\"delta\":{\"content\":\"11\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\": \"12\"}}]}\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"created\":0,\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n";
        for size in 1..=text.len() {
            let mut reader = ChunkReader::default();
            let stamps: Vec<u64> = text
                .chunks(size)
                .flat_map(|part| reader.feed(part))
                .collect();
            assert_eq!(
                (stamps, reader.chunks(), reader.done()),
                (vec![11, 12], 2, true),
                "cut every {size} bytes"
            );
        }
    }
}

//! Real files of every format, files with false claims, and bytes that are not files.

use std::time::Instant;

use proptest::prelude::*;

use super::*;

/// Files of 2.5 s made by tools, including the padding that these add; and one of 1 s.
const SAMPLES: [(&str, &[u8], u64, u64); 15] = [
    sample("bare.mp3", include_bytes!("samples/bare.mp3"), 2_500, 2_600),
    sample("xing.mp3", include_bytes!("samples/xing.mp3"), 2_500, 2_600),
    sample(
        "layer2.mpga",
        include_bytes!("samples/layer2.mpga"),
        2_500,
        2_550,
    ),
    sample(
        "stream.mpeg",
        include_bytes!("samples/stream.mpeg"),
        2_500,
        2_550,
    ),
    sample(
        "faststart.m4a",
        include_bytes!("samples/faststart.m4a"),
        2_500,
        2_630,
    ),
    sample(
        "fragmented.mp4",
        include_bytes!("samples/fragmented.mp4"),
        2_500,
        2_630,
    ),
    sample(
        "lossless.m4a",
        include_bytes!("samples/lossless.m4a"),
        2_500,
        2_500,
    ),
    sample(
        "piped.flac",
        include_bytes!("samples/piped.flac"),
        2_500,
        2_500,
    ),
    sample(
        "seekable.flac",
        include_bytes!("samples/seekable.flac"),
        2_500,
        2_500,
    ),
    sample("opus.ogg", include_bytes!("samples/opus.ogg"), 2_500, 2_540),
    sample(
        "vorbis.ogg",
        include_bytes!("samples/vorbis.ogg"),
        2_500,
        2_540,
    ),
    sample(
        "duration.webm",
        include_bytes!("samples/duration.webm"),
        2_500,
        2_540,
    ),
    sample(
        "live.webm",
        include_bytes!("samples/live.webm"),
        2_500,
        2_540,
    ),
    sample(
        "vorbis.webm",
        include_bytes!("samples/vorbis.webm"),
        2_480,
        2_540,
    ),
    sample(
        "mulaw.wav",
        include_bytes!("samples/mulaw.wav"),
        1_000,
        1_010,
    ),
];

const fn sample(
    name: &'static str,
    file: &'static [u8],
    least: u64,
    most: u64,
) -> (&'static str, &'static [u8], u64, u64) {
    (name, file, least, most)
}

fn named(name: &str) -> Vec<u8> {
    let found = SAMPLES.iter().find(|(other, ..)| *other == name);
    found.unwrap().1.to_vec()
}

/// The position after the first occurrence of these bytes.
fn after(file: &[u8], mark: &[u8]) -> usize {
    memchr::memmem::find(file, mark).unwrap() + mark.len()
}

#[test]
fn a_recording_in_any_form_is_as_long_as_it_sounds() {
    for (name, file, least, most) in SAMPLES {
        let told = length_ms(file).unwrap_or_default();
        assert!((least..=most).contains(&told), "{name}: {told} ms");
    }
}

#[test]
fn a_tag_before_a_recording_does_not_count() {
    let tag = [b"ID3\x04\0\0\0\0\x02\0".as_slice(), &[0xFF; 256]].concat();
    for (name, file, ..) in SAMPLES {
        let tagged = [tag.as_slice(), file].concat();
        assert_eq!(length_ms(&tagged), length_ms(file), "{name}");
    }
}

#[test]
fn a_file_that_says_to_be_short_is_as_long_as_what_is_in_it() {
    let mut all = Vec::new();
    // Each table claims next to nothing.
    let mut flac = named("seekable.flac");
    flac[21] &= 0xF0;
    flac[22..26].copy_from_slice(&[0, 0, 0, 1]);
    all.push(flac);
    let mut m4a = named("faststart.m4a");
    let at = after(&m4a, b"mdhd") + 16;
    m4a[at..at + 4].fill(0);
    let at = after(&m4a, b"elst") + 8;
    m4a[at..at + 4].fill(0);
    let at = after(&m4a, b"stts") + 8;
    m4a[at..at + 16].fill(0);
    all.push(m4a);
    let mut webm = named("duration.webm");
    let at = after(&webm, b"\x44\x89\x88");
    webm[at..at + 8].fill(0);
    // A block of track 1, and its time.
    for at in 0..webm.len() - 5 {
        if webm[at] == 0xA3 && webm[at + 2] == 0x81 {
            webm[at + 3..at + 5].fill(0);
        }
    }
    all.push(webm);
    for name in ["opus.ogg", "vorbis.ogg"] {
        let mut ogg = named(name);
        let pages: Vec<_> = memchr::memmem::find_iter(&ogg, b"OggS").collect();
        for at in pages {
            ogg[at + 6..at + 14].fill(0);
        }
        all.push(ogg);
    }
    for (at, file) in all.iter().enumerate() {
        let told = length_ms(file).unwrap_or_default();
        assert!((2_450..=2_640).contains(&told), "{at}: {told} ms");
    }
}

#[test]
fn a_file_says_no_more_than_one_of_its_size_can_hold() {
    let mut flac = named("seekable.flac");
    flac[21..26].fill(0xFF);
    let mut m4a = named("faststart.m4a");
    let at = after(&m4a, b"elst") + 8;
    m4a[at..at + 4].fill(0xFE);
    let mut webm = named("duration.webm");
    let at = after(&webm, b"\x44\x89\x88");
    webm[at..at + 8].copy_from_slice(&f64::MAX.to_be_bytes());
    for file in [flac, m4a, webm] {
        assert_eq!(
            length_ms(&file),
            Some(CLAIM_MS_PER_BYTE * file.len() as u64)
        );
    }
}

#[test]
fn recordings_that_follow_each_other_in_a_file_all_count() {
    for name in ["bare.mp3", "layer2.mpga", "opus.ogg", "vorbis.ogg"] {
        let file = named(name);
        let one = length_ms(&file).unwrap();
        let three = length_ms(&file.repeat(3)).unwrap();
        assert!(three.abs_diff(3 * one) < 10, "{name}: {three} ms");
    }
}

#[test]
fn what_is_no_recording_has_no_length() {
    let noise: Vec<u8> = (0..1 << 20)
        .map(|at: u32| at.wrapping_mul(2_654_435_761).to_be_bytes()[1])
        .collect();
    for file in [
        &b""[..],
        b"RIFF",
        b"{\"url\":\"https://example.com/a.mp3\"}",
        &noise,
    ] {
        assert_eq!(length_ms(file), None);
    }
}

/// Files whose every byte could begin something.
#[test]
fn no_file_takes_longer_than_its_bytes() {
    let words: [&[u8]; 16] = [
        b"\xff",
        b"\xff\xf8\xc9\x08\0\0",
        b"\xff\xf9",
        b"\xff\xf3\x14\xc4",
        b"\0\0\x01",
        b"\0\0\x01\xc0\0\x01",
        b"OggS\0\x02",
        b"OggS\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x07\x05vorbis",
        b"\x1f\x43\xb6\x75",
        b"\x1f\x43\xb6\x75\x80\xa3\x84\x81\0\0\0",
        b"\xae\x80\xd7\x81\x01\x83\x81\x02",
        b"\0\0\0\x08moov",
        b"\0\0\0\x08trak\0\0\0\x08stts",
        b"ID3\x04\0\0\0\0\0\0",
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
    ];
    let heads = SAMPLES.map(|(_, file, ..)| &file[..file.len().min(600)]);
    for head in heads.into_iter().chain([&b""[..]]) {
        for word in words {
            let mut file = head.to_vec();
            file.extend(word.iter().cycle().take(256 * 1024));
            let begun = Instant::now();
            let _: Option<u64> = length_ms(&file);
            let taken = begun.elapsed();
            // A hundredth of a large file, without optimization, on a busy machine.
            assert!(
                taken.as_millis() < 500,
                "{word:?} after {:?}: {taken:?}",
                &head[..head.len().min(12)]
            );
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail_badly(file in prop::collection::vec(any::<u8>(), 0..400)) {
        for magic in ["RIFF\0\0\0\0WAVE", "fLaC", "OggS", "\0\0\0\u{8}moov", "ID3", ""] {
            let _: Option<u64> = length_ms(&[magic.as_bytes(), &file].concat());
        }
        for magic in [&b"\x1a\x45\xdf\xa3"[..], b"\0\0\x01\xba", b"\xff\xf3\x14\xc4"] {
            let _: Option<u64> = length_ms(&[magic, &file].concat());
        }
    }

    #[test]
    fn a_file_that_was_tampered_with_stays_within_reason(
        at in 0..SAMPLES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut: prop::sample::Index,
    ) {
        let mut file = SAMPLES[at].1.to_vec();
        file.truncate(cut.index(file.len()) + 1);
        for (place, byte) in changes {
            let place = place.index(file.len());
            file[place] = byte;
        }
        let most = 120 * file.len() as u64;
        prop_assert!(length_ms(&file).unwrap_or_default() <= most);
    }
}

#[test]
fn speech_in_a_wave_file_is_counted_by_its_codec_whatever_the_file_says_of_its_rate() {
    // 8,000 bytes of sound at 8,000 samples per second.
    let file = |codec: u16, rate: u32| {
        let mut file = named("mulaw.wav");
        let format = after(&file, b"fmt ") + 4;
        file[format..format + 2].copy_from_slice(&codec.to_le_bytes());
        file[format + 4..format + 8].copy_from_slice(&rate.to_le_bytes());
        file
    };
    for (codec, least, most) in [
        (0x31, 4_900, 5_000),   // GSM, 13 kbit/s
        (0x42, 11_900, 12_100), // G.723.1, 5.3 kbit/s
        (0x57, 12_200, 12_500), // AMR, 5.2 kbit/s
        (0x58, 8_800, 9_000),   // AMR-WB, 7.2 kbit/s
    ] {
        for rate in [16_000, 384_000] {
            let told = length_ms(&file(codec, rate)).unwrap();
            assert!((least..=most).contains(&told), "{codec:#x}: {told} ms");
        }
    }
    assert_eq!(length_ms(&file(0x31, 100)), None);
    // No longer than the reservation for this many bytes.
    let longest = 2 * u64::try_from(file(0xA109, 8_000).len()).unwrap();
    assert!(length_ms(&file(0xA109, 8_000)).unwrap() <= longest);
    // An extensible format names its codec later.
    let mut extensible = file(0xFFFE, 8_000);
    let format = after(&extensible, b"fmt ");
    extensible[format..format + 4].copy_from_slice(&40u32.to_le_bytes());
    let after_sixteen = format + 4 + 16;
    let had = u32::from_le_bytes(file(0xFFFE, 8_000)[format..format + 4].try_into().unwrap());
    let old_end = format + 4 + usize::try_from(had).unwrap();
    let mut subformat = [0; 24];
    subformat[8..10].copy_from_slice(&0x31u16.to_le_bytes());
    extensible.splice(after_sixteen..old_end, subformat);
    assert!((4_900..=5_000).contains(&length_ms(&extensible).unwrap()));
    // For an unknown codec nothing can be counted.
    assert_eq!(length_ms(&file(0x2001, 8_000)), None);
}

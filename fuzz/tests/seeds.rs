//! The laws on the committed seeds, which needs neither nightly Rust nor cargo-fuzz.

use std::{fs, path::Path};

type Law = fn(&[u8]);

/// Recordings are many kilobytes, so their reader's own samples are the seeds of its target.
const RECORDINGS: &str = "../dataplane/src/formats/sound/samples";

const LAWS: [(&str, Law); 10] = [
    ("answer", proxyxai_fuzz::answer),
    ("fault", proxyxai_fuzz::fault),
    ("headers", proxyxai_fuzz::headers),
    ("prices", proxyxai_fuzz::prices),
    ("recording", proxyxai_fuzz::recording),
    ("records", proxyxai_fuzz::records),
    ("request", proxyxai_fuzz::request),
    ("rest", proxyxai_fuzz::rest),
    ("rules", proxyxai_fuzz::rules),
    ("stream", proxyxai_fuzz::stream),
];

#[test]
fn every_law_holds_on_its_seeds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (target, law) in LAWS {
        let folder = match target {
            "recording" => Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDINGS),
            _ => seeds.join(target),
        };
        let mut count = 0;
        for seed in fs::read_dir(folder).expect("each target has seeds") {
            let path = seed.expect("a folder that can be read").path();
            // Shown when the law is broken.
            println!("{}", path.display());
            law(&fs::read(&path).expect("a seed that can be read"));
            count += 1;
        }
        assert!(count > 0, "{target} has no seeds");
    }
}

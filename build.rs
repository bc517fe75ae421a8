//! Compiles `proto/` with protox, so that no `protoc` is needed, and writes the descriptor set
//! that server reflection answers from.

use std::{env, error::Error, fs, path::Path};

use prost::Message as _;

const FILES: [&str; 7] = [
    "types", "keys", "accounts", "settings", "reports", "news", "fleet",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/proxyxai");
    let files = FILES.map(|name| format!("proxyxai/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    let out = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    fs::write(
        Path::new(&out).join("descriptors.bin"),
        descriptors.encode_to_vec(),
    )?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}

//! Puts the pages and the documentation into the program; a debug build reads them from the tree at each request.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let out = Path::new(&out);
    let embed = !cfg!(debug_assertions);
    let mut lists = Vec::new();
    for name in ["pages", "docs"] {
        let folder = fs::canonicalize(Path::new("..").join(name))?;
        let label = folder.to_string_lossy();
        println!("cargo::rerun-if-changed={label}");
        // The library's own function for this tells of each file in a warning.
        let assets = memory_serve::assets_to_code(&label, &folder, out, embed, |_| ());
        lists.push(format!("(\"{name}\", {assets})"));
    }
    let code = format!("&[{}]", lists.join(","));
    fs::write(out.join("memory_serve_assets.rs"), code)
}

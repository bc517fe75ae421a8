//! The name by which control knows a data plane.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;
use proxyxai_contract::id::NodeName;

use crate::config::Config;

/// The configured name, or one that is generated once and kept. It must not change while usage under it may still be
/// spooled, and no two nodes of a cascade may share one.
pub(super) fn node_name(config: &Config) -> anyhow::Result<NodeName> {
    if let Some(name) = &config.node_name {
        return Ok(name.clone());
    }
    let path = config.data_dir.join("node.name");
    match fs::read_to_string(&path) {
        Ok(kept) => {
            return NodeName::new(kept.trim())
                .with_context(|| format!("{} is damaged", path.display()));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", path.display()));
        }
    }
    let name = NodeName::new(&format!("node-{:08x}", fastrand::u32(..)))?;
    write_new(&path, name.as_str())?;
    Ok(name)
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    writeln!(file, "{text}")?;
    Ok(file.sync_all()?)
}

//! `proxyxai healthcheck`: asks the gateway on this machine whether it serves. For container images
//! that have no curl.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, bail};

const PATIENCE: Duration = Duration::from_secs(3);

/// Succeeds if `/healthz` at this address returns 200.
pub(crate) fn run(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("{address} does not listen"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut head = [0u8; 12];
    stream.read_exact(&mut head).context("no answer")?;
    if &head != b"HTTP/1.1 200" {
        bail!("{address} answered {:?}", String::from_utf8_lossy(&head));
    }
    Ok(())
}

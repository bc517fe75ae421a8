//! Fetches public price lists.

use std::time::Duration;

use futures_util::StreamExt as _;
use proxyxai_contract::Invalid;
use reqwest::redirect;

use crate::domain::price_list;

/// For the whole request, including the body.
const TIMEOUT_MS: u64 = 30_000;
const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// The largest known list has 4 MiB.
const LIST_BYTES_MAX: usize = 64 * 1024 * 1024;
const REDIRECTS_MAX: usize = 3;

/// Reads a list within the limits on size and time.
///
/// # Errors
/// Says why there is no list.
pub async fn fetch(address: &str) -> Result<String, Invalid> {
    price_list::check(address)?;
    // Only the first caller in the process can install it; all install the same one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let follow = redirect::Policy::custom(|attempt| {
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("too many redirects")
        } else if price_list::check(attempt.url().as_str()).is_ok() {
            attempt.follow()
        } else {
            attempt.error("a redirect leads to where no list may be")
        }
    });
    let client = reqwest::Client::builder()
        .timeout(Duration::from_millis(TIMEOUT_MS))
        .connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
        .redirect(follow)
        .build()
        .map_err(|error| problem(&format!("cannot be fetched: {error}")))?;
    // The client's errors repeat the address, which the caller knows already.
    let failed = |error: reqwest::Error| {
        let why = error.without_url();
        problem(&format!("cannot be fetched: {why}"))
    };
    let answer = client.get(address.trim()).send().await.map_err(failed)?;
    let status = answer.status();
    if !status.is_success() {
        return Err(problem(&format!("cannot be fetched: status {status}")));
    }
    let mut body = Vec::new();
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(failed)?);
        if body.len() > LIST_BYTES_MAX {
            return Err(problem("has more than 64 MiB"));
        }
    }
    String::from_utf8(body).map_err(|_| problem("is no text"))
}

fn problem(text: &str) -> Invalid {
    Invalid::new("list", text)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Serves one response with these bytes.
    async fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        format!("http://{address}/list.json")
    }

    #[tokio::test]
    async fn what_is_answered_is_read_and_what_is_refused_is_told() {
        let good = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        assert_eq!(fetch(&good).await, Ok("{}".to_owned()));
        for (answer, why) in [
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "404"),
            (
                "HTTP/1.1 302 Found\r\nlocation: http://lists.example/\r\ncontent-length: 0\r\n\r\n",
                "cannot be fetched",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
                "cannot be fetched",
            ),
        ] {
            let problem = fetch(&server(answer).await).await.unwrap_err().problem;
            assert!(problem.contains(why), "{problem}");
            assert!(!problem.contains("127.0.0.1"), "{problem}");
        }
    }
}

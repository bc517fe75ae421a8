//! Refusals of providers: whose fault they are, and how long to wait.

use proxyxai_contract::clock::Millis;

use crate::formats::{
    error_classifier::{
        ClassifiedRefusal, FaultVerdict, UpstreamRefusal, classify, classify_embedded,
    },
    first_event::error_instead,
};

/// 2026-11-22.
const NOW: Millis = Millis(1_795_305_600_000);
const HOUR_MS: i64 = 3_600_000;
const REASON_CHARS_MAX: usize = 120;

/// Two bytes of a status, lines of headers up to an empty one, then the body.
pub fn fault(input: &[u8]) {
    let [high, low, rest @ ..] = input else {
        return;
    };
    let status = u16::from_be_bytes([*high, *low]) % 1000;
    let (head, body) = head_and_body(rest);
    let headers: Vec<_> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let header = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| *value)
    };
    let asked = |body| UpstreamRefusal {
        status,
        body,
        of_model: status.is_multiple_of(2),
    };
    let judged = classify(asked(body), &header, NOW);
    is_fit_to_tell(&judged);
    match status {
        ..=399 | 405..=407 | 409..=411 | 413..=424 => {
            assert_eq!(judged.verdict, FaultVerdict::Deliver)
        }
        402 | 500..=507 => assert_ne!(judged.verdict, FaultVerdict::Deliver),
        _ => {}
    }
    // How many blanks stand behind a body is nobody's word.
    let spaced = [body, b"  \n"].concat();
    assert_eq!(classify(asked(&spaced), &header, NOW), judged);
    if let Some((status, judged)) = classify_embedded(&header, body, NOW) {
        assert_ne!(judged.verdict, FaultVerdict::Deliver);
        assert!((400..600).contains(&status));
        is_fit_to_tell(&judged);
    }
    let _is_error = error_instead(body);
}

fn head_and_body(bytes: &[u8]) -> (&str, &[u8]) {
    let end = bytes.windows(2).position(|two| two == b"\n\n");
    let (head, body) = bytes.split_at(end.unwrap_or_default());
    let body = if end.is_some() { &body[2..] } else { body };
    (std::str::from_utf8(head).unwrap_or_default(), body)
}

fn is_fit_to_tell(judged: &ClassifiedRefusal) {
    let ClassifiedRefusal { verdict, reason } = judged;
    assert!(
        !reason.is_empty() && reason.chars().count() <= REASON_CHARS_MAX,
        "{reason}"
    );
    assert!(!reason.chars().any(char::is_control), "{reason}");
    assert!(reason.starts_with("the provider"), "{reason}");
    match verdict {
        FaultVerdict::RetrySleepKey { hint_ms } | FaultVerdict::RetrySleepPair { hint_ms } => {
            assert!(
                hint_ms.is_none_or(|ms| (1..=HOUR_MS).contains(&ms)),
                "{hint_ms:?}"
            );
        }
        FaultVerdict::Deliver
        | FaultVerdict::RetryQuarantine
        | FaultVerdict::RetryDoubt
        | FaultVerdict::RetryBlame
        | FaultVerdict::RetryOnly => {}
    }
}

//! Rules of classification: what statuses mean, whose words count, and how long to wait.

mod texts;

use proptest::prelude::*;

use super::*;

/// 2025-01-01 00:00:00 UTC.
const NOW: Millis = Millis(1_735_689_600_000);

fn judged(status: u16, headers: &[(&str, &'static str)], body: &str) -> FaultVerdict {
    let header = |name: &str| {
        headers
            .iter()
            .find(|(wanted, _)| *wanted == name)
            .map(|(_, value)| *value)
    };
    classify(asked(status, body.as_bytes()), &header, NOW).verdict
}

fn asked(status: u16, body: &[u8]) -> UpstreamRefusal<'_> {
    UpstreamRefusal {
        status,
        body,
        of_model: true,
    }
}

fn hint(headers: &[(&str, &'static str)], body: &str) -> Option<i64> {
    match judged(429, headers, body) {
        FaultVerdict::RetrySleepPair { hint_ms } => hint_ms,
        other => panic!("{other:?}"),
    }
}

#[test]
fn statuses_mean_what_the_decisions_say() {
    let hint_ms = None;
    for (status, verdict) in [
        (200, FaultVerdict::Deliver),
        (400, FaultVerdict::Deliver),
        (404, FaultVerdict::Deliver),
        (409, FaultVerdict::Deliver),
        (422, FaultVerdict::Deliver),
        (403, FaultVerdict::Deliver),
        (401, FaultVerdict::RetryDoubt),
        (402, FaultVerdict::RetryQuarantine),
        (408, FaultVerdict::RetryOnly),
        (425, FaultVerdict::RetryOnly),
        (429, FaultVerdict::RetrySleepPair { hint_ms }),
        (500, FaultVerdict::RetryBlame),
        (502, FaultVerdict::RetryBlame),
        (504, FaultVerdict::RetryBlame),
        (503, FaultVerdict::RetrySleepKey { hint_ms }),
        (520, FaultVerdict::RetryBlame),
        (522, FaultVerdict::RetrySleepKey { hint_ms }),
        (529, FaultVerdict::RetrySleepKey { hint_ms }),
    ] {
        assert_eq!(judged(status, &[], ""), verdict, "{status}");
    }
}

#[test]
fn an_error_within_an_answer_is_judged_by_what_it_calls_itself() {
    let hint_ms = None;
    let (pair, key) = (
        FaultVerdict::RetrySleepPair { hint_ms },
        FaultVerdict::RetrySleepKey { hint_ms },
    );
    for (error, expected) in [
        (
            r#"{"error":{"type":"server_error","message":"m"}}"#,
            Some((500, FaultVerdict::RetryBlame)),
        ),
        (
            r#"{"code":"server_error","message":"m"}"#,
            Some((500, FaultVerdict::RetryBlame)),
        ),
        (
            r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
            Some((529, key)),
        ),
        (
            r#"{"error":{"code":502,"message":"Provider returned error"}}"#,
            Some((502, FaultVerdict::RetryBlame)),
        ),
        (
            r#"{"error":{"code":"rate_limit_exceeded","type":"requests"}}"#,
            Some((429, pair)),
        ),
        (
            r#"{"type":"error","error":{"type":"rate_limit_error"}}"#,
            Some((429, pair)),
        ),
        (
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}"#,
            Some((429, pair)),
        ),
        (
            r#"{"error":{"code":"insufficient_quota"}}"#,
            Some((402, FaultVerdict::RetryQuarantine)),
        ),
        (
            r#"{"error":{"type":"invalid_request_error","code":"invalid_api_key"}}"#,
            Some((401, FaultVerdict::RetryQuarantine)),
        ),
        (
            r#"{"error":{"type":"authentication_error"}}"#,
            Some((401, FaultVerdict::RetryDoubt)),
        ),
        // The client's own fault, or unknown.
        (
            r#"{"error":{"type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            None,
        ),
        (r#"{"error":{"code":400,"type":"server_error"}}"#, None),
        (
            r#"{"error":{"type":"permission_error","message":"not for you"}}"#,
            None,
        ),
        (r#"{"error":{"code":"invalid_prompt"}}"#, None),
        (r#"{"error":"server_error happened"}"#, None),
        (r#"{"error":{"message":"server_error"}}"#, None),
        ("", None),
    ] {
        let judged = classify_embedded(&|_| None, error.as_bytes(), NOW);
        let judged = judged.map(|(status, refused)| (status, refused.verdict));
        assert_eq!(judged, expected, "{error}");
    }
    let limited =
        br#"{"error":{"code":"rate_limit_exceeded","message":"Please try again in 2s."}}"#;
    let (_, refused) = classify_embedded(&|_| None, limited, NOW).unwrap();
    let hint_ms = Some(2000);
    assert_eq!(refused.verdict, FaultVerdict::RetrySleepPair { hint_ms });
}

#[test]
fn a_403_counts_against_the_key_only_when_it_speaks_of_it() {
    for body in [
        r#"{"error":{"message":"x","type":"invalid_request_error","code":"account_deactivated"}}"#,
        r#"[{"error":{"code":403,"message":"Permission denied: Consumer 'x' has been suspended.","status":"PERMISSION_DENIED","details":[{"reason":"CONSUMER_SUSPENDED"}]}}]"#,
        r#"{"code":"x","error":"Your newly created teams doesn't have any credits yet."}"#,
        r#"{"error":{"message":"Insufficient Balance","code":null}}"#,
        r#"{"code":"Arrearage","message":"Access denied, please make sure your account is in good standing."}"#,
        "The API key is invalid.",
    ] {
        assert_eq!(
            judged(403, &[], body),
            FaultVerdict::RetryQuarantine,
            "{body}"
        );
    }
    for body in [
        r#"{"error":{"message":"Country, region, or territory not supported","code":"unsupported_country_region_territory"}}"#,
        r#"{"error":{"message":"Project `p` does not have access to model `m`","code":"model_not_found"}}"#,
        r#"{"error":{"message":"Your input was flagged","metadata":{"flagged_input":"invalid_api_key insufficient balance"}}}"#,
        "<html>the API key is invalid</html>",
        "{",
    ] {
        assert_eq!(judged(403, &[], body), FaultVerdict::Deliver, "{body}");
    }
}

#[test]
fn a_429_for_lack_of_funds_is_no_rate_limit() {
    let openai = r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    assert_eq!(
        judged(429, &[("retry-after", "5")], openai),
        FaultVerdict::RetryQuarantine
    );
    // Elsewhere the same sentence is only a rate limit.
    let gemini = r#"[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details. Please retry in 12.5s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"x","retryDelay":"12s"}]}}]"#;
    assert_eq!(hint(&[], gemini), Some(12_000));
    assert_eq!(
        hint(
            &[],
            r#"{"error":{"message":"Rate limit reached for your api key, which is restricted"}}"#
        ),
        None
    );
}

#[test]
fn a_400_counts_against_the_key_only_by_its_code_or_how_it_begins() {
    for body in [
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}}"#,
        r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}]"#,
    ] {
        assert_eq!(
            judged(400, &[], body),
            FaultVerdict::RetryQuarantine,
            "{body}"
        );
    }
    for body in [
        r#"{"error":{"message":"Invalid value: 'your credit balance is too low'","code":"invalid_value"}}"#,
        r#"{"error":{"message":"unknown field 'api key not valid'"}}"#,
    ] {
        assert_eq!(judged(400, &[], body), FaultVerdict::Deliver, "{body}");
    }
}

#[test]
fn a_cascades_refusal_lets_the_key_sleep() {
    let mark = ("x-proxyxai-refusal", "insufficient_quota");
    assert_eq!(
        judged(402, &[mark], ""),
        FaultVerdict::RetrySleepKey { hint_ms: None }
    );
    assert_eq!(
        judged(429, &[mark, ("retry-after", "3")], ""),
        FaultVerdict::RetrySleepKey {
            hint_ms: Some(3000)
        }
    );
    assert_eq!(judged(400, &[mark], ""), FaultVerdict::Deliver);
}

type HeaderFields = &'static [(&'static str, &'static str)];

const IN_HEADERS: &[(HeaderFields, Option<i64>)] = &[
    (&[("retry-after", "7")], Some(7000)),
    (&[("retry-after", "0.5")], Some(500)),
    (
        &[("retry-after", "Wed, 01 Jan 2025 00:00:20 GMT")],
        Some(20_000),
    ),
    (&[("retry-after", "Tue, 31 Dec 2024 00:00:20 GMT")], None),
    (&[("retry-after", "0")], None),
    (&[("retry-after", "soon")], None),
    (&[("retry-after", "-5")], None),
    (&[("retry-after", "999999")], Some(3_600_000)),
    (
        &[("retry-after-ms", "250"), ("retry-after", "1")],
        Some(250),
    ),
    (&[("x-ratelimit-reset-requests", "6m0s")], Some(360_000)),
    (
        &[
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-reset-tokens", "20ms"),
        ],
        Some(1000),
    ),
    (
        &[
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-requests", "10"),
            ("x-ratelimit-reset-tokens", "20ms"),
            ("x-ratelimit-remaining-tokens", "0"),
        ],
        Some(20),
    ),
    (&[("x-ratelimit-reset-tokens", "1735689605")], Some(5000)),
    (
        &[("anthropic-ratelimit-requests-reset", "2025-01-01T00:00:30Z")],
        Some(30_000),
    ),
    (
        &[
            ("anthropic-ratelimit-unified-status", "rejected"),
            ("anthropic-ratelimit-unified-reset", "1735689660"),
            ("anthropic-ratelimit-unified-7d-status", "allowed"),
            ("anthropic-ratelimit-unified-7d-reset", "1735699660"),
        ],
        Some(60_000),
    ),
    (
        &[("anthropic-ratelimit-unified-7d-reset", "1735699660")],
        None,
    ),
    (&[("x-ms-retry-after-ms", "700")], Some(700)),
    (
        &[
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1735689660000"),
        ],
        Some(60_000),
    ),
];

const IN_BODIES: &[(&str, Option<i64>)] = &[
    (
        r#"{"error":{"message":"Rate limit reached. Please try again in 1.2s."}}"#,
        Some(1200),
    ),
    (
        r#"{"error":{"message":"Please try again in 20ms."}}"#,
        Some(20),
    ),
    (
        r#"{"error":{"message":"Please try again in 6m0s."}}"#,
        Some(360_000),
    ),
    (
        r#"{"error":{"message":"Please retry after 10 seconds."}}"#,
        Some(10_000),
    ),
    (r#"{"details":[{"retryDelay": "3.5s"}]}"#, Some(3500)),
    (
        r#"{"error":{"type":"usage_rate","resets_at":1735689660,"resets_in_seconds":60}}"#,
        Some(60_000),
    ),
    (r#"{"error":{"retry_after_ms":1500}}"#, Some(1500)),
    (
        r#"{"error":{"metadata":{"headers":{"X-RateLimit-Reset":"1735689660000"}}}}"#,
        Some(60_000),
    ),
    (
        r#"{"error":{"message":"Limit reached, resets at 2025-01-01T00:05:00Z (x)"}}"#,
        Some(300_000),
    ),
    (
        r#"{"error":{"message":"Your limit will reset at 2025-01-01 00:05:00"}}"#,
        Some(300_000),
    ),
    (
        "You will regain access on 2025-01-01 at 00:30 UTC.",
        Some(1_800_000),
    ),
    ("您的限额将在 2025-01-01 00:05:00 重置", Some(300_000)),
    (
        r#"{"error":{"message":"\u60a8\u7684\u9650\u989d\u5c06\u5728 2025-01-01 00:05:00 \u91cd\u7f6e"}}"#,
        Some(300_000),
    ),
    ("please wait 20 seconds", Some(20_000)),
    ("try again in a while", None),
    ("try again in ", None),
];

#[test]
fn the_wait_is_found_wherever_it_is_said() {
    for (headers, wait) in IN_HEADERS {
        assert_eq!(hint(headers, ""), *wait, "{headers:?}");
    }
    for (body, wait) in IN_BODIES {
        assert_eq!(hint(&[], body), *wait, "{body}");
    }
}

proptest! {
    #[test]
    fn reasons_are_short_and_quote_nobody(status in 100u16..1000, secret in "sk-[a-zA-Z0-9]{20,48}", code in "[a-z_]{0,20}") {
        let body = format!(r#"{{"error":{{"message":"Incorrect API key provided: {secret}","code":"{code}{secret}"}}}}"#);
        let refused = classify(asked(status, body.as_bytes()), &|_| None, NOW);
        prop_assert!(!refused.reason.contains(&secret));
        prop_assert!(refused.reason.len() <= 120);
        prop_assert!(refused.reason.chars().all(|char| char.is_ascii_graphic() || char == ' '));
    }

    #[test]
    fn waits_are_bounded_whatever_is_said(text in "[0-9a-zA-Z:., -]{0,30}", body in any::<String>()) {
        let header = |_: &str| Some(text.as_str());
        let refusal = hint::RefusalText {
            body: body.as_bytes(),
            message: &body,
        };
        if let Some(ms) = hint::hint_ms(&TABLE.hints, &header, refusal, NOW) {
            prop_assert!(ms > 0 && ms <= 3_600_000);
        }
    }
}

#[test]
fn a_refusal_that_quotes_the_client_says_nothing_of_the_key() {
    let body = br#"{"error":{"message":"The model \"api key invalid\" is not allowed","type":"permission_error","code":"model_not_allowed"}}"#;
    assert_eq!(
        classify(asked(403, body), &|_| None, Millis(0)).verdict,
        FaultVerdict::Deliver
    );
}

#[test]
fn a_loop_is_not_the_keys_fault() {
    assert_eq!(
        classify(asked(508, b""), &|_| None, Millis(0)).verdict,
        FaultVerdict::RetryOnly
    );
}

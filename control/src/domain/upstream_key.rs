//! Rules of upstream keys: valid secrets, provider filters, and health from several reports. Whether a provider accepts
//! a key is not known here.

use proxyxai_contract::{
    Invalid,
    clock::Millis,
    provider::BaseUrl,
    secret::Secret,
    snapshot::{HealthState, KeyHealthReport},
};

use crate::model::UpstreamKey;

const SECRET_CHARS_MIN: usize = 20;
/// It is sent in a header; servers commonly limit all headers together to 8 KiB.
const SECRET_BYTES_MAX: usize = 4096;

/// Checks that a secret can be a provider's credential. The error never contains it.
pub(crate) fn check_secret(secret: &Secret) -> Result<(), Invalid> {
    let bad = |problem: String| Err(Invalid::new("SecretKey", problem));
    let clear = secret.expose();
    if !clear.bytes().all(|byte| byte.is_ascii_graphic()) {
        return bad("must be visible ASCII characters without spaces".to_owned());
    }
    if clear.len() < SECRET_CHARS_MIN {
        return bad(format!("must have at least {SECRET_CHARS_MIN} characters"));
    }
    if clear.len() > SECRET_BYTES_MAX {
        return bad(format!("must have at most {SECRET_BYTES_MAX} characters"));
    }
    Ok(())
}

/// Whether a filter matches a provider: its host name, or a prefix of its URL that ends between segments, with or
/// without the scheme. An empty filter matches all.
pub(crate) fn host_matches(provider: &BaseUrl, filter: &str) -> bool {
    let filter = filter.trim().trim_end_matches('/').to_ascii_lowercase();
    if filter.is_empty() || provider.host().eq_ignore_ascii_case(&filter) {
        return true;
    }
    let text = provider.text().to_ascii_lowercase();
    let without_scheme = text
        .split_once("://")
        .map_or(text.as_str(), |(_, rest)| rest);
    [text.as_str(), without_scheme].iter().any(|text| {
        text.strip_prefix(filter.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Whether a search finds a key: its name or one of its models begins like this in any case, or this is its id.
pub(crate) fn is_found(key: &UpstreamKey, text: &str) -> bool {
    let text = text.trim().to_lowercase();
    let begins = |name: &str| name.to_lowercase().starts_with(&text);
    begins(&key.name)
        || key.id.to_string() == text
        || key.config.models.iter().any(|model| begins(model))
}

/// The worst state reported for a key as a whole, with its reason. Reports on single models are ignored. A cool-down
/// that is over counts as ready; a quarantine ends only by a new report.
pub(crate) fn worst<'a>(
    reports: impl IntoIterator<Item = &'a KeyHealthReport>,
    now: Millis,
) -> (HealthState, &'a str) {
    reports
        .into_iter()
        .filter(|report| report.model.is_none())
        .map(|report| (report.state, report.reason.as_str()))
        .filter(|(state, _)| !is_over(*state, now))
        .max_by_key(|(state, _)| rank(*state))
        .unwrap_or((HealthState::Ready, ""))
}

fn is_over(state: HealthState, now: Millis) -> bool {
    match state {
        HealthState::Ready => true,
        HealthState::Sleeping { until } => until <= now,
        HealthState::Quarantined { .. } | HealthState::Disabled => false,
    }
}

/// Worse states rank higher; of two equal states, the one that lasts longer.
fn rank(state: HealthState) -> (u8, Millis) {
    match state {
        HealthState::Ready => (0, Millis(0)),
        HealthState::Sleeping { until } => (1, until),
        HealthState::Quarantined { until } => (2, until),
        HealthState::Disabled => (3, Millis(0)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxyxai_contract::id::KeyId;

    use super::*;

    const NOW: Millis = Millis(1_000);

    #[test]
    fn a_secret_is_20_to_4096_visible_characters() {
        let check = |text: &str| check_secret(&Secret::new(text));
        assert!(check("sk-12345678901234567").is_ok());
        assert!(check(&"k".repeat(4096)).is_ok());
        for bad in [
            "",
            "sk-1234567890123456",
            "sk-1234567890 1234567890",
            "sk-1234567890123456789\n",
            "sk-12345678901234567é",
            &"k".repeat(4097),
        ] {
            let error = check(bad).unwrap_err();
            assert_eq!(error.field, "SecretKey");
            assert!(bad.is_empty() || !error.to_string().contains(bad));
        }
    }

    #[test]
    fn a_provider_answers_to_its_host_and_to_the_beginning_of_its_url() {
        let provider = BaseUrl::parse("https://API.example.com:8443/openai/v1").unwrap();
        for good in [
            "",
            "api.example.com",
            "API.EXAMPLE.COM",
            "api.example.com:8443",
            "https://api.example.com:8443",
            "https://api.example.com:8443/openai/",
            "api.example.com:8443/openai/v1",
        ] {
            assert!(host_matches(&provider, good), "{good}");
        }
        for bad in [
            "example.com",
            "api.example.co",
            "api.example.com:844",
            "http://api.example.com:8443",
            "https://api.example.com:8443/open",
            "https://api.example.com:8443/openai/v1/x",
            "openai",
        ] {
            assert!(!host_matches(&provider, bad), "{bad}");
        }
    }

    fn report(state: HealthState, reason: &str) -> KeyHealthReport {
        KeyHealthReport {
            key: KeyId::new(1).unwrap(),
            model: None,
            state,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn the_worst_report_of_the_key_as_a_whole_counts() {
        let until = |ms| Millis(ms);
        let of_a_model = KeyHealthReport {
            model: Some("m".to_owned()),
            ..report(HealthState::Disabled, "model")
        };
        let ready = report(HealthState::Ready, "");
        let slept = report(HealthState::Sleeping { until: NOW }, "slept");
        let short = report(
            HealthState::Sleeping {
                until: until(1_001),
            },
            "short",
        );
        let long = report(
            HealthState::Sleeping {
                until: until(2_000),
            },
            "long",
        );
        let quarantined = report(HealthState::Quarantined { until: until(1) }, "401");
        let disabled = report(HealthState::Disabled, "gone");

        assert_eq!(worst([], NOW), (HealthState::Ready, ""));
        assert_eq!(
            worst([&of_a_model, &slept, &ready], NOW).0,
            HealthState::Ready
        );
        assert_eq!(worst([&long, &short, &ready], NOW).1, "long");
        assert_eq!(worst([&long, &quarantined], NOW).1, "401");
        assert_eq!(worst([&quarantined, &disabled, &long], NOW).1, "gone");
    }

    fn any_state() -> impl Strategy<Value = HealthState> {
        prop_oneof![
            Just(HealthState::Ready),
            (0i64..2_000).prop_map(|ms| HealthState::Sleeping { until: Millis(ms) }),
            (0i64..2_000).prop_map(|ms| HealthState::Quarantined { until: Millis(ms) }),
            Just(HealthState::Disabled),
        ]
    }

    proptest! {
        #[test]
        fn the_order_of_reports_does_not_matter(states in prop::collection::vec(any_state(), 0..8)) {
            let reports: Vec<_> = states.into_iter().map(|state| report(state, "")).collect();
            prop_assert_eq!(worst(&reports, NOW), worst(reports.iter().rev(), NOW));
        }
    }
}

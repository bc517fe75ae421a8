//! Rules of news: content, days shown, and readers.

use proxyxai_contract::{Invalid, clock::Millis};

use super::account::check_text;
use crate::model::{NewsDraft, NewsScope};

const TITLE_BYTES_MAX: usize = 200;
const CONTENT_BYTES_MAX: usize = 10_000;
const DAYS_MAX: i64 = 365;
const DAYS_SYSTEM: i64 = 7;
const DAYS_TARGET: i64 = 32;
const DAY_MS: i64 = 86_400_000;
/// How many items of each kind are shown.
pub(crate) const SHOWN_MAX: u64 = 8;
/// Live news of one scope. A hundred are more than people read to the end.
pub(crate) const LIVE_MAX: u64 = 100;

/// News that passed the checks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CheckedNews {
    pub(crate) title: String,
    pub(crate) content: String,
    pub(crate) expires: Millis,
}

/// Checks title, content and days.
///
/// # Errors
/// Names the field that cannot be used.
pub(crate) fn check(
    new: &NewsDraft,
    scope: NewsScope,
    now: Millis,
) -> Result<CheckedNews, Invalid> {
    let NewsDraft {
        title,
        content,
        days,
    } = new;
    let title = check_text("title", title, TITLE_BYTES_MAX)?;
    if title.is_empty() {
        return Err(Invalid::new("title", "must not be empty"));
    }
    let content = content.trim().replace("\r\n", "\n");
    if content.is_empty() {
        return Err(Invalid::new("content", "must not be empty"));
    }
    if content.len() > CONTENT_BYTES_MAX {
        return Err(Invalid::new(
            "content",
            format!("has more than {CONTENT_BYTES_MAX} bytes"),
        ));
    }
    if content
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
    {
        return Err(Invalid::new(
            "content",
            "must not contain control characters",
        ));
    }
    let usual = match scope {
        NewsScope::System => DAYS_SYSTEM,
        NewsScope::Account | NewsScope::Group => DAYS_TARGET,
    };
    let days = days.unwrap_or(usual);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(Invalid::new("days", format!("must be 1 to {DAYS_MAX}")));
    }
    Ok(CheckedNews {
        title,
        content,
        expires: now.plus(days.saturating_mul(DAY_MS)),
    })
}

impl NewsScope {
    /// The stored form.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Account => "account",
            Self::Group => "group",
        }
    }

    /// Reads the stored form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::System, Self::Account, Self::Group]
            .into_iter()
            .find(|scope| scope.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(title: &str, content: &str, days: Option<i64>) -> NewsDraft {
        NewsDraft {
            title: title.to_owned(),
            content: content.to_owned(),
            days,
        }
    }

    #[test]
    fn days_default_by_scope() {
        let expires = |scope, days| {
            check(&news("t", "c", days), scope, Millis(0)).map(|news| news.expires.0 / DAY_MS)
        };
        assert_eq!(expires(NewsScope::System, None), Ok(7));
        assert_eq!(expires(NewsScope::Account, None), Ok(32));
        assert_eq!(expires(NewsScope::Group, None), Ok(32));
        assert_eq!(expires(NewsScope::System, Some(1)), Ok(1));
    }

    #[test]
    fn what_cannot_be_shown_is_named() {
        let long = "x".repeat(CONTENT_BYTES_MAX + 1);
        for (field, bad) in [
            ("title", news(" ", "c", None)),
            ("title", news("a\nb", "c", None)),
            ("title", news(&long, "c", None)),
            ("content", news("t", "", None)),
            ("content", news("t", "a\u{1b}[0m", None)),
            ("content", news("t", &long, None)),
            ("days", news("t", "c", Some(0))),
            ("days", news("t", "c", Some(366))),
        ] {
            let error = check(&bad, NewsScope::System, Millis(0)).unwrap_err();
            assert_eq!(error.field, field);
        }
        let lines = check(
            &news("t", "a\r\nb\tc\n", None),
            NewsScope::System,
            Millis(0),
        )
        .unwrap();
        assert_eq!(lines.content, "a\nb\tc");
    }
}

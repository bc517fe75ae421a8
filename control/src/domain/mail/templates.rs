//! The texts of each kind of mail, in plain text and HTML, with one footer. No mail contains a client key: the clear
//! key is in the response that creates or rotates it, and nowhere else.

use askama::Template;
use jiff::civil::Date;
use proxyxai_contract::{id::AccountId, money::Money};

use super::{MailKind, MailMessage};
use crate::model::{Account, NewsItem, UsageTotals};

const SUBJECT_CHARS_MAX: usize = 150;
/// Longer bills end with the sum of the remaining lines.
const BILL_LINES_MAX: usize = 500;

/// The links of the footer. Empty ones are left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct FooterLinks {
    pub(crate) service: String,
    pub(crate) api: String,
    pub(crate) chat: String,
    pub(crate) docs: String,
}

/// One line of a bill.
#[derive(Debug, Clone)]
pub(crate) struct BillMailLine {
    pub(crate) account: String,
    pub(crate) model: String,
    pub(crate) totals: UsageTotals,
}

/// An upstream key that its provider refuses.
#[derive(Debug, Clone)]
pub(crate) struct KeyFault {
    pub(crate) key: i64,
    pub(crate) name: String,
    pub(crate) provider: String,
    /// `quarantined` or `disabled`.
    pub(crate) state: &'static str,
    pub(crate) reason: String,
}

enum MailPart {
    Words(String),
    /// Preformatted lines.
    Lines(Vec<String>),
    Table {
        head: Vec<&'static str>,
        rows: Vec<Vec<String>>,
    },
}

/// Greets a new account at its own address.
pub(crate) fn welcome(view: &Account, footer: &FooterLinks) -> MailMessage {
    let base = if footer.api.is_empty() {
        "https://<this gateway>"
    } else {
        &footer.api
    };
    let parts = [
        MailPart::Words(format!(
            "The account {} (ID {}) has been created for you, with a balance of {}.",
            view.name, view.id, view.balance
        )),
        MailPart::Words(
            "Its key, which begins with sk-Xvs, is given to you by whoever created the account. It is \
             shown only once and never sent by mail."
                .to_owned(),
        ),
        MailPart::Words("Use it like the provider's own:".to_owned()),
        MailPart::Lines(vec![
            format!("curl {base}/v1/chat/completions \\"),
            "  -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' \\".to_owned(),
            r#"  -d '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Say hello"}]}'"#.to_owned(),
        ]),
        MailPart::Words(format!(
            "OpenAI SDK: base_url=\"{base}/v1\". Anthropic SDK: base_url=\"{base}\". What you have used: \
             GET {base}/dashboard/info."
        )),
    ];
    write(
        MailKind::Welcome,
        &format!("Your account {}", view.name),
        &parts,
        footer,
    )
}

/// Reports that the month's use exceeded the soft limit.
pub(crate) fn soft_limit(view: &Account, used: Money, footer: &FooterLinks) -> MailMessage {
    let soft = view.soft_limit.unwrap_or_default();
    let hard = view.hard_limit.map_or_else(
        || "There is no hard limit.".to_owned(),
        |hard| format!("Calls are refused once it reaches {hard}."),
    );
    let words = format!(
        "The account {} (ID {}) has used {used} this month, which is above its soft limit of {soft}. {hard}",
        view.name, view.id
    );
    let subject = format!("{} has passed its soft limit", view.name);
    write(
        MailKind::SoftLimit,
        &subject,
        &[MailPart::Words(words)],
        footer,
    )
}

/// Reports that the balance fell below the mark.
pub(crate) fn low_balance(view: &Account, mark: Money, footer: &FooterLinks) -> MailMessage {
    let words = format!(
        "The account {} (ID {}) has a balance of {}, which is below {mark}. Calls are refused when it is \
         used up; whoever manages the account can add credit.",
        view.name, view.id, view.balance
    );
    let subject = format!("{} has a low balance", view.name);
    write(
        MailKind::LowBalance,
        &subject,
        &[MailPart::Words(words)],
        footer,
    )
}

/// The cost of one recipient's accounts from `start` to `end`.
pub(crate) fn bill(
    start: Date,
    end: Date,
    lines: &[BillMailLine],
    footer: &FooterLinks,
) -> MailMessage {
    let span = if start == end {
        start.to_string()
    } else {
        format!("{start} to {end}")
    };
    let total: Money = lines.iter().map(|line| line.totals.cost).sum();
    let row = |line: &BillMailLine| {
        let BillMailLine {
            account,
            model,
            totals,
        } = line;
        let counts = [totals.requests, totals.input, totals.output];
        let mut cells = vec![account.clone(), model.clone()];
        cells.extend(counts.map(|count| count.to_string()));
        cells.push(totals.cost.to_string());
        cells
    };
    let mut parts = vec![
        MailPart::Words(format!("Usage from {span}: {total}.")),
        MailPart::Table {
            head: vec![
                "Account",
                "Model",
                "Requests",
                "Tokens in",
                "Tokens out",
                "Cost",
            ],
            rows: lines.iter().take(BILL_LINES_MAX).map(row).collect(),
        },
    ];
    if let Some(rest) = lines.get(BILL_LINES_MAX..).filter(|rest| !rest.is_empty()) {
        let cost: Money = rest.iter().map(|line| line.totals.cost).sum();
        parts.push(MailPart::Words(format!(
            "{} more lines: {cost}. The total counts them.",
            rest.len()
        )));
    }
    write(
        MailKind::Bill,
        &format!("Usage {span}: {total}"),
        &parts,
        footer,
    )
}

/// The link that verifies an address. The address may be a stranger's, so the mail contains nothing that an account can
/// choose.
pub(crate) fn verify(account: AccountId, url: &str, footer: &FooterLinks) -> MailMessage {
    let parts = [
        MailPart::Words(format!(
            "This address was given for the account with ID {account}. If that is right, open this page and say so; \
             until then no mail of that account is sent here. The link is good for three days, and once."
        )),
        MailPart::Lines(vec![url.to_owned()]),
        MailPart::Words("If you do not know of it, nothing need be done.".to_owned()),
    ];
    write(MailKind::Verify, "Is this your address?", &parts, footer)
}

/// News for their readers. News by accounts other than root name their author.
pub(crate) fn news(view: &NewsItem, footer: &FooterLinks) -> MailMessage {
    let content = view.content.split("\n\n");
    let content = content.map(|words| MailPart::Words(words.to_owned()));
    if view.author == AccountId::ROOT {
        let parts: Vec<_> = content.collect();
        return write(MailKind::News, &view.title, &parts, footer);
    }
    let from = format!(
        "From the account {} (ID {}). These are its words, not those of the service.",
        view.author_name, view.author
    );
    let parts: Vec<_> = std::iter::once(MailPart::Words(from))
        .chain(content)
        .collect();
    let subject = format!("{}: {}", view.author_name, view.title);
    write(MailKind::News, &subject, &parts, footer)
}

/// Keys that need attention.
pub(crate) fn faults(faults: &[KeyFault], footer: &FooterLinks) -> MailMessage {
    let row = |fault: &KeyFault| {
        let KeyFault {
            key,
            name,
            provider,
            state,
            reason,
        } = fault.clone();
        vec![key.to_string(), name, provider, state.to_owned(), reason]
    };
    let parts = [
        MailPart::Words(
            "Providers refuse these upstream keys. A quarantined key is asked again from time to time; a \
             disabled one is not."
                .to_owned(),
        ),
        MailPart::Table {
            head: vec!["Key", "Name", "Provider", "State", "Reason"],
            rows: faults.iter().map(row).collect(),
        },
    ];
    let subject = match faults {
        [only] => format!("Upstream key {} is {}", only.key, only.state),
        several => format!("{} upstream keys need attention", several.len()),
    };
    write(MailKind::KeyFault, &subject, &parts, footer)
}

fn write(kind: MailKind, subject: &str, parts: &[MailPart], footer: &FooterLinks) -> MailMessage {
    // Rendering fails only if a value's `Display` does, and a string's does not.
    MailMessage {
        kind,
        subject: one_line(subject),
        text: PlainText { parts, footer }.render().unwrap_or_default(),
        html: HtmlText { parts, footer }.render().unwrap_or_default(),
    }
}

#[derive(Template)]
#[template(path = "mail.txt")]
struct PlainText<'a> {
    parts: &'a [MailPart],
    footer: &'a FooterLinks,
}

#[derive(Template)]
#[template(path = "mail.html")]
struct HtmlText<'a> {
    parts: &'a [MailPart],
    footer: &'a FooterLinks,
}

/// A header is one line, even if a name in it has line breaks.
fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).take(SUBJECT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxyxai_contract::clock::Millis;

    use super::*;
    use crate::model::NewsScope;

    fn links() -> FooterLinks {
        FooterLinks {
            api: "https://api.example.com".to_owned(),
            ..FooterLinks::default()
        }
    }

    fn posted(title: &str, content: &str) -> NewsItem {
        NewsItem {
            id: 1,
            author: AccountId::ROOT,
            author_name: "root".to_owned(),
            scope: NewsScope::System,
            title: title.to_owned(),
            content: content.to_owned(),
            created: Millis(0),
            expires: Millis(1),
        }
    }

    fn line(model: &str, nanos: i64) -> BillMailLine {
        let totals = UsageTotals {
            requests: 1,
            cost: Money::from_nanos(nanos),
            ..UsageTotals::default()
        };
        BillMailLine {
            account: "anna".to_owned(),
            model: model.to_owned(),
            totals,
        }
    }

    #[test]
    fn every_mail_has_the_footer_with_the_links_there_are() {
        let mail = news(&posted("Hello", "One.\n\nTwo <b>."), &links());
        assert!(
            mail.text
                .ends_with("-- \nAPI: https://api.example.com\nPowered by ProxyXAI\n")
        );
        assert!(
            mail.html
                .contains("<a href=\"https://api.example.com\">API</a>")
        );
        assert!(mail.html.contains("<p>Two &#60;b&#62;.</p>"));
        assert!(!mail.text.contains("Docs"));
    }

    #[test]
    fn a_long_bill_is_cut_and_its_total_is_whole() {
        let day: Date = "2026-11-01".parse().unwrap();
        let lines: Vec<_> = (0..BILL_LINES_MAX + 2)
            .map(|n| line(&format!("m{n}"), 1_000_000_000))
            .collect();
        let mail = bill(day, day, &lines, &links());
        assert_eq!(mail.subject, "Usage 2026-11-01: $502");
        assert!(mail.text.contains("2 more lines: $2."));
        assert!(!mail.text.contains("m501"));
    }

    proptest! {
        #[test]
        fn no_title_breaks_out_of_its_header(title in "\\PC*[\r\n]{0,2}\\PC*") {
            let mail = news(&posted(&title, "c"), &links());
            prop_assert!(!mail.subject.chars().any(char::is_control));
            prop_assert!(mail.subject.chars().count() <= SUBJECT_CHARS_MAX);
        }
    }
}

//! Names, addresses and identifiers of accounts. It does not know which names are taken.

use std::fmt;

use proxyxai_contract::{Invalid, id::AccountId, invisible_chars::is_invisible};

use super::name::{ROOT, check_plain, reads_as_root};

const NAME_CHARS: std::ops::RangeInclusive<usize> = 4..=63;
/// RFC 5321: 64 bytes before the sign, 254 in all.
const EMAIL_BYTES_MAX: usize = 254;
const EMAIL_LOCAL_BYTES_MAX: usize = 64;
/// Far above any sensible depth of the tree. It stops a hostile path from being scanned at length.
const DNA_BYTES_MAX: usize = 4096;

/// Checks a name: 4 to 63 characters with a letter, not mistakable for another kind of identifier, and without hidden
/// characters. Surrounding blanks are dropped.
pub(crate) fn check_name(name: &str) -> Result<String, Invalid> {
    let bad = |problem: &str| Err(Invalid::new("Name", problem));
    let name = name.trim();
    if !NAME_CHARS.contains(&name.chars().count()) {
        return bad("must be 4 to 63 characters");
    }
    if !name.chars().any(char::is_alphabetic) {
        return bad("must have at least one letter");
    }
    if name.starts_with('.') || name.contains(['/', '@']) {
        return bad("must not begin with . or contain / or @");
    }
    if name.chars().any(is_invisible) {
        return bad("must not contain control characters");
    }
    Ok(name.to_owned())
}

/// Checks a name below root, which must also not read as root's. The people who see such names on pages are not those
/// who chose them.
pub(crate) fn check_name_below_root(name: &str) -> Result<String, Invalid> {
    let name = check_name(name)?;
    check_plain("Name", &name)?;
    // Root's exact name is refused as taken, which is another error.
    if name != ROOT && reads_as_root(&name) {
        return Err(Invalid::new("Name", "must not read as root"));
    }
    Ok(name)
}

/// Checks an e-mail address and lower-cases it: mail systems ignore case, and an address belongs to one account.
pub(crate) fn check_email(email: &str) -> Result<String, Invalid> {
    let email = email.trim();
    let good = email.len() <= EMAIL_BYTES_MAX
        && email
            .split_once('@')
            .is_some_and(|(local, domain)| is_local_part(local) && is_domain(domain));
    if good {
        Ok(email.to_ascii_lowercase())
    } else {
        Err(Invalid::new("Email", "is not an e-mail address"))
    }
}

/// Checks free text of one line. Surrounding blanks are dropped.
pub(crate) fn check_text(field: &str, text: &str, bytes_max: usize) -> Result<String, Invalid> {
    let text = text.trim();
    if text.len() > bytes_max {
        return Err(Invalid::new(
            field,
            format!("has more than {bytes_max} bytes"),
        ));
    }
    if text.chars().any(is_invisible) {
        return Err(Invalid::new(field, "must not contain control characters"));
    }
    Ok(text.to_owned())
}

/// Checks a name that is shown on other accounts' pages.
pub(crate) fn check_label(field: &str, text: &str, bytes_max: usize) -> Result<String, Invalid> {
    let text = check_text(field, text, bytes_max)?;
    check_plain(field, &text)?;
    Ok(text)
}

/// Checks a link shown on pages: an HTTP or HTTPS URL, or empty.
pub(crate) fn check_link(field: &str, text: &str, bytes_max: usize) -> Result<String, Invalid> {
    let text = check_text(field, text, bytes_max)?;
    if text.is_empty() {
        return Ok(text);
    }
    let uri = text.parse::<http::Uri>().ok();
    let of_web = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    });
    if !of_web || text.contains(['<', '>', '"', '`', '\\']) {
        return Err(Invalid::new(
            field,
            "must be a URL that begins with http:// or https://",
        ));
    }
    Ok(text)
}

/// The ids from root to an account, including its own: `.1.42.`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dna(String);

/// The ways to identify an account in a path or a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccountIdentifier {
    /// Digits only.
    Id(AccountId),
    /// Begins with a dot.
    Dna(Dna),
    /// Has an `@`; in lower case.
    Email(String),
    /// Everything else.
    Name(String),
}

// === impl Dna ===

impl Dna {
    /// Root's DNA.
    pub(crate) fn root() -> Self {
        Self(format!(".{}.", AccountId::ROOT))
    }

    /// The DNA of a child.
    pub(crate) fn child(&self, id: AccountId) -> Self {
        Self(format!("{}{id}.", self.0))
    }

    /// Reads the text form.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let ids = text
            .strip_prefix('.')
            .and_then(|text| text.strip_suffix('.'))
            .filter(|_| text.len() <= DNA_BYTES_MAX);
        let good = ids.is_some_and(|ids| {
            ids.split('.').next() == Some("1") && ids.split('.').all(|id| read_id(id).is_some())
        });
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(
                "DNA",
                "must be ids between dots, from root on",
            ))
        }
    }

    /// The text form.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Root first, the account itself last.
    pub(crate) fn ids(&self) -> Vec<AccountId> {
        self.0.split('.').filter_map(read_id).collect()
    }

    /// The DNAs of all ancestors and the account's own, root's first.
    pub(crate) fn heads(&self) -> Vec<String> {
        let mut heads = vec![Self::root().0];
        for id in self.ids().into_iter().skip(1) {
            let above = heads.last().map_or("", String::as_str);
            heads.push(format!("{above}{id}."));
        }
        heads
    }

    /// Whether the other account is this one or below it.
    pub(crate) fn is_ancestor_or_self_of(&self, other: &Self) -> bool {
        // Both end in a dot, so `.1.4.` does not match the start of `.1.42.`.
        other.0.starts_with(&self.0)
    }
}

impl fmt::Display for Dna {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl AccountIdentifier ===

impl AccountIdentifier {
    /// Distinguishes the kinds by their form. [`check_name`] keeps names from taking the form of another kind.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.is_empty() || text.len() > DNA_BYTES_MAX {
            return Err(Invalid::new(
                "identifier",
                "must be an id, name, e-mail or DNA",
            ));
        }
        if text.starts_with('.') {
            return Dna::parse(text).map(Self::Dna);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let id = read_id(text).map(Self::Id);
            return id.ok_or_else(|| Invalid::new("identifier", "is not an id"));
        }
        if text.contains('@') {
            return Ok(Self::Email(text.to_ascii_lowercase()));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

/// Reads an id in canonical form: no sign, no leading zero.
fn read_id(text: &str) -> Option<AccountId> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let id = text.parse().ok().filter(|_| plain)?;
    AccountId::new(id).ok()
}

fn is_local_part(local: &str) -> bool {
    let good = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    (1..=EMAIL_LOCAL_BYTES_MAX).contains(&local.len())
        && local.chars().all(good)
        && local.split('.').all(|atom| !atom.is_empty())
}

/// Host names without a dot are accepted too: a closed network may well use `root@localhost`.
fn is_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        !label.is_empty()
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(id: i64) -> AccountId {
        AccountId::new(id).unwrap()
    }

    #[test]
    fn a_name_has_4_to_63_characters_and_a_letter() {
        for good in [
            "user",
            "a123",
            "张三李四",
            " team-7 ",
            "x y z",
            &"n".repeat(63),
        ] {
            assert_eq!(check_name(good).unwrap(), good.trim());
        }
        for bad in [
            "",
            "abc",
            "  ab  ",
            "1234",
            "....",
            "a/bc",
            "a@bc",
            ".abc",
            "ab\ncd",
            "ro\u{200b}ot",
            "ab\u{202e}cd",
            &"n".repeat(64),
        ] {
            assert_eq!(check_name(bad).unwrap_err().field, "Name", "{bad:?}");
        }
    }

    #[test]
    fn an_address_is_one_account_in_whatever_case() {
        assert_eq!(check_email(" Ann@Example.COM ").unwrap(), "ann@example.com");
        for good in [
            "a@b.co",
            "root@localhost",
            "a.b+c@x-y.example",
            "张@例子.中国",
        ] {
            assert!(check_email(good).is_ok(), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(65));
        for bad in [
            "", "a", "@b.co", "a@", "a@b@c", "a b@c.de", "a@b..c", ".a@b.co", "a@-b.co", "a@b.co.",
            "<a@b.co>", "a@b,c", "a\n@b.co", &long,
        ] {
            assert!(check_email(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn free_text_is_one_line_of_bounded_length() {
        assert_eq!(check_text("Alias", " é ", 2).unwrap(), "é");
        assert_eq!(check_text("Alias", "éé", 3).unwrap_err().field, "Alias");
        assert!(check_text("Alias", "a\u{0}b", 10).is_err());
    }

    #[test]
    fn a_link_is_of_the_web() {
        for good in [
            "",
            "https://x.example/a.png?b=c&d=e",
            "http://127.0.0.1:80/",
            "HTTPS://x.example",
        ] {
            assert!(check_link("QRCode", good, 2048).is_ok(), "{good}");
        }
        for bad in [
            "javascript:alert(1)",
            "JavaScript://x.example/%0aalert(1)",
            "data:image/png;base64,AA==",
            "ftp://x.example",
            "//x.example",
            "/a",
            "x.example",
            "https://",
            "https:///a",
            "https://x.example/\"><script>",
            "https://x\u{202e}.example",
            "https://x.example/ a",
        ] {
            assert!(check_link("QRCode", bad, 2048).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_account_below_root_passes_for_it() {
        assert!(check_name("root").is_ok());
        for name in ["ROOT", "rооt", "r00t"] {
            assert!(check_name_below_root(name).is_err(), "{name}");
        }
        assert!(check_name_below_root("roots").is_ok());
    }

    #[test]
    fn dna_ends_with_the_account_itself() {
        let child = Dna::root().child(id(42));
        assert_eq!(Dna::root().as_str(), ".1.");
        assert_eq!(child.to_string(), ".1.42.");
        assert_eq!(child.ids(), [AccountId::ROOT, id(42)]);
    }

    #[test]
    fn an_id_that_begins_alike_is_no_ancestor() {
        let dna = |text| Dna::parse(text).unwrap();
        assert!(dna(".1.4.").is_ancestor_or_self_of(&dna(".1.4.7.")));
        assert!(dna(".1.4.").is_ancestor_or_self_of(&dna(".1.4.")));
        assert!(!dna(".1.4.").is_ancestor_or_self_of(&dna(".1.42.")));
        assert!(!dna(".1.4.7.").is_ancestor_or_self_of(&dna(".1.4.")));
    }

    #[test]
    fn what_is_no_dna_is_refused() {
        let long = format!(".1{}.", ".2".repeat(3000));
        for bad in [
            "",
            ".",
            "..",
            "1.42",
            ".1.42",
            "1.42.",
            ".2.",
            ".1..",
            ".1.042.",
            ".1.+4.",
            ".1.0.",
            ".1.-4.",
            ".1.x.",
            ".1.9223372036854775808.",
            &long,
        ] {
            assert!(Dna::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_identifier_is_told_by_its_form() {
        let read = |text| AccountIdentifier::parse(text).unwrap();
        assert_eq!(read("42"), AccountIdentifier::Id(id(42)));
        assert_eq!(
            read(".1.42."),
            AccountIdentifier::Dna(Dna::root().child(id(42)))
        );
        assert_eq!(
            read("A@b.co"),
            AccountIdentifier::Email("a@b.co".to_owned())
        );
        assert_eq!(read("4you"), AccountIdentifier::Name("4you".to_owned()));
        for bad in ["", "  ", "0", "99999999999999999999", ".1", "."] {
            assert!(AccountIdentifier::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_good_name_is_found_as_a_name(text in "\\PC{0,70}") {
            if let Ok(name) = check_name(&text) {
                prop_assert_eq!(AccountIdentifier::parse(&name), Ok(AccountIdentifier::Name(name)));
            }
        }

        #[test]
        fn a_good_address_is_found_as_an_address(text in "[A-Za-z.]{1,8}@[A-Za-z.-]{1,12}") {
            if let Ok(email) = check_email(&text) {
                prop_assert_eq!(AccountIdentifier::parse(&text), Ok(AccountIdentifier::Email(email)));
            }
        }

        #[test]
        fn dna_reads_back(ids in prop::collection::vec(2i64..i64::MAX, 0..20)) {
            let dna = ids.iter().fold(Dna::root(), |dna, own| dna.child(id(*own)));
            let parsed = Dna::parse(dna.as_str()).unwrap();
            prop_assert_eq!(&parsed, &dna);
            let read: Vec<_> = dna.ids().into_iter().skip(1).map(AccountId::get).collect();
            prop_assert_eq!(read, ids);
        }
    }
}

//! Names for people to read: which characters they may contain, so that pages show them safely and as they are. Also
//! which names read as root's, in any spelling.

use proxyxai_contract::{Invalid, invisible_chars::is_invisible};
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};
use unicode_security::confusable_detection::skeleton;

/// Characters with a meaning in HTML, in case a page forgets to escape them.
const MARKUP: [char; 5] = ['<', '>', '&', '"', '`'];
/// The name of the root account.
pub(crate) const ROOT: &str = "root";

/// Separates the folded name from the id in the key of a later namesake. No name contains it.
const NAMESAKE: char = '\n';

/// A name with its case folded by Unicode. Names that differ only in case are the same name.
pub(crate) fn folded(name: &str) -> String {
    // Through capitals, since some small letters have no capital of their own: ß and ss, ς and σ. Lower case first,
    // since some capitals are not that of their small letter: ẞ.
    let capitals = name
        .nfc()
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase);
    let small = capitals.flat_map(char::to_lowercase);
    small.nfc().collect()
}

/// The key of an account whose folded name an older account has.
pub(crate) fn namesake(folded: &str, id: i64) -> String {
    format!("{folded}{NAMESAKE}{id}")
}

/// The range of keys for namesakes of a folded name: from the first, to before the second.
pub(crate) fn namesakes(folded: &str) -> (String, String) {
    let after = char::from_u32(u32::from(NAMESAKE) + 1).unwrap_or(NAMESAKE);
    (format!("{folded}{NAMESAKE}"), format!("{folded}{after}"))
}

/// Whether a stored key belongs to this folded name.
pub(crate) fn is_key_of(key: &str, folded: &str) -> bool {
    key.strip_prefix(folded)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(NAMESAKE))
}

/// Checks that a text has no hidden characters and no markup.
pub(crate) fn check_plain(field: &str, text: &str) -> Result<(), Invalid> {
    if text.chars().any(is_invisible) {
        let problem = "must not contain control characters or characters that are not seen";
        return Err(Invalid::new(field, problem));
    }
    if text.contains(MARKUP) {
        let shown = "must not contain any of < > & \" `";
        return Err(Invalid::new(field, shown));
    }
    Ok(())
}

/// Whether people would read a name as root's, in any case, script or width, with marks or signs in between.
pub(crate) fn reads_as_root(name: &str) -> bool {
    let bare: String = name
        .nfkd()
        .map(full_capital)
        .filter(|c| !is_combining_mark(*c))
        .flat_map(char::to_lowercase)
        .collect();
    // Some characters look alike in lower case, others only as capitals or digits.
    let twice: String = skeleton(&bare).flat_map(char::to_lowercase).collect();
    let capitals: String = skeleton(&bare.to_uppercase())
        .flat_map(char::to_lowercase)
        .collect();
    [bare, twice, capitals].iter().any(|text| {
        let letters = skeleton(text).filter(|c| c.is_alphanumeric());
        letters.flat_map(char::to_lowercase).eq(ROOT.chars())
    })
}

/// Small capitals read like capitals but are missing from Unicode's list of confusable characters.
const fn full_capital(c: char) -> char {
    match c {
        'ʀ' => 'R',
        'ᴏ' => 'O',
        'ᴛ' => 'T',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_differ_in_case_alone_are_one() {
        for (one, other) in [
            ("Anna", "aNNA"),
            ("Ünal", "üNAL"),
            ("STRASSE", "straße"),
            ("WEIẞ", "weiß"),
            ("ΟΔΟΣ", "οδος"),
            ("Ren\u{e9}e", "rene\u{301}E"),
            ("张三 Ltd", "张三 LTD"),
        ] {
            assert_eq!(folded(one), folded(other), "{one}");
        }
        for (one, other) in [("anna", "anne"), ("Renee", "Renée"), ("anna", "anna ")] {
            assert_ne!(folded(one), folded(other), "{one}");
        }
    }

    #[test]
    fn the_key_of_a_namesake_is_of_its_name_alone() {
        let key = namesake("anna", 7);
        assert!(is_key_of(&key, "anna") && is_key_of("anna", "anna"));
        assert!(!is_key_of(&key, "ann") && !is_key_of("annabel", "anna"));
        let (from, before) = namesakes("anna");
        assert!((from..before).contains(&key));
        let (from, before) = namesakes("ann");
        assert!(!(from..before).contains(&key));
    }

    #[test]
    fn what_reads_as_root_is_known_in_any_dress() {
        for name in [
            "root",
            "ROOT",
            "Root",
            "rOoT",
            " root ",
            "r00t",
            "R0OT",
            "rооt",
            "RООT",
            "ROОТ",
            "ｒｏｏｔ",
            "𝐫𝐨𝐨𝐭",
            "ⓡⓞⓞⓣ",
            "róot",
            "ro\u{301}o\u{308}t",
            "ro-ot",
            "r.o.o.t",
            "_root_",
            "rοοt",
            "root!",
            "ʀᴏᴏᴛ",
        ] {
            assert!(reads_as_root(name), "{name}");
        }
        for name in [
            "roots",
            "boot",
            "route",
            "root2",
            "alice",
            "rot",
            "team-root",
            "张三李四",
        ] {
            assert!(!reads_as_root(name), "{name}");
        }
    }

    #[test]
    fn a_plain_text_has_no_markup_and_nothing_unseen() {
        for good in [
            "O'Brien",
            "Ünal (EU) #1, 2nd",
            "张三",
            "a+b=c; d",
            "😀 team",
        ] {
            assert!(check_plain("Name", good).is_ok(), "{good}");
        }
        for bad in [
            "<b>",
            "a&lt;",
            "x\"y",
            "`x`",
            "a\tb",
            "a\u{7f}",
            "a\u{85}b",
            "ro\u{200b}ot",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{ad}b",
            "a\u{61c}b",
            "a\u{feff}",
            "\u{3164}",
            "a\u{e0041}",
            "x\u{200d}y",
            "a\u{2028}b",
        ] {
            assert!(check_plain("Name", bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_folded_folds_to_itself(name in any::<String>()) {
            let once = folded(&name);
            prop_assert_eq!(folded(&once), once);
        }

        #[test]
        fn no_case_of_root_gets_through(upper in proptest::collection::vec(any::<bool>(), 4)) {
            let name: String = ROOT
                .chars()
                .zip(upper)
                .map(|(c, upper)| if upper { c.to_ascii_uppercase() } else { c })
                .collect();
            prop_assert!(reads_as_root(&name));
        }

        #[test]
        fn ordinary_words_are_not_root(name in "[a-np-z]{4,20}") {
            prop_assert!(!reads_as_root(&name));
        }
    }
}

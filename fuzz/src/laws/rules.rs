//! Settings and access lists: what is stored of one reads back as the same.

use std::fmt::Debug;

use proxyxai_contract::{
    Invalid,
    access::{AllowList, AllowListItem, PathPattern},
    id::Level,
    load_balancing::LevelStrategies,
    pattern::Pattern,
    provider::BaseUrl,
    routing::{LevelMapper, ModelFailover, ModelMapper, SwitchOver},
    window::ModelLimits,
};

use crate::domain::{mail, setting};

const MODELS: [&str; 3] = ["gpt-4o", "claude-3-5-sonnet-20241022", ""];

/// A byte that chooses; then the value, and for a list, on a line of its own, an edit.
pub fn rules(input: &[u8]) {
    let Some((choice, value)) = input.split_first() else {
        return;
    };
    let Ok(value) = std::str::from_utf8(value) else {
        return;
    };
    let (first, second) = value.split_once('\n').unwrap_or((value, ""));
    match choice % 12 {
        0 => reads_back(value, ModelMapper::parse, ModelMapper::text),
        1 => reads_back(value, LevelMapper::parse, LevelMapper::text),
        2 => reads_back(value, SwitchOver::parse, SwitchOver::text),
        3 => reads_back(value, ModelFailover::parse, ModelFailover::text),
        4 => reads_back(value, LevelStrategies::parse, LevelStrategies::text),
        5 => reads_back(value, ModelLimits::parse, ModelLimits::text),
        6 => reads_back(value, BaseUrl::parse_lenient, BaseUrl::text),
        7 => list::<ipnet::IpNet>(first, second),
        8 => list::<Pattern>(first, second),
        9 => list::<Level>(first, second),
        10 => list::<PathPattern>(first, second),
        _ => settings(value),
    }
    // As it is defined, for short ones: the definition takes its time.
    if first.len() <= 12 && second.len() <= 12 {
        let defined = defined(first.as_bytes(), second.as_bytes());
        assert_eq!(
            Pattern::new(first).matches(second),
            defined,
            "{first:?} {second:?}"
        );
    }
}

fn reads_back<T: PartialEq + Debug>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, Invalid>,
    write: impl Fn(&T) -> String,
) {
    match parse(text) {
        Ok(read) => {
            let stored = write(&read);
            assert_eq!(parse(&stored).as_ref(), Ok(&read), "{stored:?}");
        }
        Err(error) => assert!(!error.field.is_empty() && !error.problem.is_empty()),
    }
}

fn list<T: AllowListItem + PartialEq + Debug>(stored: &str, edit: &str) {
    reads_back(stored, AllowList::<T>::parse, AllowList::text);
    let Ok(list) = AllowList::<T>::parse(stored) else {
        return;
    };
    if let Ok(edited) = list.edited(edit) {
        reads_back(&edited.text(), AllowList::<T>::parse, AllowList::text);
        assert_eq!(edited.edited(""), Ok(edited.clone()));
        assert_eq!(edited.edited("*"), Ok(AllowList::Any));
    }
}

/// Every setting takes the value or says why not.
fn settings(value: &str) {
    // Prices have a target of their own; here each would be the whole table that ships.
    for name in setting::ALL
        .iter()
        .map(|setting| setting.name)
        .filter(|name| *name != setting::PRICING.name)
    {
        if let Err(error) = setting::check(name, value) {
            assert_eq!(error.field, name);
            assert!(!error.problem.is_empty());
        }
    }
    if let Ok(mailbox) = mail::mailbox(value) {
        let again = mail::mailbox(&format!("{}<{}>", mailbox.name, mailbox.address));
        assert_eq!(again.map(|again| again.address), Ok(mailbox.address));
    }
    for model in MODELS {
        let mapped = ModelMapper::parse(value);
        let mapped = mapped.as_ref().ok().and_then(|mapper| mapper.map(model));
        assert!(mapped.is_none_or(|mapped| value.contains(mapped)));
    }
}

/// The definition of a pattern, slow and plain.
fn defined(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => defined(rest, text),
        (Some((b'*', rest)), Some((_, tail))) => defined(rest, text) || defined(pattern, tail),
        (Some((p, rest)), Some((t, tail))) => p == t && defined(rest, tail),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

//! Other names under which the price table may list a model.

use std::borrow::Cow;

/// Suffixes by which routers select how a model is served. Its price is the model's. `:free` is not one of them: a
/// model that costs the operator nothing has no price derived from another.
const SERVED: [&str; 8] = [
    "nitro", "floor", "online", "exacto", "thinking", "extended", "beta", "batch",
];

/// Names to look up after the requested one, the nearest first: without `vendor/`, without the mark of a release,
/// without a router's `:mark`, and with the dots of a version as dashes (`anthropic/claude-opus-4.5`).
pub fn aliases(model: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let served = unmarked(model);
    [Some(model), served]
        .into_iter()
        .flatten()
        // The name itself was looked up before.
        .flat_map(move |name| {
            let whole = (name.len() < model.len()).then_some(name);
            let bare = bare(name);
            [whole, (bare != name).then_some(bare), undated(bare)]
        })
        .flatten()
        .map(Cow::Borrowed)
        .chain(dashed(served.unwrap_or(model)).map(Cow::Owned))
}

fn bare(model: &str) -> &str {
    model.rsplit_once('/').map_or(model, |(_, bare)| bare)
}

/// The name without a router's mark. Only names with a vendor have one.
fn unmarked(model: &str) -> Option<&str> {
    let (name, mark) = model.rsplit_once(':')?;
    (name.contains('/') && SERVED.contains(&mark)).then_some(name)
}

/// `claude-3.5-haiku` and `claude-3.5-haiku-20241022` as `claude-3-5-haiku`. Empty for a name without such a dot.
fn dashed(model: &str) -> impl Iterator<Item = String> {
    let bare = bare(model);
    let bytes = bare.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut found = false;
    let name: String = bare
        .char_indices()
        .map(|(at, char)| {
            let version = char == '.' && at > 0 && digit(at - 1) && digit(at + 1);
            found |= version;
            if version { '-' } else { char }
        })
        .collect();
    let name = found.then_some(name);
    let release = name.as_deref().and_then(undated).map(str::to_owned);
    [name, release].into_iter().flatten()
}

/// The name without the mark of a release.
pub(crate) fn undated(model: &str) -> Option<&str> {
    if let Some(base) = model.strip_suffix("-latest") {
        return Some(base);
    }
    let digits = |text: &str, lengths: &[usize]| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if let Some((base, date)) = model.rsplit_once('@') {
        return digits(date, &[8]).then_some(base);
    }
    let (base, last) = model.rsplit_once('-')?;
    if digits(last, &[8]) || (digits(last, &[4]) && is_month_and_day(last)) {
        return Some(base);
    }
    let (base, month) = base.rsplit_once('-')?;
    let (base, year) = base.rsplit_once('-')?;
    (digits(last, &[2]) && digits(month, &[2]) && digits(year, &[4])).then_some(base)
}

/// Four digits that are not a date, such as the `-2512` of a yearly release, are part of the name.
fn is_month_and_day(digits: &str) -> bool {
    digits
        .split_at_checked(2)
        .is_some_and(|(month, day)| ("01"..="12").contains(&month) && ("01"..="31").contains(&day))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{price::PriceTable, price_file};

    fn names(model: &str) -> Vec<String> {
        aliases(model).map(Cow::into_owned).collect()
    }

    #[test]
    fn the_nearest_name_comes_first() {
        assert_eq!(
            names("a/b-2024-08-06:nitro"),
            ["b-2024-08-06:nitro", "a/b-2024-08-06", "b-2024-08-06", "b"]
        );
        assert_eq!(names("a/b-4.5"), ["b-4.5", "b-4-5"]);
        assert_eq!(
            names("a/b-3.5-c-20241022:thinking"),
            [
                "b-3.5-c-20241022:thinking",
                "a/b-3.5-c-20241022",
                "b-3.5-c-20241022",
                "b-3.5-c",
                "b-3-5-c-20241022",
                "b-3-5-c"
            ]
        );
        for plain in ["", "gpt-4o", "/", ":", "v1.x", ".5", "5."] {
            assert!(names(plain).iter().all(|name| name != plain), "{plain}");
        }
    }

    #[test]
    fn a_free_name_and_an_unknown_mark_are_nobody_elses() {
        for name in ["a/b:free", "a/b:other", "b:nitro", "b:free"] {
            let others = names(name);
            assert!(!others.contains(&"b".to_owned()), "{name} {others:?}");
        }
    }

    #[test]
    fn what_a_router_calls_a_model_costs_what_the_model_does() {
        let table: PriceTable = price_file::load(None).unwrap();
        for (routed, plain) in [
            ("anthropic/claude-opus-4.5", "claude-opus-4-5"),
            ("anthropic/claude-3.5-haiku:beta", "claude-3-5-haiku"),
            ("openai/gpt-4o:online", "gpt-4o"),
            ("openai/gpt-5.1:nitro", "gpt-5.1"),
            ("google/gemini-2.5-pro", "gemini-2.5-pro"),
            ("z-ai/glm-4.6:exacto", "glm-4.6"),
            ("x-ai/grok-4.3", "grok-4.3"),
        ] {
            let price = table.find(routed);
            assert!(price.is_some(), "{routed}");
            assert_eq!(price, table.models.get(plain), "{routed}");
        }
        assert_eq!(table.find("openai/gpt-4o:free"), None);
    }
}

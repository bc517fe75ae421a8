//! Access lists: what an account may call, from where, at which level. Editing and checking; the
//! intersection with ancestors happens where a call is admitted.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use crate::{Invalid, id::Level, pattern::Pattern};

/// At most this many items, so that a list stays cheap to check for every call.
const ITEMS_MAX: usize = 1000;

/// What an access list is made of.
pub trait AllowListItem: Sized + Clone + PartialEq + fmt::Debug {
    /// Name of the list in messages.
    const FIELD: &'static str;
    /// Reads one item.
    ///
    /// # Errors
    /// Errors if the text is not such an item.
    fn parse(text: &str) -> Result<Self, Invalid>;
    /// The item as stored.
    fn text(&self) -> String;
    /// The items that remain after `-*`.
    fn floor() -> Vec<Self> {
        Vec::new()
    }
}

/// Everything, or only what is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowList<T> {
    /// Unrestricted.
    Any,
    /// Only these; empty means nothing.
    Only(Vec<T>),
}

impl<T: AllowListItem> AllowList<T> {
    /// Reads the stored form: `*`, or items separated by commas or spaces; empty means nothing.
    ///
    /// # Errors
    /// Errors if an item cannot be read.
    pub fn parse(stored: &str) -> Result<Self, Invalid> {
        if stored.trim() == "*" {
            return Ok(Self::Any);
        }
        items(stored).map(Self::only)
    }

    /// The stored form.
    pub fn text(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Only(items) => items
                .iter()
                .map(AllowListItem::text)
                .collect::<Vec<_>>()
                .join(","),
        }
    }

    /// Applies an edit: `value` adds, `-value` removes every item equal to it, `*` lifts the restriction, `-*` allows
    /// nothing.
    ///
    /// # Errors
    /// Errors if an item cannot be read, or is removed from an unrestricted list.
    pub fn edited(&self, edit: &str) -> Result<Self, Invalid> {
        match edit.trim() {
            "*" => Ok(Self::Any),
            "-*" => Ok(Self::Only(T::floor())),
            "" => Ok(self.clone()),
            edit => match edit.strip_prefix('-') {
                Some(removed) => self.without(&items::<T>(removed)?),
                None => self.with(items(edit)?),
            },
        }
    }

    /// A single item written like "everything" would be stored like it, so treat it as unrestricted.
    fn only(items: Vec<T>) -> Self {
        match items.as_slice() {
            [item] if item.text() == "*" => Self::Any,
            _ => Self::Only(items),
        }
    }

    fn with(&self, added: Vec<T>) -> Result<Self, Invalid> {
        let mut all = match self {
            Self::Any => Vec::new(),
            Self::Only(items) => items.clone(),
        };
        for item in added {
            if !all.contains(&item) {
                all.push(item);
            }
        }
        if all.len() > ITEMS_MAX {
            return Err(Invalid::new(
                T::FIELD,
                format!("has more than {ITEMS_MAX} items"),
            ));
        }
        Ok(Self::only(all))
    }

    fn without(&self, removed: &[T]) -> Result<Self, Invalid> {
        match self {
            // Removing one item from "everything" cannot be stored, and ignoring it would look like success.
            Self::Any => Err(Invalid::new(
                T::FIELD,
                "is unrestricted, so nothing can be removed from it",
            )),
            Self::Only(items) => Ok(Self::only(
                items
                    .iter()
                    .filter(|item| !removed.contains(item))
                    .cloned()
                    .collect(),
            )),
        }
    }

    fn any(&self, hit: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Only(items) => items.iter().any(hit),
        }
    }
}

fn items<T: AllowListItem>(text: &str) -> Result<Vec<T>, Invalid> {
    text.split([',', ' ', '\t', '\n'])
        // The minus may be repeated before each item of a removal.
        .map(|item| item.trim().trim_start_matches('-'))
        .filter(|item| !item.is_empty())
        .map(T::parse)
        .collect()
}

/// Client addresses.
pub type IpList = AllowList<IpNet>;
/// Model names that clients ask for.
pub type ModelList = AllowList<Pattern>;
/// Levels of upstream keys.
pub type LevelList = AllowList<Level>;
/// Request paths.
pub type ResourceList = AllowList<PathPattern>;

/// A request path, with `{name}` for any single segment, or all paths below a prefix, with `/*` at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(String);

impl IpList {
    /// Whether calls from this address are allowed. An IPv4-mapped IPv6 address counts as its IPv4 address.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.any(|net| net.contains(&address))
    }
}

impl ModelList {
    /// Whether this model may be asked for.
    pub fn allows(&self, model: &str) -> bool {
        self.any(|pattern| pattern.matches(model))
    }
}

impl LevelList {
    /// Whether this level may be used.
    pub fn allows(&self, level: Level) -> bool {
        self.any(|item| *item == level)
    }
}

impl ResourceList {
    /// Whether this path may be called.
    pub fn allows(&self, path: &str) -> bool {
        self.any(|pattern| pattern.matches(path))
    }
}

impl PathPattern {
    /// Reads one.
    ///
    /// # Errors
    /// Errors if the text is not a path, or has a `*` anywhere but at the end.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_path = text.starts_with('/')
            && text.len() <= 255
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        let body = text.strip_suffix("/*").unwrap_or(text);
        if !is_path || body.contains('*') {
            let problem = format!("{text:?} is no path, and no path with /* at its end");
            return Err(Invalid::new(<Self as AllowListItem>::FIELD, problem));
        }
        Ok(Self(text.to_owned()))
    }

    /// The stored form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path, given without its query, matches.
    pub fn matches(&self, path: &str) -> bool {
        if self.0 == path {
            return true;
        }
        let (pattern, below) = match self.0.strip_suffix("/*") {
            Some(start) => (start, true),
            None => (self.0.as_str(), false),
        };
        if !below && !pattern.contains('{') {
            return false;
        }
        let (mut wanted, mut found) = (pattern.split('/'), path.split('/'));
        loop {
            match (wanted.next(), found.next()) {
                (None, None) => return !below,
                (None, Some(_)) => return below,
                (Some(_), None) => return false,
                (Some(wanted), Some(found)) => {
                    let any = wanted.starts_with('{') && wanted.ends_with('}');
                    if wanted != found && (!any || found.is_empty()) {
                        return false;
                    }
                }
            }
        }
    }
}

// === impl IpNet ===

impl AllowListItem for IpNet {
    const FIELD: &'static str = "AllowIPs";

    fn parse(text: &str) -> Result<Self, Invalid> {
        let single = text
            .parse::<IpAddr>()
            .map(|ip| Self::from(ip.to_canonical()));
        single
            .or_else(|_| text.parse::<Self>().map(|net| canonical(net.trunc())))
            .map_err(|_| {
                Invalid::new(
                    Self::FIELD,
                    format!("{text:?} is no IP address or CIDR block"),
                )
            })
    }

    fn text(&self) -> String {
        if self.prefix_len() == self.max_prefix_len() {
            self.addr().to_string()
        } else {
            self.to_string()
        }
    }

    fn floor() -> Vec<Self> {
        vec![
            Self::from(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Self::from(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ]
    }
}

/// A block of IPv4-mapped IPv6 addresses counts as the IPv4 block, as single addresses do.
fn canonical(net: IpNet) -> IpNet {
    let bits = net.prefix_len().checked_sub(96);
    match (net.addr().to_canonical(), bits) {
        (address @ IpAddr::V4(_), Some(bits)) if net.addr().is_ipv6() => {
            IpNet::new(address, bits).unwrap_or(net)
        }
        _ => net,
    }
}

impl AllowListItem for Pattern {
    const FIELD: &'static str = "AllowModels";

    fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > 255 || text.chars().any(char::is_control) {
            return Err(Invalid::new(
                Self::FIELD,
                "has an item that is no model name",
            ));
        }
        Ok(Self::new(text))
    }

    fn text(&self) -> String {
        self.as_str().to_owned()
    }
}

impl AllowListItem for Level {
    const FIELD: &'static str = "AllowLevels";

    fn parse(text: &str) -> Result<Self, Invalid> {
        text.parse()
            .map_err(|_| Invalid::new(Self::FIELD, format!("{text:?} is no level")))
            .and_then(|level| Self::new(level).map_err(|error| error.under(Self::FIELD)))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl AllowListItem for PathPattern {
    const FIELD: &'static str = "Resources";

    fn parse(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn models(text: &str) -> ModelList {
        ModelList::parse(text).unwrap()
    }

    #[test]
    fn the_first_value_turns_unrestricted_into_that_list() {
        let list = AllowList::Any.edited("gpt-4o gpt-4o-mini").unwrap();
        assert_eq!(list, models("gpt-4o,gpt-4o-mini"));
        assert_eq!(list.edited("o1").unwrap(), models("gpt-4o,gpt-4o-mini,o1"));
    }

    #[test]
    fn a_leading_minus_covers_the_whole_value() {
        let list = models("gpt-3.5-turbo,gpt-4,o1");
        assert_eq!(list.edited("-gpt-3.5-turbo gpt-4").unwrap(), models("o1"));
        assert!(ModelList::Any.edited("-gpt-4").is_err());
    }

    #[test]
    fn star_lifts_and_minus_star_shuts() {
        assert_eq!(models("a").edited("*").unwrap(), AllowList::Any);
        assert!(!models("a").edited("-*").unwrap().allows("a"));
        let shut = IpList::Any.edited("-*").unwrap();
        assert!(shut.allows("127.0.0.1".parse().unwrap()));
        assert!(shut.allows("::1".parse().unwrap()));
        assert!(!shut.allows("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_stored_of_a_list_reads_back_as_it() {
        let shut = models("").edited("-*").unwrap();
        for edit in [", *", "-a -*", "*,*", "-a"] {
            let edited = shut.edited("b -*").unwrap().edited(edit).unwrap();
            assert_eq!(models(&edited.text()), edited, "{edit}");
        }
        let star = shut.edited(",*").unwrap();
        assert_eq!(star, AllowList::Any);
        assert_eq!(star.edited("b").unwrap(), models("b"));
    }

    #[test]
    fn an_ipv4_address_inside_ipv6_is_the_same_address() {
        let list = IpList::parse("118.23.21.0/24").unwrap();
        assert!(list.allows("::ffff:118.23.21.7".parse().unwrap()));
        assert!(!list.allows("118.23.22.7".parse().unwrap()));
        for mapped in ["::ffff:118.23.21.0/120", "::ffff:118.23.21.7"] {
            let list = IpList::parse(mapped).unwrap();
            assert!(list.allows("118.23.21.7".parse().unwrap()), "{mapped}");
            assert!(!list.allows("118.23.22.7".parse().unwrap()), "{mapped}");
        }
        let wide = IpList::parse("::/0").unwrap();
        assert!(wide.allows("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_item_is_named() {
        let error = IpList::Any.edited("10.0.0.0/40").unwrap_err();
        assert!(error.to_string().contains("10.0.0.0/40"));
        assert!(LevelList::parse("11").is_err());
        assert!(ResourceList::parse("v1/chat").is_err());
    }

    proptest! {
        #[test]
        fn adding_and_removing_an_item_leaves_the_list(stored in "[a-c]{1,3}(,[a-c]{1,3}){0,4}", item in "x[a-c]{1,3}") {
            let list = AllowList::<Pattern>::Only(vec![]).edited(&stored).unwrap();
            let there = list.edited(&item).unwrap();
            prop_assert!(there.allows(&item));
            prop_assert_eq!(there.edited(&format!("-{item}")).unwrap(), list);
        }

        #[test]
        fn the_stored_form_reads_back(stored in "[a-c*]{1,3}(,[a-c]{1,3}){0,4}") {
            let list = models(&stored);
            prop_assert_eq!(models(&list.text()), list);
        }
    }
}

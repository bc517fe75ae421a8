//! Routing rules in their text form, and what each says about a model or a level. Which account's rule applies, and
//! what happens if a level is exhausted, is in `plan`.

use crate::{Invalid, id::Level, pattern::Pattern};

/// Rules are searched for every call, so their number is limited.
const RULES_MAX: usize = 1000;
const NAME_BYTES_MAX: usize = 255;
/// A call tries the models of a chain one after the other, and each may take its time.
const SUBSTITUTES_MAX: usize = 16;

/// `src=dst` pairs: which model is sent upstream for the requested one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelMapper(Vec<(Pattern, String)>);

/// `pattern=level` pairs: which level serves a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LevelMapper(Vec<(Pattern, Level)>);

/// `from=to` pairs: where a call goes if a level is exhausted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SwitchOver(Vec<(Level, Level)>);

/// `src=dst1|dst2|…` chains: which models replace one that no level can serve.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelFailover(Vec<(Pattern, Vec<String>)>);

impl ModelMapper {
    /// Reads `src=dst` pairs separated by commas.
    ///
    /// # Errors
    /// Errors if a pair cannot be read.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        pairs("MODEL_MAPPER", text, |source, target| {
            if target.contains('*') {
                return Err(format!("the target {target:?} may not contain *"));
            }
            Ok((Pattern::new(source), target.to_owned()))
        })
        .map(Self)
    }

    /// The model to use instead, if a rule matches. A target is not mapped again.
    pub fn map(&self, model: &str) -> Option<&str> {
        best(&self.0, model).map(String::as_str)
    }

    /// Sources without a wildcard: names that clients may ask for.
    pub fn exact_sources(&self) -> impl Iterator<Item = &str> {
        let exact = self.0.iter().filter(|(source, _)| source.is_exact());
        exact.map(|(source, _)| source.as_str())
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text form.
    pub fn text(&self) -> String {
        join(
            self.0
                .iter()
                .map(|(source, target)| format!("{}={target}", source.as_str())),
        )
    }
}

impl LevelMapper {
    /// Reads `pattern=level` pairs separated by commas.
    ///
    /// # Errors
    /// Errors if a pair cannot be read.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        pairs("LEVEL_MAPPER", text, |source, target| {
            Ok((Pattern::new(source), level(target)?))
        })
        .map(Self)
    }

    /// The target levels of its rules.
    pub fn levels(&self) -> impl Iterator<Item = Level> {
        self.0.iter().map(|(_, level)| *level)
    }

    /// The level for a model, if a rule matches.
    pub fn map(&self, model: &str) -> Option<Level> {
        best(&self.0, model).copied()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text form.
    pub fn text(&self) -> String {
        join(
            self.0
                .iter()
                .map(|(source, level)| format!("{}={level}", source.as_str())),
        )
    }
}

impl SwitchOver {
    /// Reads `from=to` pairs separated by commas. Cycles are allowed; planning cuts them.
    ///
    /// # Errors
    /// Errors if a pair cannot be read.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        pairs("SWITCH_OVER", text, |from, to| {
            Ok((level(from)?, level(to)?))
        })
        .map(Self)
    }

    /// The target levels of its rules.
    pub fn levels(&self) -> impl Iterator<Item = Level> {
        self.0.iter().map(|(_, to)| *to)
    }

    /// The level that this one fails over to.
    pub fn next(&self, from: Level) -> Option<Level> {
        self.0
            .iter()
            .find(|(source, _)| *source == from)
            .map(|(_, to)| *to)
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text form.
    pub fn text(&self) -> String {
        join(self.0.iter().map(|(from, to)| format!("{from}={to}")))
    }
}

impl ModelFailover {
    /// Reads `src=dst1|dst2|…` chains separated by commas.
    ///
    /// # Errors
    /// Errors if a chain cannot be read.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        pairs("MODEL_FAILOVER", text, |source, targets| {
            if targets.contains('*') {
                return Err(format!("the targets {targets:?} may not contain *"));
            }
            let chain: Vec<_> = targets
                .split('|')
                .map(|name| name.trim().to_owned())
                .collect();
            if chain.iter().any(String::is_empty) {
                return Err(format!("{targets:?} has an empty name"));
            }
            if chain.len() > SUBSTITUTES_MAX {
                return Err(format!("has more than {SUBSTITUTES_MAX} names in a chain"));
            }
            Ok((Pattern::new(source), chain))
        })
        .map(Self)
    }

    /// The models to try instead, in this order, if a rule matches.
    pub fn chain(&self, model: &str) -> Option<&[String]> {
        best(&self.0, model).map(Vec::as_slice)
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text form.
    pub fn text(&self) -> String {
        let chain = |(source, targets): &(Pattern, Vec<String>)| {
            format!("{}={}", source.as_str(), targets.join("|"))
        };
        join(self.0.iter().map(chain))
    }
}

/// The rules of one account, or of the system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoutingRules {
    /// Model mapping.
    pub model_mapper: ModelMapper,
    /// Level by model.
    pub level_mapper: LevelMapper,
    /// Failover between levels.
    pub switch_over: SwitchOver,
    /// Failover between models.
    pub model_failover: ModelFailover,
}

impl RoutingRules {
    /// Whether there is none of any kind.
    pub fn is_empty(&self) -> bool {
        let Self {
            model_mapper,
            level_mapper,
            switch_over,
            model_failover,
        } = self;
        model_mapper.is_empty()
            && level_mapper.is_empty()
            && switch_over.is_empty()
            && model_failover.is_empty()
    }
}

/// An exact name wins, else the pattern with the most literal characters, else the first listed.
pub(crate) fn best<'a, T>(rules: &'a [(Pattern, T)], model: &str) -> Option<&'a T> {
    let mut found: Option<(usize, &T)> = None;
    for (pattern, target) in rules {
        if !pattern.matches(model) {
            continue;
        }
        if pattern.is_exact() {
            return Some(target);
        }
        let literal = pattern.literal_chars();
        if found.is_none_or(|(most, _)| literal > most) {
            found = Some((literal, target));
        }
    }
    found.map(|(_, target)| target)
}

fn pairs<T>(
    field: &str,
    text: &str,
    read: impl Fn(&str, &str) -> Result<T, String>,
) -> Result<Vec<T>, Invalid> {
    let mut rules = Vec::new();
    for pair in text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let (source, target) = pair
            .split_once('=')
            .map(|(source, target)| (source.trim(), target.trim()))
            .filter(|(source, target)| !source.is_empty() && !target.is_empty())
            .ok_or_else(|| {
                Invalid::new(field, format!("{pair:?} is not of the form source=target"))
            })?;
        let mut names = target.split('|').chain([source]);
        if names.any(|name| name.len() > NAME_BYTES_MAX) || pair.chars().any(char::is_control) {
            return Err(Invalid::new(
                field,
                "has a name that is too long or not printable",
            ));
        }
        rules.push(read(source, target).map_err(|problem| Invalid::new(field, problem))?);
        if rules.len() > RULES_MAX {
            return Err(Invalid::new(
                field,
                format!("has more than {RULES_MAX} rules"),
            ));
        }
    }
    Ok(rules)
}

fn level(text: &str) -> Result<Level, String> {
    text.parse()
        .ok()
        .and_then(|level| Level::new(level).ok())
        .ok_or_else(|| format!("{text:?} is no level from 0 to 10"))
}

fn join(pairs: impl Iterator<Item = String>) -> String {
    pairs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_name_wins_then_the_most_literal_pattern_then_the_first() {
        let mapper = ModelMapper::parse("gpt-*=a, gpt-4*=b, gpt-4=c, *-x=d, y-*=e").unwrap();
        assert_eq!(mapper.map("gpt-4"), Some("c"));
        assert_eq!(mapper.map("gpt-4o"), Some("b"));
        assert_eq!(mapper.map("gpt-3"), Some("a"));
        assert_eq!(mapper.map("y-x"), Some("d"));
        assert_eq!(mapper.map("claude"), None);
    }

    #[test]
    fn levels_and_rings_are_read() {
        let mapper = LevelMapper::parse("gpt-4*=2, claude*=3").unwrap();
        assert_eq!(mapper.map("claude-x"), Some(Level::new(3).unwrap()));
        let ring = SwitchOver::parse("1=2,2=3,3=1").unwrap();
        assert_eq!(
            ring.next(Level::new(3).unwrap()),
            Some(Level::new(1).unwrap())
        );
        assert_eq!(ring.next(Level::ZERO), None);
    }

    #[test]
    fn a_chain_names_its_substitutes_in_order() {
        let rules = ModelFailover::parse("gpt-4o=gpt-4.1 | o3, claude-*=gpt-4o").unwrap();
        assert_eq!(rules.chain("gpt-4o").unwrap(), ["gpt-4.1", "o3"]);
        assert_eq!(rules.chain("claude-x").unwrap(), ["gpt-4o"]);
        assert_eq!(rules.chain("other"), None);
        assert_eq!(rules.text(), "gpt-4o=gpt-4.1|o3,claude-*=gpt-4o");
        assert_eq!(ModelFailover::parse(&rules.text()).unwrap(), rules);
        let long = format!("a={}", vec!["b"; 17].join("|"));
        for bad in ["a", "a=", "=b", "a=b||c", "a=b|", "a=b*", &long] {
            let error = ModelFailover::parse(bad).unwrap_err();
            assert_eq!(error.field, "MODEL_FAILOVER", "{bad}");
        }
    }

    #[test]
    fn a_broken_pair_is_named() {
        for bad in ["gpt-4", "=x", "x=", "gpt=a*"] {
            assert_eq!(
                ModelMapper::parse(bad).unwrap_err().field,
                "MODEL_MAPPER",
                "{bad}"
            );
        }
        for bad in ["gpt=eleven", "gpt=11", "gpt=-1"] {
            assert!(LevelMapper::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_text_form_reads_back() {
        let mapper = ModelMapper::parse(" a = b ,c*=d,").unwrap();
        assert_eq!(mapper.text(), "a=b,c*=d");
        assert_eq!(ModelMapper::parse(&mapper.text()).unwrap(), mapper);
    }
}

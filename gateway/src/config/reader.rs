//! Reading of single variables: what each kind of value looks like, and what is said of one that does not.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use proxyxai_contract::{Invalid, secret::Secret};

use crate::variables::variables;

/// Reads single variables and remembers what was wrong.
pub(super) struct Reader<'a> {
    pub(super) get: &'a dyn Fn(&'static str) -> Option<OsString>,
    pub(super) problems: Vec<Invalid>,
}

impl Reader<'_> {
    /// The value, trimmed; none when it is unset or empty.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.exact(name)?;
        let text = value.expose().trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The same of a variable that holds a secret.
    pub(super) fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.text(name).map(Secret::new)
    }

    /// A secret with the blanks around it: a password may have some.
    pub(super) fn exact(&mut self, name: &'static str) -> Option<Secret> {
        let value = (self.get)(name)?;
        let Ok(text) = value.into_string() else {
            self.problem(name, "is not UTF-8");
            return None;
        };
        (!text.is_empty()).then(|| Secret::new(text))
    }

    /// What is read from a variable that holds a secret. Whoever reads it has no words for what is wrong but those of
    /// the program: a message made of the value could not be returned.
    pub(super) fn of_secret<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&Secret) -> Result<T, &'static str>,
    ) -> Option<T> {
        let secret = self.secret(name)?;
        parse(&secret)
            .map_err(|problem| self.problem(name, problem))
            .ok()
    }

    pub(super) fn problem(&mut self, name: &'static str, problem: &str) {
        self.problems.push(Invalid::new(name, problem));
    }

    /// The value, or the default that the table names.
    pub(super) fn or_default(&mut self, name: &'static str) -> String {
        self.text(name).unwrap_or_else(|| {
            let variable = variables().find(|variable| variable.name == name);
            variable
                .map(|variable| variable.default)
                .unwrap_or_default()
                .to_owned()
        })
    }

    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let text = self.text(name)?;
        parse(&text)
            .map_err(|error| self.problems.push(error.under(name)))
            .ok()
    }

    pub(super) fn number<T: FromStr + PartialOrd + std::fmt::Display + Copy>(
        &mut self,
        name: &'static str,
        least: T,
        most: T,
    ) -> T {
        match self.or_default(name).parse::<T>() {
            Ok(number) if number >= least && number <= most => number,
            _ => {
                self.problem(
                    name,
                    &format!("must be a whole number from {least} to {most}"),
                );
                least
            }
        }
    }

    pub(super) fn millis(&mut self, name: &'static str) -> Duration {
        // A day: longer than any call, short enough for every timer.
        Duration::from_millis(self.number(name, 1, 86_400_000))
    }

    /// None for 0.
    pub(super) fn millis_or_off(&mut self, name: &'static str) -> Option<Duration> {
        let millis = self.number(name, 0, 86_400_000);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    pub(super) fn choice<'c>(&mut self, name: &'static str, choices: [&'c str; 2]) -> &'c str {
        let text = self.or_default(name);
        if let Some(choice) = choices.into_iter().find(|choice| *choice == text) {
            return choice;
        }
        let [first, second] = choices;
        self.problem(name, &format!("must be {first} or {second}"));
        first
    }

    pub(super) fn listen(
        &mut self,
        address: &'static str,
        port: &'static str,
        host: Ipv4Addr,
    ) -> SocketAddr {
        let fallback = SocketAddr::from((host, self.number(port, 0u16, u16::MAX)));
        let bad = |_| Invalid::new(address, "must be an address and a port, e.g. 0.0.0.0:3443");
        self.parsed(address, |text| text.parse().map_err(bad))
            .unwrap_or(fallback)
    }
}

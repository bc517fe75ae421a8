//! Reading of single variables: the form of each kind of value, and the error if it is invalid.

use std::{
    ffi::OsString,
    fs::File,
    io::Read as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use proxyxai_contract::{Invalid, secret::Secret};

use crate::{
    listen::Listen,
    variables::{NumberRange, find},
};

/// Longer than any secret, and small enough to be read by mistake.
const SECRET_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads single variables and collects problems.
pub(super) struct EnvReader<'a> {
    pub(super) get: &'a dyn Fn(&'static str) -> Option<OsString>,
    pub(super) problems: Vec<Invalid>,
}

impl EnvReader<'_> {
    /// The value, trimmed. Returns `None` if it is unset or empty.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.exact(name)?;
        let text = value.expose().trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A trimmed value that is secret.
    pub(super) fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.text(name).map(Secret::new)
    }

    /// A secret without trimming: a password may begin or end with blanks.
    pub(super) fn exact(&mut self, name: &'static str) -> Option<Secret> {
        let given = (self.get)(name).filter(|value| !value.is_empty());
        let file = find(name).and_then(|variable| {
            let file = variable.file?;
            let path = (self.get)(file).filter(|path| !path.is_empty())?;
            Some((file, path))
        });
        match (given, file) {
            (Some(value), None) => {
                let text = value.into_string();
                let text = text.map_err(|_| self.problem(name, "is not UTF-8"));
                text.ok().map(Secret::new)
            }
            (None, Some((file, path))) => kept_in(Path::new(&path))
                .map_err(|problem| self.problem(file, &problem))
                .ok(),
            (Some(_), Some((file, _))) => {
                self.problem(file, &format!("is given besides {name}; give one of them"));
                None
            }
            (None, None) => None,
        }
    }

    /// What `parse` makes of a secret. Its error is a fixed text of the program, so that no message can contain the
    /// value.
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
        let problem = Invalid::new(name, problem);
        // Some variables are read more than once.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The value, or the default of the table.
    pub(super) fn or_default(&mut self, name: &'static str) -> String {
        self.text(name).unwrap_or_else(|| {
            find(name)
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

    /// A whole number in the range of the table.
    pub(super) fn number<T: TryFrom<u64> + Default>(&mut self, name: &'static str) -> T {
        let Some(NumberRange { least, most, .. }) = find(name).and_then(|it| it.range) else {
            self.problem(name, "has no range in the table of variables");
            return T::default();
        };
        let given = self.or_default(name).parse().ok();
        let number = given.filter(|number| (least..=most).contains(number));
        number
            .and_then(|number| number.try_into().ok())
            .unwrap_or_else(|| {
                let problem = format!("must be a whole number from {least} to {most}");
                self.problem(name, &problem);
                T::default()
            })
    }

    pub(super) fn millis(&mut self, name: &'static str) -> Duration {
        Duration::from_millis(self.number(name))
    }

    /// `None` for 0.
    pub(super) fn millis_or_off(&mut self, name: &'static str) -> Option<Duration> {
        let millis = self.number(name);
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

    /// `LISTEN`, else `PORT` on all addresses.
    pub(super) fn listen_http(&mut self) -> Listen {
        let everywhere = Listen::Everywhere(self.number("PORT"));
        let named = self.address("LISTEN");
        named.map_or(everywhere, Listen::At)
    }

    /// `GRPC_LISTEN`, else `GRPC_PORT` on 127.0.0.1.
    pub(super) fn listen_grpc(&mut self) -> SocketAddr {
        let port = self.number("GRPC_PORT");
        let named = self.address("GRPC_LISTEN");
        named.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    pub(super) fn address(&mut self, name: &'static str) -> Option<SocketAddr> {
        let bad = |_| {
            let example = "must be an address and a port, e.g. 0.0.0.0:3443 or [::1]:3443";
            Invalid::new(name, example)
        };
        self.parsed(name, |text| text.parse().map_err(bad))
    }
}

/// The secret in a file, without the line break that editors add at its end. Errors do not contain the secret.
fn kept_in(path: &Path) -> Result<Secret, String> {
    let mut text = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(SECRET_FILE_BYTES_MAX + 1).read_to_end(&mut text));
    read.map_err(|error| format!("names a file that cannot be read: {error}"))?;
    if text.len() as u64 > SECRET_FILE_BYTES_MAX {
        return Err(format!(
            "names a file of more than {SECRET_FILE_BYTES_MAX} bytes"
        ));
    }
    let text = String::from_utf8(text).map_err(|_| "names a file that is not UTF-8".to_owned())?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let secret = line.strip_suffix('\r').unwrap_or(line);
    if secret.trim().is_empty() {
        return Err("names a file with nothing in it".to_owned());
    }
    Ok(Secret::new(secret))
}

//! The rules of the repository that the compiler does not check: which module may name what, how a file begins, how
//! long it may be. A violation is printed with the reason of its rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What files below a path must not name.
struct Rule {
    /// Relative to the repository's root; a folder, or a file without its ending.
    module: &'static str,
    /// Files of the module that the rule does not apply to.
    except: &'static [&'static str],
    /// Crates, or modules prefixed with `crate::`.
    not: &'static [&'static str],
    reason: &'static str,
}

const CLOCK: [&str; 6] = [
    "std::time::SystemTime",
    "std::time::Instant",
    "tokio::time",
    "jiff::Timestamp::now",
    "jiff::ZonedDateTime::now",
    "SystemTime::now",
];

const RULES: [Rule; 18] = [
    Rule {
        module: "proto/src",
        except: &["wire", "convert"],
        not: &["wire", "tonic", "tokio", "prost", "prost_types"],
        reason: "values both planes share know neither the wire nor a runtime",
    },
    Rule {
        module: "control/src/domain",
        except: &[],
        not: &["wire", "tokio", "sea_orm", "tonic", "axum", "reqwest"],
        reason: "the domain is pure: no I/O, no framework",
    },
    Rule {
        module: "control/src/domain",
        except: &[],
        not: &CLOCK,
        reason: "the domain is handed the time",
    },
    Rule {
        module: "control/src/domain",
        except: &[],
        not: &[
            "crate::store",
            "crate::ops",
            "crate::grpc",
            "crate::rest",
            "crate::publish",
            "crate::vault",
        ],
        reason: "the domain is the lowest layer of control",
    },
    Rule {
        module: "control/src/prices",
        except: &[],
        not: &[
            "tokio",
            "sea_orm",
            "tonic",
            "axum",
            "reqwest",
            "crate::store",
            "crate::ops",
            "crate::grpc",
            "crate::rest",
            "crate::publish",
        ],
        reason: "price tables are compared and merged without I/O",
    },
    Rule {
        module: "control/src/ops",
        except: &[],
        not: &[
            "wire",
            "axum",
            "tonic",
            "sea_orm",
            "crate::grpc",
            "crate::rest",
        ],
        reason: "an operation does not know who asks or how rows are stored",
    },
    Rule {
        module: "control/src/jobs",
        except: &[],
        not: &[
            "wire",
            "axum",
            "tonic",
            "sea_orm",
            "crate::grpc",
            "crate::rest",
        ],
        reason: "background work asks nobody and answers nobody",
    },
    Rule {
        module: "control/src/grpc",
        except: &[],
        not: &["crate::store", "sea_orm", "crate::rest", "axum"],
        reason: "a front calls operations and nothing below them",
    },
    Rule {
        module: "control/src/rest",
        except: &[],
        not: &["crate::store", "sea_orm", "crate::grpc", "wire", "tonic"],
        reason: "a front calls operations and nothing below them",
    },
    Rule {
        module: "control/src/store",
        except: &[],
        not: &[
            "wire",
            "tonic",
            "axum",
            "crate::ops",
            "crate::grpc",
            "crate::rest",
        ],
        reason: "the store keeps rows and serves operations only",
    },
    Rule {
        module: "dataplane/src/decide",
        except: &[],
        not: &["wire", "tokio", "axum", "reqwest", "hyper", "tonic"],
        reason: "decisions are pure functions",
    },
    Rule {
        module: "dataplane/src/decide",
        except: &[],
        not: &CLOCK,
        reason: "decisions are handed the time",
    },
    Rule {
        module: "dataplane/src/formats",
        except: &[],
        not: &["wire", "tokio", "axum", "reqwest", "hyper", "tonic"],
        reason: "formats turn bytes into facts and do nothing else",
    },
    Rule {
        module: "dataplane/src/formats",
        except: &[],
        not: &CLOCK,
        reason: "formats are handed the time",
    },
    Rule {
        module: "dataplane/src/relay",
        except: &[],
        not: &["wire", "tonic", "crate::http", "crate::link"],
        reason: "a relayed call knows neither the link to control nor the router",
    },
    Rule {
        module: "dataplane/src/telemetry",
        except: &[],
        not: &[
            "wire",
            "tonic",
            "crate::http",
            "crate::link",
            "crate::relay",
        ],
        reason: "whoever watches calls does not steer them",
    },
    Rule {
        module: "dataplane/src/http",
        except: &[],
        not: &["wire", "tonic", "crate::link"],
        reason: "the router does not know the link to control",
    },
    Rule {
        module: "dataplane/src/link",
        except: &[],
        not: &["crate::http", "crate::relay", "crate::decide"],
        reason: "the link carries news; it does not relay",
    },
];

const CRATES: [&str; 4] = ["proto/src", "control/src", "dataplane/src", "gateway/src"];
const SOURCES: [&str; 5] = [
    "proto/src",
    "control/src",
    "dataplane/src",
    "gateway/src",
    "tests/it",
];
const CODE_LINES_MAX: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All source files below a folder, as path from the root and text.
fn files(below: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path
                    .strip_prefix(root())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Whether a file is only compiled for tests.
fn is_test(name: &str) -> bool {
    let stem = name.trim_end_matches(".rs");
    name.starts_with("tests/")
        || stem.ends_with("/tests")
        || stem.ends_with("_tests")
        || name.contains("/tests/")
        || stem.ends_with("/testing")
        || stem.ends_with("/samples")
}

/// The code without comments and string contents, up to the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    let text = text
        .split("\n#[cfg(test)]\npub(crate) mod tests {")
        .next()
        .unwrap();
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(raw) = raw_string(rest) {
            raw
        } else if letter == '"' {
            string(rest)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\") {
            // A quote or an escape in a character literal.
            rest[2..].find('\'').map_or(rest.len(), |end| end + 3)
        } else {
            code.push(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        };
        code.extend(rest[..skipped].chars().filter(|letter| *letter == '\n'));
        rest = &rest[skipped..];
    }
    code
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let hashes = text
        .strip_prefix('r')?
        .bytes()
        .take_while(|byte| *byte == b'#')
        .count();
    let body = &text[1 + hashes..];
    let end = format!("\"{}", "#".repeat(hashes));
    body.strip_prefix('"')?
        .find(&end)
        .map(|at| 1 + hashes + 1 + at + end.len())
}

/// Every path that the code names, with `use` groups expanded.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(|letter: char| letter.is_alphabetic() || letter == '_') {
        rest = &rest[start..];
        let end = rest
            .find(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':'))
            .unwrap_or(rest.len());
        let word = &rest[..end];
        if word == "use" {
            let end = rest.find(';').unwrap_or(rest.len());
            let mut parts = rest[3..end].split(" as ");
            // What follows `as` is a new name, not a path.
            let mut tree = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                tree.push_str(
                    part.trim_start_matches(|letter: char| {
                        letter.is_alphanumeric() || letter == '_'
                    }),
                );
            }
            expand("", &tree.split_whitespace().collect::<String>(), &mut paths);
            rest = &rest[end..];
        } else {
            if word.contains("::") {
                paths.push(word.trim_end_matches(':').to_owned());
            }
            rest = &rest[end..];
        }
    }
    paths
}

fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let mut depth = 0;
    let mut start = 0;
    for (at, letter) in tree.char_indices().chain([(tree.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = &tree[start..at];
                match item.split_once('{') {
                    Some((head, inside)) => expand(
                        &format!("{prefix}{head}"),
                        inside.strip_suffix('}').unwrap_or(inside),
                        paths,
                    ),
                    None if !item.is_empty() => paths.push(format!("{prefix}{item}")),
                    None => {}
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Whether a path names a crate, a module of the same crate, or the generated code.
fn names(path: &str, forbidden: &str, module: &str) -> bool {
    let begins = |path: &str, with: &str| {
        path == with
            || path
                .strip_prefix(with)
                .is_some_and(|rest| rest.starts_with("::"))
    };
    if let Some(own) = forbidden.strip_prefix("crate::") {
        // A file in a folder reaches the crate's root by `crate` or by as many `super` as it is deep.
        let inside = path.trim_start_matches("super::");
        let climbs = path.len() - inside.len() > "super::".len();
        return begins(path, forbidden)
            || (climbs && begins(inside, own))
            || begins(path, &format!("{module}::{own}"));
    }
    if forbidden == "wire" {
        return begins(path, "wire")
            || begins(path, "proxyxai_contract::wire")
            || begins(path, "crate::wire")
            || begins(path, "super::wire");
    }
    begins(path, forbidden) || begins(path, &format!("::{forbidden}"))
}

fn holds(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn modules_name_only_what_they_may() {
    let mut broken = Vec::new();
    for Rule {
        module,
        except,
        not,
        reason,
    } in RULES
    {
        let mut looked_at = 0;
        for (name, text) in files(module).into_iter().filter(|(name, _)| !is_test(name)) {
            let inside = name.trim_start_matches(module).trim_start_matches('/');
            if except
                .iter()
                .any(|part| inside.split('/').next().unwrap().trim_end_matches(".rs") == *part)
            {
                continue;
            }
            looked_at += 1;
            for path in paths(&code(&text)) {
                for forbidden in not {
                    if names(&path, forbidden, module) {
                        broken.push(format!("{name} names {path}: {module} must not name {forbidden}, because {reason}"));
                    }
                }
            }
        }
        assert!(looked_at > 0, "{module} has no files");
    }
    holds(&broken);
}

#[test]
fn only_the_link_names_tonic_in_the_data_plane_and_only_the_store_names_the_orm_in_control() {
    let mut broken = Vec::new();
    for (below, crates, allowed) in [
        // lib.rs takes the channel to control.
        (
            "dataplane/src",
            &["tonic", "wire"][..],
            &["dataplane/src/link", "dataplane/src/lib.rs"][..],
        ),
        (
            "control/src",
            &["sea_orm", "sea_orm_migration"][..],
            &["control/src/store"][..],
        ),
        (
            "control/src",
            &["lettre"][..],
            &["control/src/jobs/mailer.rs"][..],
        ),
        (
            "dataplane/src",
            &["opentelemetry", "opentelemetry_sdk", "opentelemetry_otlp"][..],
            &["dataplane/src/telemetry/trace.rs"][..],
        ),
        ("gateway/src", &["sea_orm", "wire", "reqwest"][..], &[][..]),
    ] {
        for (name, text) in files(below).into_iter().filter(|(name, _)| !is_test(name)) {
            if allowed.iter().any(|part| name.starts_with(part)) {
                continue;
            }
            for path in paths(&code(&text)) {
                if let Some(named) = crates.iter().find(|named| names(&path, named, below)) {
                    broken.push(format!("{name} names {path}: {named} belongs to {allowed:?}, so that one place knows it"));
                }
            }
        }
    }
    holds(&broken);
}

#[test]
fn the_planes_depend_on_the_contract_and_never_on_each_other() {
    let manifest =
        |package: &str| fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
    for (package, never) in [
        ("control", &["proxyxai-dataplane", "anyhow"][..]),
        ("dataplane", &["proxyxai-control", "sea-orm", "anyhow"][..]),
        (
            ".",
            &[
                "proxyxai-control.workspace",
                "proxyxai-dataplane.workspace",
                "anyhow.workspace",
                "tokio.workspace",
            ][..],
        ),
    ] {
        let text = manifest(package);
        for name in never {
            assert!(
                !text.lines().any(|line| line.starts_with(name)),
                "{package} depends on {name}"
            );
        }
    }
}

#[test]
fn pure_modules_have_no_async() {
    let mut broken = Vec::new();
    for module in [
        "control/src/domain",
        "dataplane/src/decide",
        "dataplane/src/formats",
    ] {
        for (name, text) in files(module) {
            let code = code(&text);
            let words = code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
            if words
                .into_iter()
                .any(|word| word == "async" || word == "await")
            {
                broken.push(format!(
                    "{name} is async: {module} is computed, not waited for"
                ));
            }
        }
    }
    holds(&broken);
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let mut broken = Vec::new();
    for (name, text) in SOURCES.into_iter().flat_map(files) {
        let says = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("//! "));
        if says.is_none_or(|says| says.trim().len() < 10) {
            broken.push(format!(
                "{name} does not begin with `//! ` and what it is for"
            ));
        }
    }
    holds(&broken);
}

#[test]
fn no_file_has_more_than_400_lines_of_code() {
    let mut broken = Vec::new();
    for (name, text) in SOURCES
        .into_iter()
        .flat_map(files)
        .filter(|(name, _)| !is_test(name))
    {
        let lines = code(&text)
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count();
        if lines > CODE_LINES_MAX {
            broken.push(format!(
                "{name} has {lines} lines of code: split it by responsibility"
            ));
        }
    }
    holds(&broken);
}

#[test]
fn only_the_journal_of_open_calls_is_unsafe() {
    let mut broken = Vec::new();
    for (name, text) in SOURCES.into_iter().flat_map(files) {
        let marked = |line: &str| line.contains("unsafe {") || line.contains("unsafe_code");
        if name != "dataplane/src/spool/journal.rs" && text.lines().any(marked) && !is_test(&name) {
            broken.push(format!(
                "{name} is unsafe: a memory map is the one thing that has to be"
            ));
        }
    }
    holds(&broken);
}

#[test]
fn nothing_unwraps_outside_tests() {
    let mut broken = Vec::new();
    for (name, text) in SOURCES
        .into_iter()
        .flat_map(files)
        .filter(|(name, _)| !is_test(name))
    {
        for (number, line) in code(&text).lines().enumerate() {
            if line.contains(".unwrap()") || line.contains("#[allow(") {
                broken.push(format!("{name}:{}: {} (give the error a name, or the lint an `expect` with its reason)", number + 1, line.trim()));
            }
        }
    }
    holds(&broken);
}

#[test]
fn each_setting_is_read_where_it_is_used() {
    let read: BTreeSet<String> = files("control/src")
        .into_iter()
        .filter(|(name, _)| !is_test(name))
        .flat_map(|(_, text)| {
            let code = code(&text);
            let places = code.split("&setting::").skip(1);
            let name = |place: &str| {
                place
                    .split(|letter: char| !is_of_constant(letter))
                    .next()
                    .map(str::to_owned)
            };
            places.filter_map(name).collect::<Vec<_>>()
        })
        .collect();
    let unread: Vec<_> = proxyxai_control::domain::setting::ALL
        .iter()
        .filter(|setting| !read.contains(setting.name))
        .map(|setting| format!("nothing reads the setting {}", setting.name))
        .collect();
    holds(&unread);
}

fn is_of_constant(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

#[test]
fn the_repository_speaks_of_the_product_alone() {
    let mut broken = Vec::new();
    for (name, text) in SOURCES.into_iter().flat_map(files) {
        for (number, line) in text.lines().enumerate() {
            // Concatenated, so that this file keeps its own rule.
            for word in [
                concat!("TO", "DO"),
                concat!("FIX", "ME"),
                concat!("/home", "/"),
                concat!("/work", "/"),
                concat!("X", "XX:"),
            ] {
                if line.contains(word) {
                    broken.push(format!("{name}:{}: {word}", number + 1));
                }
            }
        }
    }
    holds(&broken);
}

#[test]
fn the_reader_of_this_file_sees_what_is_named() {
    let text = "//! x\nuse crate::{a::{b, c as d}, store};\nuse super::super::http::x;\nfn f() { tonic::y(\"wire::z\", 'a', '\"'); /* */ sea_orm::q } // axum::n\nlet r = r#\"reqwest::m\"#;\n#[cfg(test)]\nmod tests { use tokio::x; }";
    let found = paths(&code(text));
    assert_eq!(
        found,
        [
            "crate::a::b",
            "crate::a::c",
            "crate::store",
            "super::super::http::x",
            "tonic::y",
            "sea_orm::q"
        ]
    );
    assert!(
        names("crate::store", "crate::store", "m")
            && names("super::super::http::x", "crate::http", "m")
    );
    assert!(
        !names("http::Uri", "crate::http", "m")
            && names("proxyxai_contract::wire::Key", "wire", "m")
    );
    assert!(!names("wired::x", "wire", "m") && names("tokio::time::sleep", "tokio", "m"));
}

/// The types that the code of a file defines.
fn types(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = match line.strip_prefix("pub(") {
            Some(rest) => rest.split_once(") ")?.1,
            None => line.strip_prefix("pub ").unwrap_or(line),
        };
        let kinds = ["struct ", "enum ", "trait ", "union "];
        let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
        let end = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
        Some(&rest[..end.unwrap_or(rest.len())])
    })
}

#[test]
fn no_two_types_of_a_crate_have_one_name() {
    let mut broken = Vec::new();
    for source in CRATES {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (file, text) in files(source) {
            // The ORM's macros require the names `Model` and `Relation` for every table.
            if is_test(&file) || file.contains("/store/entity/") {
                continue;
            }
            for name in types(&code(&text)) {
                places
                    .entry(name.to_owned())
                    .or_default()
                    .push(file.clone());
            }
        }
        let twice = places.into_iter().filter(|(_, files)| files.len() > 1);
        broken.extend(twice.map(|(name, files)| format!("{name}: {}", files.join(", "))));
    }
    holds(&broken);
}

#[test]
fn no_modules_of_a_crate_need_each_other() {
    for source in CRATES {
        let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let top = |file: &str| {
            let inside = file.strip_prefix(source)?.strip_prefix('/')?;
            let name = inside.split('/').next()?.trim_end_matches(".rs");
            Some(name.to_owned()).filter(|name| name != "lib" && name != "main")
        };
        let sources: Vec<_> = files(source)
            .into_iter()
            .filter(|(file, _)| !is_test(file))
            .filter_map(|(file, text)| Some((top(&file)?, code(&text))))
            .collect();
        let modules: BTreeSet<_> = sources.iter().map(|(module, _)| module.clone()).collect();
        for (module, code) in &sources {
            let named = paths(code).into_iter().filter_map(|path| {
                let inside = path.strip_prefix("crate::")?;
                Some(inside.split("::").next()?.to_owned())
            });
            let others = named.filter(|name| name != module && modules.contains(name));
            needs.entry(module.clone()).or_default().extend(others);
        }
        // A module that needs no remaining module is in no cycle.
        while let Some(free) = needs
            .iter()
            .find(|(_, needs)| needs.is_empty())
            .map(|(module, _)| module.clone())
        {
            needs.remove(&free);
            for others in needs.values_mut() {
                others.remove(&free);
            }
        }
        assert!(needs.is_empty(), "{source}: a cycle is among {needs:?}");
    }
}

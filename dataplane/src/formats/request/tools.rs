//! Tools that a provider runs inside a call. With each use the model reads its context again, and some uses have a fee.
//! A tool that the client runs ends the call instead, and is free by itself.
//!
//! Sources: <https://platform.openai.com/docs/guides/tools>,
//! <https://platform.claude.com/docs/en/agents-and-tools/tool-use/tool-reference>, <https://docs.x.ai/docs/guides/tools/overview>,
//! <https://ai.google.dev/gemini-api/docs/tools>.

use proxyxai_contract::part::BillPart;

use super::members::folded;

/// Prefixes of the types of tools that the client runs.
const AT_CLIENT: &[&str] = &[
    "function",
    "custom",
    "namespace",
    "localshell",
    "applypatch",
    "bash",
    "texteditor",
    "memory",
    "computer",
];
/// The charge for uses of other tools, by a part of their type. The first match wins.
const FEES: &[(&str, BillPart)] = &[
    ("filesearch", BillPart::FileSearch),
    ("collectionssearch", BillPart::FileSearch),
    ("retrieval", BillPart::FileSearch),
    ("codeinterpreter", BillPart::CodeSession),
    ("codeexecution", BillPart::CodeSession),
    ("shell", BillPart::CodeSession),
    ("maps", BillPart::Maps),
    ("webfetch", BillPart::Page),
    ("urlcontext", BillPart::Page),
    ("visit", BillPart::Page),
    ("search", BillPart::WebSearch),
];
/// Members of a tool without a type that the client runs.
const OF_CLIENT: &[&str] = &["function", "name", "inputschema", "parameters"];

/// A tool that the provider runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The charge for its uses, if any.
    pub(crate) fee: Option<BillPart>,
    /// The most uses of it, if limited.
    pub(crate) uses: Option<u64>,
}

/// The tools of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RequestTools {
    /// Whether there are any. Providers describe them to the model in words of their own.
    pub(crate) any: bool,
    /// Whether one of them shows the model a screen.
    pub(crate) sees: bool,
    /// The tools that the provider runs, one for each charge.
    pub(crate) runs: Vec<Run>,
}

/// A tool, as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct Tool {
    typed: bool,
    of_client: bool,
    runs: Vec<Option<BillPart>>,
    by_name: Option<BillPart>,
    uses: Option<u64>,
}

impl RequestTools {
    /// Adds a tool that the provider runs.
    pub(crate) fn run(&mut self, fee: Option<BillPart>, uses: Option<u64>) {
        self.any = true;
        match self.runs.iter_mut().find(|run| run.fee == fee) {
            Some(run) => {
                run.uses = run
                    .uses
                    .zip(uses)
                    .map(|(one, other)| one.saturating_add(other));
            }
            None => self.runs.push(Run { fee, uses }),
        }
    }

    /// Adds a tool that has been read.
    pub(super) fn add(&mut self, tool: Tool) {
        self.any = true;
        let Tool {
            typed,
            of_client,
            runs,
            by_name,
            uses,
        } = tool;
        for fee in runs {
            self.run(fee, uses);
        }
        if !typed && !of_client {
            self.run(by_name, uses);
        }
    }
}

impl Tool {
    /// Reads its type, or one of several.
    pub(super) fn is_a(&mut self, word: &str, tools: &mut RequestTools) {
        self.typed = true;
        let word: String = folded(word).collect();
        tools.sees |= word.starts_with("computer");
        if !AT_CLIENT.iter().any(|known| word.starts_with(known)) {
            self.runs.push(fee(&word));
        }
    }

    /// Reads the name of another member.
    pub(super) fn has(&mut self, name: &str) {
        let name: String = folded(name).collect();
        self.of_client |= OF_CLIENT.contains(&name.as_str());
        self.by_name = self.by_name.or_else(|| fee(&name));
    }

    /// Reads how often it may be used. Other values than numbers are ignored.
    pub(super) fn may_be_used(&mut self, text: &[u8]) {
        let uses = std::str::from_utf8(text).ok();
        self.uses = uses.and_then(|text| text.parse().ok());
    }
}

fn fee(word: &str) -> Option<BillPart> {
    let found = FEES.iter().find(|(part, _)| word.contains(part));
    found.map(|(_, fee)| *fee)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::formats::request::read;

    fn tools(more: &Value) -> RequestTools {
        let mut body = json!({"model": "m"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        // A null beside it makes the other parser read it.
        let plain = read(body.to_string().as_bytes(), "application/json", true).unwrap();
        body["stream"] = Value::Null;
        let slowly = read(body.to_string().as_bytes(), "application/json", true).unwrap();
        assert_eq!(plain.tools, slowly.tools, "{body}");
        plain.tools
    }

    fn runs(more: &Value) -> Vec<(Option<BillPart>, Option<u64>)> {
        let runs = tools(more).runs.into_iter();
        runs.map(|run| (run.fee, run.uses)).collect()
    }

    #[test]
    fn what_the_client_runs_ends_the_call() {
        let all = json!({"tools": [
            {"type": "function", "function": {"name": "web_search", "parameters": {}}},
            {"type": "function", "name": "search"},
            {"type": "custom", "name": "code_interpreter"},
            {"name": "search", "description": "x", "input_schema": {"type": "object"}},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "text_editor_20250728", "name": "e"},
            {"type": "local_shell"},
        ]});
        assert_eq!(runs(&all), []);
        assert!(tools(&all).any && !tools(&all).sees);
        assert!(!tools(&json!({"tools": []})).any);
        let screen = json!({"tools": [{"type": "computer_20250124", "name": "computer"}]});
        assert!(tools(&screen).sees && runs(&screen).is_empty());
    }

    #[test]
    fn what_the_provider_runs_is_known_by_its_fee() {
        for (tool, found) in [
            (
                json!({"type": "web_search_preview"}),
                (Some(BillPart::WebSearch), None),
            ),
            (
                json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 3}),
                (Some(BillPart::WebSearch), Some(3)),
            ),
            (
                json!({"type": "file_search", "vector_store_ids": []}),
                (Some(BillPart::FileSearch), None),
            ),
            (
                json!({"type": "code_interpreter", "container": {"type": "auto"}}),
                (Some(BillPart::CodeSession), None),
            ),
            (
                json!({"type": "mcp", "server_url": "https://x"}),
                (None, None),
            ),
            (
                json!({"Type": "x_search"}),
                (Some(BillPart::WebSearch), None),
            ),
            (
                json!({"type": "function", "TYPE": "web_search"}),
                (Some(BillPart::WebSearch), None),
            ),
            (
                json!({"google_search": {}}),
                (Some(BillPart::WebSearch), None),
            ),
            (json!({"googleMaps": {}}), (Some(BillPart::Maps), None)),
            (json!({"never_seen": {}}), (None, None)),
            (json!({"type": "never_seen"}), (None, None)),
            (
                json!({"type": "web_fetch_20250910", "max_uses": "many"}),
                (Some(BillPart::Page), None),
            ),
        ] {
            assert_eq!(runs(&json!({"tools": [tool]})), [found], "{tool}");
        }
        for (more, found) in [
            (
                json!({"web_search_options": {}}),
                (Some(BillPart::WebSearch), None),
            ),
            (
                json!({"search_parameters": {"mode": "auto"}}),
                (Some(BillPart::WebSearch), None),
            ),
            (
                json!({"enable_search": true}),
                (Some(BillPart::WebSearch), None),
            ),
            (
                json!({"plugins": [{"id": "web"}]}),
                (Some(BillPart::WebSearch), None),
            ),
            (json!({"mcp_servers": [{"url": "https://x"}]}), (None, None)),
        ] {
            assert_eq!(runs(&more), [found], "{more}");
        }
        for more in [
            json!({"web_search_options": null, "enable_search": false, "mcp_servers": []}),
            json!({"plugins": [], "tools": null}),
        ] {
            assert_eq!(runs(&more), [], "{more}");
        }
    }

    #[test]
    fn uses_of_several_add_up_and_one_without_a_bound_has_none() {
        let search = |uses: Value| json!({"type": "web_search_20250305", "max_uses": uses});
        let both = json!({"tools": [search(json!(3)), search(json!(4))]});
        assert_eq!(runs(&both), [(Some(BillPart::WebSearch), Some(7))]);
        let one = json!({"tools": [search(json!(3)), search(Value::Null)]});
        assert_eq!(runs(&one), [(Some(BillPart::WebSearch), None)]);
    }
}

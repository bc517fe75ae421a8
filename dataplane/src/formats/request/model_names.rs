//! Other places where a body names models: fallbacks, tools, graders and nested requests. Only the places listed here
//! count.
//!
//! Places are data. If the value at a place is a list, each item counts. Names are compared like the most lenient
//! parser does and duplicates all count, so no spelling needs to be refused.

use proxyxai_contract::part::BillPart;
use serde_json::value::RawValue;

use super::{
    BadRequest, MODEL_BYTES_MAX,
    members::folded,
    skim::Scan,
    tools::{RequestTools, Tool},
};
use crate::formats::json_skip;

/// More different names in one request serve no purpose.
const NAMES_MAX: usize = 64;
/// Nesting depth of lists and objects that is followed.
const DEPTH_MAX: u32 = 16;

/// The content of a place.
#[derive(Debug, Clone, Copy)]
pub(super) enum MemberContent {
    /// A name, or an object with one as `model` or `id`.
    Model,
    /// An object with these places.
    Object(&'static [ModelMember]),
    /// An object whose members are all such places.
    Each(&'static Self),
    /// A tool: its type, and how often it may be used.
    Tool,
    ToolType,
    ToolUses,
}

/// A member that names models, or has members that do.
#[derive(Debug, Clone, Copy)]
pub(super) struct ModelMember {
    pub(super) name: &'static str,
    pub(super) holds: MemberContent,
}

const fn at(name: &'static str, holds: MemberContent) -> ModelMember {
    ModelMember { name, holds }
}

const MODEL: ModelMember = at("model", MemberContent::Model);
/// `OpenRouter`: tried if the first one fails: <https://openrouter.ai/docs/guides/routing/model-fallbacks>.
const MODELS: ModelMember = at("models", MemberContent::Model);
/// Anthropic and `LiteLLM`, with objects or names: <https://docs.litellm.ai/docs/proxy/client_side_fallbacks>.
const FALLBACKS: ModelMember = at("fallbacks", MemberContent::Model);
const FALLBACK_MODELS: ModelMember = at("fallback_models", MemberContent::Model);
/// `image_generation` (<https://platform.openai.com/docs/api-reference/responses/create>) and Anthropic's advisor.
const TOOLS: ModelMember = at("tools", MemberContent::Tool);
const TOOL: &[ModelMember] = &[
    MODEL,
    at("type", MemberContent::ToolType),
    at("max_uses", MemberContent::ToolUses),
];
/// `OpenRouter`: <https://openrouter.ai/docs/guides/features/plugins>.
const PLUGINS: ModelMember = at(
    "plugins",
    MemberContent::Object(&[MODEL, MODELS, at("analysis_models", MemberContent::Model)]),
);
/// Realtime: <https://platform.openai.com/docs/api-reference/realtime-sessions>.
const TRANSCRIPTION: MemberContent = MemberContent::Object(&[MODEL]);
const AUDIO: ModelMember = at(
    "audio",
    MemberContent::Object(&[at(
        "input",
        MemberContent::Object(&[at("transcription", TRANSCRIPTION)]),
    )]),
);
const INPUT_TRANSCRIPTION: ModelMember = at("input_audio_transcription", TRANSCRIPTION);
/// Graders of evals and of fine-tuning: <https://platform.openai.com/docs/api-reference/graders>.
const GRADER: MemberContent =
    MemberContent::Object(&[MODEL, at("graders", MemberContent::Each(&PLAIN_GRADER))]);
const PLAIN_GRADER: MemberContent = MemberContent::Object(&[MODEL]);
/// A nested request.
const REQUEST: MemberContent =
    MemberContent::Object(&[MODEL, MODELS, FALLBACKS, FALLBACK_MODELS, TOOLS, PLUGINS]);
const GATEWAY: MemberContent =
    MemberContent::Object(&[at("gateway", MemberContent::Object(&[MODELS]))]);

/// The members of a body that have places. `model` itself is read separately.
pub(super) const ROOTS: &[ModelMember] = &[
    MODELS,
    TOOLS,
    FALLBACKS,
    FALLBACK_MODELS,
    PLUGINS,
    at(
        "session",
        MemberContent::Object(&[MODEL, AUDIO, INPUT_TRANSCRIPTION]),
    ),
    AUDIO,
    INPUT_TRANSCRIPTION,
    // Anthropic's message batches (<https://docs.anthropic.com/en/api/creating-message-batches>) and Mistral's.
    at(
        "requests",
        MemberContent::Object(&[MODEL, at("params", REQUEST), at("body", REQUEST)]),
    ),
    // Evals: <https://platform.openai.com/docs/api-reference/evals>.
    at("testing_criteria", GRADER),
    at("data_source", MemberContent::Object(&[MODEL])),
    at("grader", GRADER),
    at("judge", MemberContent::Model),
    at("judge_model", MemberContent::Model),
    at("grader_model", MemberContent::Model),
    // Fine-tuning.
    at(
        "method",
        MemberContent::Object(&[at(
            "reinforcement",
            MemberContent::Object(&[at("grader", GRADER)]),
        )]),
    ),
    at("assistant", MemberContent::Object(&[MODEL])),
    at("agent", MemberContent::Object(&[MODEL])),
    // Vercel's gateway: <https://vercel.com/docs/ai-gateway/models-and-providers/model-fallbacks>.
    at("providerOptions", GATEWAY),
];

/// The names found, without duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct NamedModels {
    names: Vec<String>,
    /// A member with names that are too many, too long or too deep.
    excess: Option<&'static str>,
    /// A member with another value in place of a name.
    odd: Option<&'static str>,
    /// The tools in the same body.
    pub(super) tools: RequestTools,
}

impl NamedModels {
    /// All names. With `strict`, everything in the body must be understood.
    pub(super) fn checked(self, strict: bool) -> Result<Vec<String>, BadRequest> {
        let problem = "names models in a way that cannot be checked";
        match self.excess.or(self.odd.filter(|_| strict)) {
            Some(field) => Err(BadRequest::Field { field, problem }),
            None => Ok(self.names),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Takes the name from an object in place of `model`. Returns false if it is not an object.
    pub(super) fn add_object(&mut self, model: &RawValue) -> bool {
        let is_object = model.get().starts_with('{');
        if is_object {
            self.add(&MODEL, model);
        }
        is_object
    }

    /// Finds the names in the value of a member.
    pub(super) fn add(&mut self, root: &ModelMember, value: &RawValue) {
        let mut scan = Scan::new(value.get().as_bytes());
        if self.walk(&mut scan, root).is_none() {
            // It parsed, but could not be followed.
            self.excess = Some(root.name);
        }
    }

    /// Skips the value of a member and keeps the names in it. Returns `None` if it cannot be followed.
    pub(super) fn walk(&mut self, scan: &mut Scan<'_>, root: &ModelMember) -> Option<()> {
        if root.name == PLUGINS.name && !matches!(scan.rest(), [b'[', b']', ..] | [b'n', ..]) {
            // The most used plugin searches the web.
            self.tools.run(Some(BillPart::WebSearch), None);
        }
        ModelWalk {
            named: self,
            root: root.name,
            tool: Tool::default(),
        }
        .value(scan, root.holds, 0)
    }

    fn keep(&mut self, name: String, root: &'static str) {
        if self.names.last() == Some(&name) || self.names.contains(&name) {
            return;
        }
        if self.names.len() >= NAMES_MAX || name.len() > MODEL_BYTES_MAX {
            self.excess = Some(root);
            return;
        }
        self.names.push(name);
    }
}

struct ModelWalk<'n> {
    named: &'n mut NamedModels,
    root: &'static str,
    /// The current tool.
    tool: Tool,
}

impl ModelWalk<'_> {
    fn value(&mut self, scan: &mut Scan<'_>, holds: MemberContent, depth: u32) -> Option<()> {
        if depth >= DEPTH_MAX {
            self.named.excess = Some(self.root);
            return scan.value().map(drop);
        }
        match (scan.first()?, holds) {
            (b'[' | b'{', MemberContent::ToolType | MemberContent::ToolUses) => {
                scan.value().map(drop)
            }
            (b'[', _) => self.items(scan, holds, depth),
            (b'{', MemberContent::Tool) => {
                self.tool = Tool::default();
                self.members(scan, holds, depth)?;
                self.named.tools.add(std::mem::take(&mut self.tool));
                Some(())
            }
            (b'{', _) => self.members(scan, holds, depth),
            (b'"', MemberContent::Model) => {
                let text = scan.value()?;
                self.named
                    .keep(serde_json::from_slice(text).ok()?, self.root);
                Some(())
            }
            (_, MemberContent::Model) => {
                if scan.value()? != b"null" {
                    self.named.odd = Some(self.root);
                }
                Some(())
            }
            (b'"', MemberContent::ToolType) => {
                let word: String = serde_json::from_slice(scan.value()?).ok()?;
                self.tool.is_a(&word, &mut self.named.tools);
                Some(())
            }
            (_, MemberContent::ToolUses) => {
                self.tool.may_be_used(scan.value()?);
                Some(())
            }
            (
                _,
                MemberContent::Object(_)
                | MemberContent::Each(_)
                | MemberContent::Tool
                | MemberContent::ToolType,
            ) => scan.value().map(drop),
        }
    }

    fn items(&mut self, scan: &mut Scan<'_>, holds: MemberContent, depth: u32) -> Option<()> {
        scan.byte(b'[')?;
        if scan.byte(b']').is_some() {
            return Some(());
        }
        loop {
            self.value(scan, holds, depth + 1)?;
            if scan.byte(b',').is_none() {
                return scan.byte(b']');
            }
        }
    }

    fn members(&mut self, scan: &mut Scan<'_>, holds: MemberContent, depth: u32) -> Option<()> {
        scan.byte(b'{')?;
        let mut found = false;
        if scan.byte(b'}').is_none() {
            loop {
                scan.first()?;
                let name = scan.take(json_skip::skip_string(scan.rest())?)?;
                scan.cues.hear(name);
                scan.byte(b':')?;
                if let Some(holds) = below(name, holds) {
                    found = true;
                    self.value(scan, holds, depth + 1)?;
                } else {
                    if matches!(holds, MemberContent::Tool) {
                        self.tool
                            .has(serde_json::from_slice::<&str>(name).unwrap_or_default());
                    }
                    scan.value()?;
                }
                if scan.byte(b',').is_none() {
                    scan.byte(b'}')?;
                    break;
                }
            }
        }
        if !found && matches!(holds, MemberContent::Model) {
            self.named.odd = Some(self.root);
        }
        Some(())
    }
}

/// The content of a member, given that of its object. `quoted` is its name as written.
fn below(quoted: &[u8], holds: MemberContent) -> Option<MemberContent> {
    let places: &[ModelMember] = match holds {
        MemberContent::Each(each) => return Some(*each),
        MemberContent::Object(places) => places,
        MemberContent::Model => &[MODEL, at("id", MemberContent::Model)],
        MemberContent::Tool => TOOL,
        MemberContent::ToolType | MemberContent::ToolUses => &[],
    };
    let decoded;
    let name = if memchr::memchr(b'\\', quoted).is_some() {
        decoded = serde_json::from_slice::<String>(quoted).ok()?;
        decoded.as_str()
    } else {
        let inside = quoted.get(1..quoted.len().saturating_sub(1))?;
        std::str::from_utf8(inside).ok()?
    };
    let place = places.iter().find(|place| {
        place.name == name || {
            // The first letter usually decides.
            folded(name).next() == folded(place.name).next() && folded(name).eq(folded(place.name))
        }
    });
    place.map(|place| place.holds)
}

/// Path prefixes before a model's name.
const FOLDERS: [&str; 3] = ["/v1/models/", "/v1/engines/", "/v1/deployments/"];

/// The names in the request target, for calls without a body: a `model` parameter, and the model that a path acts on.
pub(crate) fn in_target(path: &str, query: Option<&str>) -> Vec<String> {
    let decoded = crate::formats::percent_decoded;
    let mut names = Vec::new();
    for pair in query.unwrap_or_default().split(['&', ';']) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if folded(&decoded(name)).eq("model".chars()) {
            names.push(decoded(&value.replace('+', " ")));
        }
    }
    let below = FOLDERS.iter().find_map(|folder| path.strip_prefix(folder));
    if let Some(below) = below {
        let first = below.split('/').next().unwrap_or_default();
        // In Google's paths a verb follows.
        let name = first.rsplit_once(':').map_or(first, |(name, _)| name);
        names.push(decoded(name));
    }
    names
}

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;

//! Conversion of public price lists into tables: `LiteLLM`'s `model_prices_and_context_window.json` and models.dev's
//! `api.json`, recognised by their content.

mod litellm;
mod media;
mod models_dev;
#[cfg(test)]
mod tests;
mod tiers;

use std::{collections::BTreeMap, str::FromStr as _};

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use proxyxai_contract::{Invalid, price_file};

/// The formats that can be read.
pub const FORMATS: [&str; 2] = [LITELLM, MODELS_DEV];
const LITELLM: &str = "litellm";
const MODELS_DEV: &str = "models.dev";

/// The result of an import.
#[derive(Debug)]
pub struct Imported {
    /// The format of the list, one of `FORMATS`.
    pub format: &'static str,
    /// The list as a price table.
    pub table: Value,
    /// The number of models in it.
    pub models: usize,
    /// Entries that were left out, counted by mode.
    pub skipped: BTreeMap<String, usize>,
}

/// Where and when a list was read.
#[derive(Debug, Clone, Copy)]
pub struct ListOrigin<'a> {
    /// Its address, or the name of its file.
    pub url: &'a str,
    /// The day it was read, which becomes the version of the table.
    pub day: &'a str,
}

/// The models of a list, by group.
struct Groups {
    /// The name of the list in `Sources`.
    source: String,
    by_name: BTreeMap<&'static str, Map<String, Value>>,
    skipped: BTreeMap<String, usize>,
}

pub(crate) const CHAT: &str = "ChatPricing";
pub(crate) const TUNED: &str = "FineTuningPricing";

/// Vendors that are reached directly: our name, the prefix of their models in `LiteLLM`'s list, and their name in
/// models.dev's. A vendor with several names in a list has several rows.
const VENDORS: [(&str, &str, &str); 21] = [
    ("openai", "openai", "openai"),
    ("openai", "text-completion-openai", ""),
    ("anthropic", "anthropic", "anthropic"),
    ("google", "gemini", "google"),
    ("deepseek", "deepseek", "deepseek"),
    ("xai", "xai", "xai"),
    ("mistral", "mistral", "mistral"),
    ("groq", "groq", "groq"),
    ("cohere", "cohere", "cohere"),
    ("cohere", "cohere_chat", ""),
    ("moonshot", "moonshot", "moonshotai"),
    ("qwen", "dashscope", "alibaba"),
    ("zhipu", "zai", "zai"),
    ("zhipu", "", "zhipuai"),
    ("minimax", "minimax", "minimax"),
    ("together", "together_ai", "togetherai"),
    ("fireworks", "fireworks_ai", "fireworks-ai"),
    ("fireworks", "fireworks_ai-embedding-models", ""),
    ("perplexity", "perplexity", "perplexity"),
    ("perplexity", "", "perplexity-agent"),
    ("openrouter", "openrouter", "openrouter"),
];

/// Reads a list.
///
/// # Errors
/// Errors if it is not such a list, or the resulting table cannot be loaded.
pub fn read(text: &str, origin: ListOrigin<'_>) -> Result<Imported, Invalid> {
    let list: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| Invalid::new("list", error.to_string()))?;
    let any = |member: &str| list.values().any(|entry| entry.get(member).is_some());
    let (format, groups) = if any("litellm_provider") {
        (LITELLM, litellm::read(&list, Groups::of(LITELLM, origin)))
    } else if any("models") {
        let groups = Groups::of(MODELS_DEV, origin);
        (MODELS_DEV, models_dev::read(&list, groups))
    } else {
        let problem = "is neither a price list of LiteLLM nor one of models.dev";
        return Err(Invalid::new("list", problem));
    };
    let Groups {
        source,
        by_name,
        skipped,
    } = groups;
    let built_in: Value = serde_json::from_str(&price_file::DEFAULT)
        .map_err(|error| Invalid::new("prices", error.to_string()))?;
    let sources = json!({source: {"Url": origin.url, "Date": origin.day}});
    let mut table = json!({
        "Version": origin.day, "Providers": built_in.get("Providers"), "Sources": sources,
    });
    let models = by_name.values().map(Map::len).sum();
    for (group, models) in by_name {
        if let Value::Object(table) = &mut table {
            table.insert(group.to_owned(), models.into());
        }
    }
    price_file::compose(&table.to_string(), None)?;
    Ok(Imported {
        format,
        table,
        models,
        skipped,
    })
}

// === impl Groups ===

impl Groups {
    fn of(list: &str, origin: ListOrigin<'_>) -> Self {
        Self {
            // Entries of an older list keep its date.
            source: format!("sync-{list}-{}", origin.day),
            by_name: BTreeMap::new(),
            skipped: BTreeMap::new(),
        }
    }

    fn skip(&mut self, mode: &str) {
        let count = self.skipped.entry(mode.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    /// Adds a model unless its name is taken. If two vendors use the same name, the first gets it and the other's
    /// is prefixed with the vendor. Fine-tuned models are named by their base.
    fn add(
        &mut self,
        group: &'static str,
        name: &str,
        provider: &str,
        mut fields: Map<String, Value>,
    ) {
        let (group, name) = match name.strip_prefix("ft:") {
            Some(base) => (TUNED, base),
            None => (group, name),
        };
        let name = match self.provider_of(group, name) {
            None => name.to_owned(),
            Some(before) if before == provider => return,
            Some(_) => format!("{provider}/{name}"),
        };
        if self.provider_of(group, &name).is_some() {
            return;
        }
        fields.insert("Provider".to_owned(), provider.into());
        fields.insert("Source".to_owned(), self.source.as_str().into());
        let models = self.by_name.entry(group).or_default();
        models.insert(name, Value::Object(fields));
    }

    /// The provider that already has a name, in any group.
    fn provider_of(&self, group: &str, name: &str) -> Option<&str> {
        let groups = self.by_name.iter();
        let mut same = groups.filter(|(other, _)| (**other == TUNED) == (group == TUNED));
        let entry = same.find_map(|(_, models)| models.get(name))?;
        entry.get("Provider")?.as_str()
    }
}

/// A number, exactly as it is written. Returns `None` if it is not a number.
fn decimal(entry: &Value, name: &str) -> Option<Decimal> {
    let text = entry.get(name)?.as_number()?.to_string();
    Decimal::from_str(&text)
        .or_else(|_| Decimal::from_scientific(&text))
        .ok()
        .filter(|number| !number.is_sign_negative())
}

fn number(value: Decimal) -> Option<Value> {
    serde_json::from_str(&value.round_dp(9).normalize().to_string()).ok()
}

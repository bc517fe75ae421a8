//! The objects that a response is about: ids of what was created, the status of the work and, for batch results, the
//! usage by model.

use proxyxai_contract::{
    object::{ID_BYTES_MAX, ObjectKind},
    part::BillPart,
    tokens::TokenUsage,
};

use super::{
    report::UsageReport,
    shape::{SchemaField, UsageSchema},
};

/// Longer lists of output ids are kept in part, because a record must fit its slot on disk.
const ITEM_BYTES_MAX: usize = 640;
/// The overhead of an id beyond its bytes.
const ITEM_BYTES: usize = 24;
/// Entries of one batch, by model and prompt length.
const SHARES_MAX: usize = 64;
/// Longer prompts than these have other prices at some provider. Calls on either side of a limit are summed separately,
/// because the longest prompt determines the price of a sum.
const STEPS: [u64; 6] = [32_000, 100_000, 128_000, 200_000, 256_000, 272_000];

/// The usage of calls for one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelUsage {
    pub(crate) model: String,
    /// The sum over all calls.
    pub(crate) tokens: TokenUsage,
    /// Units charged in addition to tokens.
    pub(crate) pieces: Vec<(BillPart, u64)>,
    /// The longest prompt.
    pub(crate) longest: u64,
}

/// What the response says about objects.
#[derive(Debug, Default)]
pub(crate) struct Subject {
    id: Option<String>,
    /// Other created objects.
    made: Vec<(ObjectKind, String)>,
    made_bytes: usize,
    /// The file with the results of a batch.
    output: Option<String>,
    status: String,
    /// The model that answered; in batch results, the model of the current line.
    model: String,
    /// The usage by model.
    sums: Vec<ModelUsage>,
    /// Number of calls, whatever their outcome.
    calls: u64,
}

impl Subject {
    pub(super) fn hear(&mut self, schema: UsageSchema, what: SchemaField, found: &[u8]) {
        if matches!(
            what,
            SchemaField::Usage | SchemaField::FirstUsage | SchemaField::Answer
        ) {
            if what == SchemaField::Usage {
                self.add(schema, found);
            }
            return;
        }
        let Ok(text) = std::str::from_utf8(found) else {
            return;
        };
        match what {
            SchemaField::Id if self.id.is_none() && is_id(text) => self.id = Some(text.to_owned()),
            SchemaField::Item => self.note(ObjectKind::Item, text),
            SchemaField::Container => self.note(ObjectKind::Container, text),
            SchemaField::File => self.note(ObjectKind::File, text),
            SchemaField::Output => {
                self.output = Some(text.to_owned());
                self.note(ObjectKind::File, text);
            }
            SchemaField::Status => text.clone_into(&mut self.status),
            SchemaField::Call => self.calls = self.calls.saturating_add(1),
            SchemaField::Model => text.clone_into(&mut self.model),
            _ => {}
        }
    }

    fn note(&mut self, kind: ObjectKind, id: &str) {
        let known = |made: &(ObjectKind, String)| made.0 == kind && made.1 == id;
        let bytes = self
            .made_bytes
            .saturating_add(id.len())
            .saturating_add(ITEM_BYTES);
        if bytes > ITEM_BYTES_MAX || !is_id(id) || self.made.iter().any(known) {
            return;
        }
        self.made_bytes = bytes;
        self.made.push((kind, id.to_owned()));
    }

    /// Adds one call of a batch.
    fn add(&mut self, schema: UsageSchema, usage: &[u8]) {
        let Ok(Some(report)) = UsageReport::read(usage) else {
            return;
        };
        let dialect = if schema == UsageSchema::MessageLines {
            UsageSchema::Messages
        } else {
            UsageSchema::Completions
        };
        let tokens = report.reported(dialect).tokens;
        let model = std::mem::take(&mut self.model);
        let step = |length: u64| STEPS.iter().filter(|step| length > **step).count();
        let same =
            |known: &ModelUsage| known.model == model && step(known.longest) == step(tokens.input);
        let known = self.sums.iter().position(same);
        let full = self.sums.len() >= SHARES_MAX;
        if let Some(at) = known.or(full.then_some(SHARES_MAX - 1)) {
            if let Some(share) = self.sums.get_mut(at) {
                share.tokens = plus(&share.tokens, &tokens);
                share.longest = share.longest.max(tokens.input);
                report.pieces().for_each(|piece| share.add(piece));
            }
            return;
        }
        let mut share = ModelUsage {
            model,
            tokens,
            pieces: Vec::new(),
            longest: tokens.input,
        };
        report.pieces().for_each(|piece| share.add(piece));
        self.sums.push(share);
    }

    /// The id of the object that was created or queried.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Other created objects.
    pub(crate) fn made(&self) -> &[(ObjectKind, String)] {
        &self.made
    }

    /// The status of the work; empty if not given.
    pub(crate) fn status(&self) -> &str {
        &self.status
    }

    /// The file with the results of a batch.
    pub(crate) fn output(&self) -> Option<&str> {
        self.output.as_deref()
    }

    /// The model that answered, as reported; empty if not given.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// How many calls it reports, for batch results.
    pub(crate) const fn calls(&self) -> u64 {
        self.calls
    }

    /// The usage by model over the lines of a batch.
    pub(crate) fn sums(&self) -> &[ModelUsage] {
        &self.sums
    }
}

// === impl ModelUsage ===

impl ModelUsage {
    fn add(&mut self, (part, count): (BillPart, u64)) {
        match self.pieces.iter_mut().find(|(known, _)| *known == part) {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => self.pieces.push((part, count)),
        }
    }
}

/// Whether a text can be an id.
fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic();
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

fn plus(sum: &TokenUsage, more: &TokenUsage) -> TokenUsage {
    TokenUsage {
        input: sum.input.saturating_add(more.input),
        cached: sum.cached.saturating_add(more.cached),
        cache_write: sum.cache_write.saturating_add(more.cache_write),
        cache_write_hour: sum.cache_write_hour.saturating_add(more.cache_write_hour),
        output: sum.output.saturating_add(more.output),
        reasoning: sum.reasoning.saturating_add(more.reasoning),
        input_audio: sum.input_audio.saturating_add(more.input_audio),
        output_audio: sum.output_audio.saturating_add(more.output_audio),
        input_image: sum.input_image.saturating_add(more.input_image),
        output_image: sum.output_image.saturating_add(more.output_image),
        input_video: sum.input_video.saturating_add(more.input_video),
        cached_audio: sum.cached_audio.saturating_add(more.cached_audio),
        cached_image: sum.cached_image.saturating_add(more.cached_image),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::UsageReader;
    use super::*;

    fn heard(schema: UsageSchema, body: &[u8], cut: usize) -> UsageReader {
        let mut reader = UsageReader::with_subject(schema);
        for piece in body.chunks(cut.max(1)) {
            reader.push(piece);
        }
        reader
    }

    const RESPONSE: &str = r#"{"object":"response", "error":null,"metadata":{"id":"wrong","status":"x"},
        "id" : "resp_1","status":"completed","output":[{"id":"rs_1","type":"reasoning","summary":[{"id":"no"}]},
        {"type":"message","id":"msg_1","status":"in_progress","content":[{"type":"output_text","text":"\"id\":\"no\""}]}],
        "usage":{"input_tokens":3,"output_tokens":4}}"#;

    proptest! {
        #[test]
        fn ids_are_found_at_their_places_however_an_answer_is_cut(cut in 1usize..400) {
            let reader = heard(UsageSchema::Responses, RESPONSE.as_bytes(), cut);
            let subject = reader.subject().unwrap();
            prop_assert_eq!(subject.id(), Some("resp_1"));
            prop_assert_eq!(subject.status(), "completed");
            let items: Vec<_> = subject.made().iter().map(|made| made.1.as_str()).collect();
            prop_assert_eq!(items, ["rs_1", "msg_1"]);
            prop_assert_eq!(reader.tokens().unwrap().output, 4);
        }

        #[test]
        fn the_id_of_a_stream_is_known_from_its_first_event(cut in 1usize..300) {
            let stream = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_7\",\"status\":\"in_progress\",\"usage\":null}}\n\n\
                event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"msg_1\",\"delta\":\"x\"}\n\n";
            let reader = heard(UsageSchema::Responses, stream.as_bytes(), cut);
            let subject = reader.subject().unwrap();
            prop_assert_eq!(subject.id(), Some("resp_7"));
            prop_assert_eq!(subject.status(), "in_progress");
        }

        #[test]
        fn the_lines_of_a_batch_are_added_up_by_model(cut in 1usize..200) {
            let lines = "{\"custom_id\":\"a\",\"result\":{\"type\":\"succeeded\",\"message\":{\"id\":\"m\",\"model\":\"one\",\"content\":[{\"usage\":{\"input_tokens\":99}}],\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}}\n\
                {\"custom_id\":\"b\",\"result\":{\"type\":\"errored\"}}\n\
                {\"custom_id\":\"c\",\"result\":{\"message\":{\"model\":\"two\",\"usage\":{\"input_tokens\":10,\"output_tokens\":20}}}}\n\
                {\"custom_id\":\"d\",\"result\":{\"message\":{\"model\":\"one\",\"usage\":{\"input_tokens\":100,\"output_tokens\":200}}}}\n";
            let reader = heard(UsageSchema::MessageLines, lines.as_bytes(), cut);
            let sums: Vec<_> = reader.subject().unwrap().sums().iter().map(|it| (it.model.as_str(), it.tokens.input, it.tokens.output)).collect();
            prop_assert_eq!(sums, [("one", 101, 202), ("two", 10, 20)]);
        }
    }

    #[test]
    fn calls_with_long_prompts_are_added_up_apart_and_searches_with_them() {
        let line = |input: u64, searches: u64| {
            format!(
                "{{\"custom_id\":\"a\",\"response\":{{\"body\":{{\"model\":\"m\",\"usage\":{{\"prompt_tokens\":{input},\"completion_tokens\":1,\"server_tool_use\":{{\"web_search_requests\":{searches}}}}}}}}}}}\n"
            )
        };
        let lines = [
            line(150_000, 1),
            line(190_000, 2),
            line(273_000, 4),
            line(151_000, 0),
        ]
        .concat();
        let reader = heard(UsageSchema::BodyLines, lines.as_bytes(), 100);
        let sums: Vec<_> = reader
            .subject()
            .unwrap()
            .sums()
            .iter()
            .map(|it| (it.tokens.input, it.longest, it.pieces.clone()))
            .collect();
        let searches = |count| vec![(BillPart::WebSearch, count)];
        assert_eq!(
            sums,
            [
                (491_000, 190_000, searches(3)),
                (273_000, 273_000, searches(4))
            ]
        );
        assert_eq!(reader.tier(), "batch");
    }

    #[test]
    fn no_more_is_remembered_than_has_a_place() {
        let items: Vec<_> = (0..100)
            .map(|at| format!(r#"{{"id":"msg_{at}"}}"#))
            .collect();
        let body = format!(r#"{{"id":"r","output":[{}]}}"#, items.join(","));
        let reader = heard(UsageSchema::Responses, body.as_bytes(), 1000);
        let made = reader.subject().unwrap().made();
        assert!((10..100).contains(&made.len()), "{}", made.len());
    }
}

//! What providers charge for: the parts of a bill, each with its unit and its field in the price table. A new part
//! needs one more row here, and code that reads it from responses.

/// One kind of charge. Records on disk and on the wire store its position here, so append new ones at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BillPart {
    /// Prompt text without cache use.
    InputText,
    /// Prompt text read from the cache.
    CachedText,
    /// Prompt text written to the cache.
    CacheWrite,
    /// Prompt text written to the cache and kept for an hour.
    CacheWriteHour,
    /// Prompt audio.
    InputAudio,
    /// Prompt audio read from the cache.
    CachedAudio,
    /// Prompt images.
    InputImage,
    /// Prompt images read from the cache.
    CachedImage,
    /// Prompt video.
    InputVideo,
    /// Text that a search found and the model read, reported beside the prompt.
    Citation,
    /// Generated text.
    OutputText,
    /// Reasoning tokens.
    Reasoning,
    /// Generated audio.
    OutputAudio,
    /// Generated images, by tokens.
    OutputImage,
    /// Characters of text to be spoken.
    Character,
    /// Duration of a recording that is read, in milliseconds.
    AudioHour,
    /// Duration of a video that is generated, in milliseconds.
    VideoSecond,
    /// Generated images, by count.
    Image,
    /// Web searches by a tool.
    WebSearch,
    /// Web searches by a tool, with a small context.
    WebSearchLow,
    /// Web searches by a tool, with a medium context.
    WebSearchMedium,
    /// Web searches by a tool, with a large context.
    WebSearchHigh,
    /// Searches of stored files.
    FileSearch,
    /// Containers in which code ran.
    CodeSession,
    /// Map searches.
    Maps,
    /// Pages read from the web, or by character recognition.
    Page,
    /// Searches that a model made without being asked to.
    Query,
    /// Searches of a reranker.
    SearchUnit,
    /// Documents read.
    Document,
    /// The call itself.
    Call,
    /// Difference to the minimum price of a call, in nano-dollars.
    Minimum,
    /// The tier that served, if the table has no price for it; the standard prices apply.
    Tier,
}

/// The number of parts.
pub const PARTS: usize = BillPart::Tier as usize + 1;

/// The unit that quantities of a part count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartUnit {
    /// Tokens; prices are for a million.
    Token,
    /// Characters; prices are for a million.
    Character,
    /// Milliseconds; prices are for an hour.
    Hour,
    /// Milliseconds; prices are for a second.
    Second,
    /// Pieces; prices are for one.
    Piece,
}

/// The static data of a part.
#[derive(Debug)]
struct PartRow {
    part: BillPart,
    /// Name in records and bills.
    name: &'static str,
    /// Field in the price table; empty if the part has no price of its own.
    field: &'static str,
    unit: PartUnit,
    /// The part whose price applies if this one has none.
    instead: Option<BillPart>,
}

const fn row(part: BillPart, name: &'static str, field: &'static str, unit: PartUnit) -> PartRow {
    PartRow {
        part,
        name,
        field,
        unit,
        instead: None,
    }
}

const fn or(part: BillPart, name: &'static str, field: &'static str, instead: BillPart) -> PartRow {
    PartRow {
        instead: Some(instead),
        ..row(part, name, field, PartUnit::Token)
    }
}

const fn searches(part: BillPart, name: &'static str, field: &'static str) -> PartRow {
    PartRow {
        instead: Some(BillPart::WebSearch),
        ..row(part, name, field, PartUnit::Piece)
    }
}

/// Indexed by position in [`BillPart`].
const ROWS: [PartRow; PARTS] = [
    row(
        BillPart::InputText,
        "input_text",
        "InputText",
        PartUnit::Token,
    ),
    or(
        BillPart::CachedText,
        "cached_text",
        "CachedText",
        BillPart::InputText,
    ),
    or(
        BillPart::CacheWrite,
        "cache_write",
        "CacheWrite",
        BillPart::InputText,
    ),
    or(
        BillPart::CacheWriteHour,
        "cache_write_hour",
        "CacheWriteHour",
        BillPart::CacheWrite,
    ),
    or(
        BillPart::InputAudio,
        "input_audio",
        "InputAudio",
        BillPart::InputText,
    ),
    or(
        BillPart::CachedAudio,
        "cached_audio",
        "CachedAudio",
        BillPart::CachedText,
    ),
    or(
        BillPart::InputImage,
        "input_image",
        "InputImage",
        BillPart::InputText,
    ),
    or(
        BillPart::CachedImage,
        "cached_image",
        "CachedImage",
        BillPart::CachedText,
    ),
    or(
        BillPart::InputVideo,
        "input_video",
        "InputVideo",
        BillPart::InputText,
    ),
    or(
        BillPart::Citation,
        "citation_text",
        "CitationText",
        BillPart::InputText,
    ),
    row(
        BillPart::OutputText,
        "output_text",
        "OutputText",
        PartUnit::Token,
    ),
    or(
        BillPart::Reasoning,
        "reasoning",
        "ReasonText",
        BillPart::OutputText,
    ),
    or(
        BillPart::OutputAudio,
        "output_audio",
        "OutputAudio",
        BillPart::OutputText,
    ),
    or(
        BillPart::OutputImage,
        "output_image",
        "OutputImage",
        BillPart::OutputText,
    ),
    row(
        BillPart::Character,
        "character",
        "Character",
        PartUnit::Character,
    ),
    row(BillPart::AudioHour, "audio", "AudioHour", PartUnit::Hour),
    row(BillPart::VideoSecond, "video", "", PartUnit::Second),
    row(BillPart::Image, "image", "", PartUnit::Piece),
    row(
        BillPart::WebSearch,
        "web_search",
        "WebSearch",
        PartUnit::Piece,
    ),
    searches(BillPart::WebSearchLow, "web_search_low", "WebSearchLow"),
    searches(
        BillPart::WebSearchMedium,
        "web_search_medium",
        "WebSearchMedium",
    ),
    searches(BillPart::WebSearchHigh, "web_search_high", "WebSearchHigh"),
    row(
        BillPart::FileSearch,
        "file_search",
        "FileSearch",
        PartUnit::Piece,
    ),
    row(
        BillPart::CodeSession,
        "code_session",
        "CodeSession",
        PartUnit::Piece,
    ),
    row(BillPart::Maps, "maps", "Maps", PartUnit::Piece),
    row(BillPart::Page, "page", "Page", PartUnit::Piece),
    row(BillPart::Query, "query", "Query", PartUnit::Piece),
    row(
        BillPart::SearchUnit,
        "search_unit",
        "SearchUnit",
        PartUnit::Piece,
    ),
    row(BillPart::Document, "document", "Document", PartUnit::Piece),
    row(BillPart::Call, "call", "Call", PartUnit::Piece),
    row(BillPart::Minimum, "minimum", "", PartUnit::Piece),
    row(BillPart::Tier, "tier", "", PartUnit::Piece),
];

impl BillPart {
    /// All parts, in the order of bills.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.part)
    }

    /// Name in records and bills.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Reads what `name` says.
    pub fn parse(name: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.name == name).map(|row| row.part)
    }

    /// The field of the price table. Returns `None` if the part has no price of its own there.
    pub fn field(self) -> Option<&'static str> {
        Some(self.row().field).filter(|field| !field.is_empty())
    }

    /// The part that a field of the price table prices.
    pub fn of_field(field: &str) -> Option<Self> {
        let known = ROWS.iter().filter(|row| !row.field.is_empty());
        known
            .into_iter()
            .find(|row| row.field == field)
            .map(|row| row.part)
    }

    /// The unit of its quantities.
    pub const fn unit(self) -> PartUnit {
        self.row().unit
    }

    /// The part whose price applies if this one has none.
    pub const fn instead(self) -> Option<Self> {
        self.row().instead
    }

    /// Whether it is read by the model.
    pub fn is_input(self) -> bool {
        (Self::InputText..=Self::InputVideo).contains(&self)
    }

    /// Whether it is generated by the model.
    pub fn is_output(self) -> bool {
        (Self::OutputText..=Self::OutputImage).contains(&self)
    }

    const fn row(self) -> &'static PartRow {
        &ROWS[self as usize]
    }
}

impl PartUnit {
    /// How many units a price is for.
    pub const fn per(self) -> u64 {
        match self {
            Self::Token | Self::Character => 1_000_000,
            Self::Hour => 3_600_000,
            Self::Second => 1_000,
            Self::Piece => 1,
        }
    }

    /// The name shown to people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "1M tokens",
            Self::Character => "1M characters",
            Self::Hour => "hour",
            Self::Second => "second",
            Self::Piece => "piece",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_stands_in_its_place_under_its_own_name() {
        for (at, part) in BillPart::all().enumerate() {
            assert_eq!(part as usize, at);
            assert_eq!(BillPart::parse(part.name()), Some(part));
            if let Some(field) = part.field() {
                assert_eq!(BillPart::of_field(field), Some(part));
            }
        }
        assert_eq!(BillPart::parse("nothing"), None);
        assert_eq!(BillPart::of_field(""), None);
    }

    #[test]
    fn what_stands_for_a_price_leads_to_one_that_nothing_stands_for() {
        for part in BillPart::all() {
            let mut last = part;
            let mut steps = 0;
            while let Some(next) = last.instead() {
                assert_eq!(next.unit(), part.unit());
                last = next;
                steps += 1;
                assert!(steps < 4, "{part:?}");
            }
        }
    }
}

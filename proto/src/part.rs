//! What providers charge for: the parts of a bill, each with its unit and the field of the price table
//! that prices it. A new kind is a row more here, and a place where answers tell it.

/// One kind of thing that is charged for. Records on disk and on the wire know them by their place, so new ones
/// come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BillPart {
    /// Prompt text that has nothing to do with a cache.
    InputText,
    /// Prompt text read from the cache.
    CachedText,
    /// Prompt text written to the cache.
    CacheWrite,
    /// The same, to be kept for an hour.
    CacheWriteHour,
    /// Prompt audio.
    InputAudio,
    /// Prompt audio read from the cache.
    CachedAudio,
    /// Prompt pictures.
    InputImage,
    /// Prompt pictures read from the cache.
    CachedImage,
    /// Prompt video.
    InputVideo,
    /// Text that a search found and the model read, told beside the prompt.
    Citation,
    /// Generated text.
    OutputText,
    /// Reasoning.
    Reasoning,
    /// Generated audio.
    OutputAudio,
    /// Generated pictures, by tokens.
    OutputImage,
    /// Characters of a text that is spoken.
    Character,
    /// Length of a recording that is read, in milliseconds.
    AudioHour,
    /// Length of a video that is made, in milliseconds.
    VideoSecond,
    /// Pictures made, by the piece.
    Image,
    /// Searches of the web by a tool.
    WebSearch,
    /// The same, by how much context a search may bring.
    WebSearchLow,
    /// With a medium context.
    WebSearchMedium,
    /// With a large context.
    WebSearchHigh,
    /// Searches of stored files.
    FileSearch,
    /// Containers in which code ran.
    CodeSession,
    /// Searches of maps.
    Maps,
    /// Pages read from the web, or by character recognition.
    Page,
    /// Searches that a model made of its own accord.
    Query,
    /// Searches of a reranker.
    SearchUnit,
    /// Documents read.
    Document,
    /// The call itself.
    Call,
    /// What is missing to the least that a call costs, in nano-dollars.
    Minimum,
    /// The tier that served, where the table has no price of it: the standard prices stand for it.
    Tier,
}

/// How many parts there are.
pub const PARTS: usize = BillPart::Tier as usize + 1;

/// What the numbers of a part count.
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

/// What is known of a part.
#[derive(Debug)]
struct PartRow {
    part: BillPart,
    /// In records and bills.
    name: &'static str,
    /// In the price table; empty where a part has no price of its own.
    field: &'static str,
    unit: PartUnit,
    /// Whose price counts where it has none.
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

/// By their place in `Part`.
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
    /// All, in the order of bills.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.part)
    }

    /// In records and bills.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Reads what `name` says.
    pub fn parse(name: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.name == name).map(|row| row.part)
    }

    /// The field of the price table; none where it has no price of its own there.
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

    /// What its numbers count.
    pub const fn unit(self) -> PartUnit {
        self.row().unit
    }

    /// Whose price counts where it has none.
    pub const fn instead(self) -> Option<Self> {
        self.row().instead
    }

    /// Whether it is read.
    pub fn is_input(self) -> bool {
        (Self::InputText..=Self::InputVideo).contains(&self)
    }

    /// Whether it is generated.
    pub fn is_output(self) -> bool {
        (Self::OutputText..=Self::OutputImage).contains(&self)
    }

    const fn row(self) -> &'static PartRow {
        &ROWS[self as usize]
    }
}

impl PartUnit {
    /// How many of them a price is for.
    pub const fn per(self) -> u64 {
        match self {
            Self::Token | Self::Character => 1_000_000,
            Self::Hour => 3_600_000,
            Self::Second => 1_000,
            Self::Piece => 1,
        }
    }

    /// As it is told to people.
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

//! What an answer has said of its usage, as its places are found.

use proxyxai_contract::part::BillPart;

use super::{
    Subject,
    names::TOOL_USAGE,
    report::UsageReport,
    shape::{SchemaField, UsageSchema},
    tier::Tier,
    tools::ToolCalls,
};

/// What has been heard.
#[derive(Debug, Default)]
pub(super) struct UsageFindings {
    pub(super) report: Option<UsageReport>,
    /// Whether more than a beginning was reported.
    pub(super) last: bool,
    /// Whether a report could not be read.
    pub(super) garbled: bool,
    /// Whether something came that only an answer has.
    pub(super) answer: bool,
    /// What is said of tools beside the usage.
    pub(super) beside: Option<UsageReport>,
    /// The tier that served, where the usage does not tell.
    pub(super) tier: Tier,
    pub(super) tools: ToolCalls,
}

// === impl Told ===

impl UsageFindings {
    /// A count that is told stands before one of entries, and one of the usage before one beside it.
    pub(super) fn pieces(&self) -> Vec<(BillPart, u64)> {
        let usage = self.report.as_ref();
        let all = || [usage, self.beside.as_ref()].into_iter().flatten();
        let mut pieces: Vec<(BillPart, u64)> = Vec::new();
        let mut add = |(part, count): (BillPart, u64)| match pieces
            .iter_mut()
            .find(|(known, _)| *known == part)
        {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => pieces.push((part, count)),
        };
        usage
            .into_iter()
            .flat_map(UsageReport::pieces)
            .for_each(&mut add);
        let beside = self
            .beside
            .as_ref()
            .into_iter()
            .flat_map(UsageReport::pieces);
        let new = |(part, _): &(BillPart, u64)| usage.is_none_or(|usage| !usage.tells(*part));
        beside.filter(new).for_each(&mut add);
        let drawn = all().any(UsageReport::has_drawn);
        let untold = |(part, _): &(BillPart, u64)| {
            let told = all().any(|report| report.tells(*part));
            !(told || drawn && *part == BillPart::Image)
        };
        let entries: Vec<_> = self.tools.pieces().filter(untold).collect();
        let known = entries.iter().map(|(_, count)| count).sum();
        entries.into_iter().for_each(&mut add);
        let more = usage.map_or(0, |usage| usage.tools().saturating_sub(known));
        if more > 0 {
            add((BillPart::WebSearch, more));
        }
        pieces
    }

    /// Takes over what was found. Later reports lie over earlier ones, which may be parts of the same.
    fn hear(&mut self, what: SchemaField, object: &[u8]) -> bool {
        if what == SchemaField::Answer {
            self.answer = true;
            return false;
        }
        if what == SchemaField::ToolUsage {
            if let Ok(Some(heard)) = UsageReport::read_by(TOOL_USAGE, object) {
                let both = self.beside.as_ref().map(|before| heard.over(before));
                self.beside = Some(both.unwrap_or(heard));
            }
            return false;
        }
        match UsageReport::read(object) {
            Ok(None) => return false,
            Ok(Some(heard)) => {
                let both = self.report.as_ref().map(|before| heard.over(before));
                self.report = Some(both.unwrap_or(heard));
                self.last |= what == SchemaField::Usage;
            }
            Err(_) => self.garbled = true,
        }
        true
    }
}

/// Takes what stands at a place to where it belongs. Whether it was a report.
pub(super) fn hear(
    told: &mut UsageFindings,
    subject: Option<&mut Subject>,
    schema: UsageSchema,
    (what, found): (SchemaField, &[u8]),
) -> bool {
    if what == SchemaField::Tier {
        told.tier = Tier::read(1, found).over(told.tier);
        return false;
    }
    if what.is_of_tools() {
        told.tools.hear(what, found);
    }
    match subject {
        Some(subject) if what.is_text() || schema.is_lines() => {
            subject.hear(schema, what, found);
            false
        }
        _ if what.is_text() || what == SchemaField::Entry => false,
        _ => told.hear(what, found),
    }
}

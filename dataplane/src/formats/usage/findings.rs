//! Collects what a response reports about its usage.

use proxyxai_contract::part::BillPart;

use super::{
    Subject,
    names::TOOL_USAGE,
    report::UsageReport,
    shape::{SchemaField, UsageSchema},
    tier::Tier,
    tools::ToolCalls,
};

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct UsageFindings {
    pub(super) report: Option<UsageReport>,
    /// Whether more than an initial report was found.
    pub(super) last: bool,
    /// Whether a report could not be read.
    pub(super) garbled: bool,
    /// Whether something was found that only an answer has.
    pub(super) answer: bool,
    /// A report on tools next to the usage.
    pub(super) beside: Option<UsageReport>,
    /// The service tier, if the usage does not contain it.
    pub(super) tier: Tier,
    pub(super) tools: ToolCalls,
}

// === impl UsageFindings ===

impl UsageFindings {
    /// The units charged besides tokens. Reported counts take precedence over counted entries, and counts in the usage
    /// over those next to it.
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
        let unreported = |(part, _): &(BillPart, u64)| {
            let reported = all().any(|report| report.tells(*part));
            !(reported || drawn && *part == BillPart::Image)
        };
        let entries: Vec<_> = self.tools.pieces().filter(unreported).collect();
        let known = entries.iter().map(|(_, count)| count).sum();
        entries.into_iter().for_each(&mut add);
        let more = usage.map_or(0, |usage| usage.tools().saturating_sub(known));
        if more > 0 {
            add((BillPart::WebSearch, more));
        }
        pieces
    }

    /// Adds a report. A later report replaces the counts of an earlier one and may lack some of them. Returns whether
    /// it was a usage report.
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

/// Passes a found value to the right collector. Returns whether it was a usage report.
pub(super) fn hear(
    findings: &mut UsageFindings,
    subject: Option<&mut Subject>,
    schema: UsageSchema,
    what: SchemaField,
    found: &[u8],
) -> bool {
    if what == SchemaField::Tier {
        findings.tier = Tier::read(1, found).over(findings.tier);
        return false;
    }
    if what.is_of_tools() {
        findings.tools.hear(what, found);
    }
    match subject {
        Some(subject) if what.is_text() || schema.is_lines() => {
            subject.hear(schema, what, found);
            false
        }
        _ if what.is_text() || what == SchemaField::Entry => false,
        _ => findings.hear(what, found),
    }
}

//! Finds the known members of a body by skipping all others. It handles plain bodies, which nearly all are;
//! `serde_json` handles everything unusual, including errors.

use serde::de::IgnoredAny;

use super::{
    members::{BodyMembers, MemberMatch, NAMES, PREVIOUS, READ},
    model_names::ModelMember,
};
use crate::formats::{json_skip, references::ReferenceCues, text};

/// The members of the object that makes up `json`. Returns `None` if a full parser is needed.
pub(super) fn members(json: &[u8]) -> Option<BodyMembers<'_>> {
    let mut members = BodyMembers::default();
    let mut scan = Scan::new(json);
    scan.byte(b'{')?;
    if scan.byte(b'}').is_none() {
        loop {
            let media = scan.cues.media;
            let name = scan.name()?;
            let known = NAMES.find(std::str::from_utf8(name).ok()?);
            let value = match known.and_then(root) {
                Some(root) => scan.walked(&mut members, root)?,
                None => scan.value()?,
            };
            if is_no_prompt(name, known) {
                // Media in descriptions is not sent.
                scan.cues.media = media;
            }
            set(&mut members, known, value)?;
            if scan.byte(b',').is_none() {
                break;
            }
        }
        scan.byte(b'}')?;
    }
    scan.spaces();
    members.cues = Some(scan.cues);
    scan.rest.is_empty().then_some(members)
}

/// Whether a member can hold no part of a prompt: tools, and response formats.
fn is_no_prompt(name: &[u8], known: Option<MemberMatch>) -> bool {
    known.and_then(root).is_some()
        || matches!(
            name,
            b"metadata" | b"response_format" | b"text" | b"functions"
        )
}

/// Keeps the value of a known member.
fn set<'a>(
    members: &mut BodyMembers<'a>,
    known: Option<MemberMatch>,
    value: &'a [u8],
) -> Option<()> {
    let at = match known {
        Some(MemberMatch::Exact(at)) => at,
        None => return Some(()),
        Some(MemberMatch::Other(_)) => return None,
    };
    // Duplicates, misspellings and nulls are left to the full parser. A null that means the same as absence, as many
    // clients write it, is skipped.
    let null = value == b"null";
    if !members.note(at) || (null && !(PREVIOUS..READ).contains(&at)) {
        return None;
    }
    members.fill(at);
    if at < READ && !null {
        members.keep(at, serde_json::from_slice(value).ok()?);
    }
    Some(())
}

/// The root for a member whose value contains names of models.
fn root(known: MemberMatch) -> Option<&'static ModelMember> {
    match known {
        MemberMatch::Exact(at) => NAMES.root(at),
        MemberMatch::Other(_) => None,
    }
}

/// The rest of a body.
pub(super) struct Scan<'a> {
    rest: &'a [u8],
    /// What the names of the members so far say.
    pub(super) cues: ReferenceCues,
}

impl<'a> Scan<'a> {
    pub(super) fn new(json: &'a [u8]) -> Self {
        Self {
            rest: json,
            cues: ReferenceCues::default(),
        }
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The first byte that is not a space.
    pub(super) fn first(&mut self) -> Option<u8> {
        self.spaces();
        self.rest.first().copied()
    }

    /// Skips a value and records the models that it names.
    fn walked(&mut self, members: &mut BodyMembers<'a>, root: &ModelMember) -> Option<&'a [u8]> {
        self.spaces();
        let before = self.rest;
        members.named.walk(self, root)?;
        before.get(..before.len() - self.rest.len())
    }

    fn spaces(&mut self) {
        let spaces = text::spaces(self.rest);
        self.rest = self.rest.get(spaces..).unwrap_or_default();
    }

    /// Skips spaces, and this byte if it follows.
    pub(super) fn byte(&mut self, byte: u8) -> Option<()> {
        self.spaces();
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    /// Skips a member's name and its colon. Returns `None` if the name could be another one in disguise.
    fn name(&mut self) -> Option<&'a [u8]> {
        self.spaces();
        let quoted = self.rest;
        self.byte(b'"')?;
        let is_plain = |byte: &&u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        let name = self.take(self.rest.iter().take_while(is_plain).count())?;
        self.rest = self.rest.strip_prefix(b"\"")?;
        self.cues.hear(quoted.get(..name.len() + 2)?);
        self.byte(b':')?;
        Some(name)
    }

    /// Skips a value.
    pub(super) fn value(&mut self) -> Option<&'a [u8]> {
        self.spaces();
        match self.rest.first()? {
            b'"' => self.take(json_skip::skip_string(self.rest)?),
            b'{' | b'[' => {
                let Self { rest, cues } = self;
                let end = json_skip::skip_nested(rest, |before| cues.hear(before))?;
                self.take(end)
            }
            _ => {
                let is_inside =
                    |byte: &&u8| !matches!(byte, b',' | b'}') && !text::is_space(**byte);
                let value = self.take(self.rest.iter().take_while(is_inside).count())?;
                serde_json::from_slice::<IgnoredAny>(value).ok()?;
                Some(value)
            }
        }
    }

    pub(super) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }
}

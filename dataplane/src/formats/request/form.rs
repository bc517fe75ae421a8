//! The facts of a form. Its fields are read like JSON members: once each, under the exact name, as plain text.

use super::{
    BadRequest, Form, MODEL_BYTES_MAX, RequestFacts, SIZE_BYTES_MAX, check_model,
    members::alike,
    multipart::{FormField, FormFields},
};
use crate::formats::{references::of_field, usage::is_file};

/// Longer than any object's id.
const ID_BYTES_MAX: usize = 1024;
/// Browsers use this field for the charset of all others, and some parsers follow it.
const CHARSET: &str = "_charset_";

/// Fields with the location of a file that is not in the form.
const ELSEWHERE: [&str; 4] = ["url", "file_url", "audio_url", "file_id"];

/// # Errors
/// Errors if it is not a form, or if its model is invalid; with `strict`, if it is ambiguous.
pub(super) fn read(body: &[u8], boundary: &str, strict: bool) -> Result<RequestFacts, BadRequest> {
    let mut facts = RequestFacts {
        form: Form::Multipart,
        // It contains files, whose bytes a model does not read as text.
        reads_more: true,
        ..RequestFacts::default()
    };
    let (mut names, mut elsewhere) = (Vec::new(), false);
    for field in FormFields::new(body, boundary, strict) {
        let field = field.map_err(|problem| BadRequest::Malformed {
            what: "multipart form data",
            problem: problem.to_owned(),
        })?;
        let text = body.get(field.value.clone()).unwrap_or_default();
        if strict {
            check(&field, text, &mut names)?;
        }
        facts.has_file |= is_file(&field.name);
        elsewhere |= ELSEWHERE
            .iter()
            .any(|name| field.name.eq_ignore_ascii_case(name));
        note(&mut facts, field, text, strict)?;
    }
    facts.has_file &= !elsewhere;
    Ok(facts)
}

/// Refuses a duplicate field, and one that only some parsers take for a known field.
fn check(
    field: &FormField<'_>,
    text: &[u8],
    names: &mut Vec<&'static str>,
) -> Result<(), BadRequest> {
    let wrong = |field, problem| Err(BadRequest::Field { field, problem });
    if field.name.eq_ignore_ascii_case(CHARSET) {
        return wrong(CHARSET, "is not supported");
    }
    let Some(known) = alike(&field.name) else {
        return Ok(());
    };
    if field.name != known {
        return wrong(
            known,
            "is written under a name that some providers read as this one",
        );
    }
    if names.contains(&known) {
        return wrong(known, "is given twice");
    }
    names.push(known);
    if field.typed || std::str::from_utf8(text).is_err() {
        return wrong(known, "must be plain text in UTF-8, not a file");
    }
    Ok(())
}

fn note(
    facts: &mut RequestFacts,
    field: FormField<'_>,
    value: &[u8],
    strict: bool,
) -> Result<(), BadRequest> {
    let text = std::str::from_utf8(value).ok();
    match field.name.as_ref() {
        "model" => {
            let problem = |problem| BadRequest::Field {
                field: "model",
                problem,
            };
            if facts.model.is_some() {
                return Err(problem("is given twice"));
            }
            let name = text.filter(|name| name.len() <= MODEL_BYTES_MAX);
            let name = name.ok_or_else(|| problem("must be a short text"))?;
            check_model(Some(name), strict)?;
            facts.model = Some(name.to_owned());
            facts.model_span = Some(field.value);
        }
        "stream" => {
            let known = ["false", "0", "true", "1"];
            let said = known.map(|word| value.eq_ignore_ascii_case(word.as_bytes()));
            let [no, zero, yes, one] = said;
            if strict && !(no || zero || yes || one || value.is_empty()) {
                return Err(BadRequest::Field {
                    field: "stream",
                    problem: "must be true or false",
                });
            }
            facts.stream = yes || one;
        }
        "n" => {
            facts.n = text.and_then(|n| n.trim().parse().ok());
            if strict && facts.n.is_none() && !value.is_empty() {
                return Err(BadRequest::Field {
                    field: "n",
                    problem: "must be a whole number",
                });
            }
        }
        "size" if value.len() <= SIZE_BYTES_MAX => facts.size = text.map(str::to_owned),
        name => {
            let id = text.filter(|id| id.len() <= ID_BYTES_MAX);
            let bare = name.split('[').next().unwrap_or_default();
            facts.in_form.extend(id.and_then(|id| of_field(bare, id)));
        }
    }
    Ok(())
}

//! Words for what the YAML parser and serde find wrong with a document's shape.

use serde_saphyr::Error;

use super::node::Place;

/// The key concerned, where it is known, and the message.
pub(super) fn explain(error: &Error, text: &str, place: Place) -> (String, String) {
    let found = excerpt(text, place);
    match error {
        Error::WithSnippet { error, .. } => explain(error, text, place),
        Error::AliasError { error, .. } => explain(error, text, place),
        Error::SerdeUnknownField { field, expected, .. } => (
            field.clone(),
            format!("there is no key `{field}` here; allowed: {}", expected.join(", ")),
        ),
        Error::SerdeMissingField { field, .. } => ((*field).to_owned(), "is missing".to_owned()),
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.clone().unwrap_or_default();
            let message = format!("the key `{key}` stands twice");
            (key, message)
        }
        Error::MultipleDocuments { .. } => {
            (String::new(), "a second YAML document begins here; a file is one document".to_owned())
        }
        Error::Unexpected { expected, .. } => {
            let expected = match *expected {
                "string scalar" => "a single value",
                "mapping start" => "a mapping (`key: value`)",
                "sequence start" => "a list",
                other => other,
            };
            (String::new(), format!("expected {expected}, found {found}"))
        }
        Error::NullIntoString { .. } => (String::new(), "a value is missing".to_owned()),
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            (String::new(), format!("expected {expected}, found {unexpected}"))
        }
        Error::Budget { .. } => {
            let more = without_place(&error.to_string());
            (String::new(), format!("more than a configuration may have: {more}"))
        }
        other => match without_place(&other.to_string()) {
            message if message == "recursion limit exceeded" => {
                (String::new(), "lists and mappings are nested too deeply".to_owned())
            }
            message => (String::new(), message),
        },
    }
}

/// What stands at a place, shortened.
fn excerpt(text: &str, place: Place) -> String {
    let line = text.lines().nth(place.line.saturating_sub(1) as usize).unwrap_or_default();
    let rest: String =
        line.chars().skip(place.column.saturating_sub(1) as usize).take(41).collect();
    // After a key without a value, the parser stands on the colon.
    let rest = rest.strip_prefix(':').unwrap_or(&rest).trim();
    match rest.char_indices().nth(40) {
        _ if rest.is_empty() => "nothing".to_owned(),
        Some((end, _)) => format!("`{}…`", &rest[..end]),
        None => format!("`{rest}`"),
    }
}

/// The parser's own words end in the place, which stands in front already.
fn without_place(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let end = first.rfind(" at line ").unwrap_or(first.len());
    first[..end].to_owned()
}

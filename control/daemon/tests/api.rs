//! `docs/api.md` is what the code says, and what the code says is what it does.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::control::Control;
use common::markdown;
use serde_json::Value;

fn document() -> &'static Value {
    sluice_control::document()
}

/// Every operation: method and path.
fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = document()["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap();
        methods.iter().map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
    })
}

/// To make it current: `SLUICE_WRITE_API=1 cargo test -p sluice-control --test api`.
#[test]
fn the_documentation_is_that_of_the_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let wanted = markdown::render(document());
    if std::env::var_os("SLUICE_WRITE_API").is_some() {
        std::fs::write(&file, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is not that of the code: SLUICE_WRITE_API=1 cargo test -p sluice-control --test api",
        file.display()
    );
}

#[test]
fn every_path_of_the_document_is_served_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let control = Control::with_config(directory.path(), &common::configuration(""), &[]);
    let served: Value = control.get("/v1/openapi.json");
    assert_eq!(served, *document());
    for (method, path, _) in operations() {
        // With a query that no handler knows: nothing is done, and nothing waits for an event.
        let (code, answer) =
            control.request(&method.to_uppercase(), &format!("{path}?nonsense"), "");
        assert!(!matches!(code, 404 | 405), "{method} {path}: {code} {answer}");
        let (code, _) = control.request("PATCH", path, "");
        assert_eq!(code, 405, "PATCH {path} is in no document");
    }
    assert_eq!(control.request("GET", "/v1/nonsense", "").0, 404);
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    let schemas = document()["components"]["schemas"].as_object().unwrap();
    let mut references = BTreeSet::new();
    collect_references(document(), &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in &references {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(schemas.contains_key(name), "{reference} leads nowhere");
    }
    let names: BTreeSet<_> = operations()
        .map(|(.., operation)| &operation["operationId"])
        .map(Value::to_string)
        .collect();
    assert_eq!(names.len(), operations().count(), "{names:?}");
    // Two types of one name would be told apart by a number, which means nothing to a reader.
    for name in schemas.keys() {
        let without = name.trim_end_matches(|c: char| c.is_ascii_digit());
        assert!(without == name || !schemas.contains_key(without), "{name}: rename one of them");
    }
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(Into::into));
            fields.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

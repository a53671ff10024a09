//! An OpenAPI document as a page to read: a table of the operations, then each, then the types.

use std::fmt::Write;

use serde_json::{Map, Value};

const HEAD: &str = "\
# The HTTP interface

The control process answers HTTP/1.1 at `control.sock`, a Unix socket in the appliance's directory
that its owner alone may open. The command `sluice` uses nothing else:

```
curl --unix-socket /run/sluice/sluice/control.sock http://sluice/v1/status
```

`GET /v1/openapi.json` answers with this page as OpenAPI 3.1, for programs that make clients. This
page is made from that document, and the document from the code; a test holds them together.

An answer that is not a success is a [`Failure`](#failure) in JSON, with one of these codes:

| code | means | `sluice` exits with |
|---|---|---|
| 400 | the request or the configuration is wrong | 1 |
| 404 | there is no such thing | 3 |
| 405 | the path exists, but not with this method | 1 |
| 409 | it does not fit what is there now: another generation is live, a confirmation is pending, the dataplane refused | 3 |
| 500 | a commit cannot be read, or the two processes do not understand each other | 1 |
| 503 | there is no dataplane to ask, or the process is stopping | 4 |
| 507 | it cannot be written down, so it was not done: disk full or read-only | 1 |

Counters are exact 64-bit numbers and wrap. Within `/v1`, fields are added, never renamed or removed;
ignore fields that you do not know.

";

/// The page.
pub fn render(document: &Value) -> String {
    let mut page = HEAD.to_owned();
    let paths = document["paths"].as_object().unwrap();
    let operations: Vec<_> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (method.to_uppercase(), path, operation))
        })
        .collect();
    page.push_str("| operation | what it does |\n|---|---|\n");
    for (method, path, operation) in &operations {
        let anchor = anchor(&format!("{method} {path}"));
        let _ =
            writeln!(page, "| [`{method} {path}`](#{anchor}) | {} |", text(operation, "summary"));
    }
    page.push_str("\n## Operations\n");
    for (method, path, operation) in operations {
        let _ = writeln!(page, "\n### {method} {path}\n\n{}.\n", text(operation, "summary"));
        render_operation(&mut page, operation);
    }
    page.push_str("\n## Types\n");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let _ = writeln!(page, "\n### {name}\n\n{}\n", paragraph(text(schema, "description")));
        render_type(&mut page, schema);
    }
    page
}

fn render_operation(page: &mut String, operation: &Value) {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    for (place, parameter) in parameters.enumerate() {
        if place == 0 {
            page.push_str("| query | type | |\n|---|---|---|\n");
        }
        let kind = kind(&parameter["schema"]);
        let name = text(parameter, "name");
        let _ = writeln!(page, "| `{name}` | {kind} | {} |", cell(text(parameter, "description")));
    }
    if operation["parameters"].is_array() {
        page.push('\n');
    }
    if let Some((content_type, schema)) = content(&operation["requestBody"]) {
        let _ = writeln!(page, "Body: {} (`{content_type}`)\n", kind(schema));
    }
    if let Some((content_type, schema)) = content(&operation["responses"]["200"]) {
        let _ = writeln!(page, "Answer: {} (`{content_type}`)", kind(schema));
    }
}

fn content(body: &Value) -> Option<(&String, &Value)> {
    let (content_type, content) = body["content"].as_object()?.iter().next()?;
    Some((content_type, &content["schema"]))
}

fn render_type(page: &mut String, schema: &Value) {
    if let Some(variants) = variants(schema) {
        page.push_str("One of\n\n");
        for variant in variants {
            let description = paragraph(text(variant, "description"));
            let description =
                if description.is_empty() { String::new() } else { format!(": {description}") };
            let fields = variant["properties"].as_object();
            let fixed =
                fields.into_iter().flatten().find(|(_, field)| field.get("const").is_some());
            match (fixed, fields) {
                (Some((key, value)), Some(fields)) => {
                    let _ = writeln!(page, "- `{key}` {}{description}", value["const"]);
                    let rest = fields.iter().filter(|(name, _)| *name != key);
                    for (name, field) in rest {
                        let words = paragraph(text(field, "description"));
                        let _ = writeln!(page, "  - `{name}`, {}: {words}", kind(field));
                    }
                }
                _ => {
                    let _ = writeln!(page, "- {}{description}", kind(variant));
                }
            }
        }
    }
    if let Some(fields) = schema["properties"].as_object() {
        if variants(schema).is_some() {
            page.push_str("\nand with each\n\n");
        }
        render_fields(page, fields, schema);
    } else if variants(schema).is_none() {
        let _ = writeln!(page, "{}", kind(schema));
    }
}

fn render_fields(page: &mut String, fields: &Map<String, Value>, schema: &Value) {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    page.push_str("| field | type | |\n|---|---|---|\n");
    for (name, field) in fields {
        let optional =
            if required.iter().any(|known| *known == name) { "" } else { ", may be left out" };
        let words = cell(text(field, "description"));
        let _ = writeln!(page, "| `{name}` | {}{optional} | {words} |", kind(field));
    }
}

fn variants(schema: &Value) -> Option<&Vec<Value>> {
    schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array())
}

/// A type in a few words, with links to types of their own.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return format!("[{name}](#{})", anchor(name));
    }
    if let Some(fixed) = schema.get("const") {
        return format!("`{fixed}`");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    }
    if let Some(variants) = variants(schema) {
        return variants.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let names: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => return "any JSON".into(),
    };
    let words = names.into_iter().map(|name| match name {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map of {}", kind(&schema["additionalProperties"]))
        }
        "object" if schema["properties"].is_object() => {
            let fields = schema["properties"].as_object().unwrap().iter();
            let fields: Vec<_> =
                fields.map(|(name, field)| format!("`{name}`: {}", kind(field))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        "string" => {
            schema["format"].as_str().map_or("string".into(), |format| format!("string ({format})"))
        }
        name => name.to_owned(),
    });
    words.collect::<Vec<_>>().join(" or ")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Documentation comments as one paragraph, without links into the code.
fn paragraph(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let text = words.join(" ");
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("[`") {
        plain.push_str(before);
        let (name, after) = after.split_once("`]").unwrap_or((after, ""));
        let _ = write!(plain, "`{name}`");
        rest = match after.strip_prefix('(').and_then(|after| after.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    plain + rest
}

fn cell(text: &str) -> String {
    paragraph(text).replace('|', "\\|")
}

/// The anchor that GitHub and others give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

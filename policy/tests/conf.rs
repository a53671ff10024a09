//! The example configurations are right, and the schema beside them is the one of the code.

use std::path::{Path, PathBuf};

use sluice_policy::{Policy, config, model::State};

fn conf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf")
}

#[test]
fn every_example_reads_and_compiles() {
    let files = std::fs::read_dir(conf()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    assert!(files.len() >= 3);
    for file in files {
        let text = std::fs::read(&file).unwrap();
        let read = config::read(&text, &file.display().to_string());
        let configuration = read.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        let delta = State::default().difference(&configuration.state);
        let policy = Policy::empty().apply(&delta).unwrap();
        assert!(policy.ports().count() >= 2, "{}", file.display());
        let schema_line = "# yaml-language-server: $schema=sluice.schema.json\n";
        assert!(text.starts_with(schema_line.as_bytes()), "{}", file.display());
    }
}

/// To make it current: `SLUICE_WRITE_SCHEMA=1 cargo test -p sluice-policy --test conf`.
#[test]
fn the_schema_is_current() {
    let file = conf().join("sluice.schema.json");
    let mut schema = serde_json::to_string_pretty(&config::schema()).unwrap();
    schema.push('\n');
    if std::env::var_os("SLUICE_WRITE_SCHEMA").is_some() {
        std::fs::write(&file, &schema).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == schema,
        "{} is not that of the code: SLUICE_WRITE_SCHEMA=1 cargo test -p sluice-policy --test conf",
        file.display()
    );
}

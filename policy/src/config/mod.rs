//! The configuration file: one YAML document, read strictly.
//!
//! serde checks the document's shape (`document`) and keeps every scalar as text with its
//! place; `convert` understands the scalars and makes a [`State`]; [`crate::Policy`] judges the
//! whole, just as it will in the dataplane, and its complaints are led back to their lines.

mod assertions;
mod convert;
mod document;
mod filters;
mod flows;
mod hooks;
mod kernel;
mod kinds;
mod node;
mod policy_routes;
mod reader;
mod routes;
mod sets;
mod structure;

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::assertions::{read_assertions, read_flows};
pub use self::kernel::KernelRoutes;

use self::document::Document;
use self::node::Place;
use self::reader::Reader;
use crate::model::{Position, State};

/// What a configuration file asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Configuration {
    /// What the dataplane is started with; changes take a restart.
    pub dataplane: Dataplane,
    /// Everything that can change live.
    pub state: State,
    /// The kernel's routes that the control process follows.
    pub kernel_routes: Vec<KernelRoutes>,
}

/// What the dataplane is started with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dataplane {
    /// CPU cores, one worker on each.
    pub cores: Vec<u16>,
    /// Memory for packets and tables in MiB.
    pub memory: u32,
    /// Sizes that are fixed at start.
    pub limits: Limits,
}

/// Sizes that are fixed when the dataplane starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Ports.
    pub ports: u16,
    /// Filter rules of all instances.
    pub rules: u32,
    /// Neighbours of all interfaces.
    pub neighbours: u32,
    /// Connections that each worker remembers.
    pub flows: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { ports: 32, rules: 16_384, neighbours: 4096, flows: 131_072 }
    }
}

/// One mistake in a configuration file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Where it is.
    pub position: Position,
    /// The key, such as `ports.lan.mtu`; empty for the document as a whole.
    pub key: String,
    /// What is wrong, the value, and what is allowed.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.position)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Every mistake found in a configuration file, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The largest file that is read.
pub const MAX_BYTES: usize = 16 << 20;

/// Reads a configuration file; `file` is its name in diagnostics.
///
/// A mistake in the document's shape (syntax, an unknown key, a list where a value belongs) is
/// reported alone; all mistakes of meaning are reported together. Time and memory are bounded by
/// [`MAX_BYTES`] and by a budget for the parser.
pub fn read(text: &[u8], file: &str) -> Result<Configuration, Diagnostics> {
    let document: Document = parse(text, file)?;
    let mut reader = Reader::new(file);
    let configuration = convert::configuration(&document, &mut reader);
    reader.finish()?;
    Ok(configuration)
}

/// Reads a document's shape.
fn parse<D: DeserializeOwned>(text: &[u8], file: &str) -> Result<D, Diagnostics> {
    let structural = |line, column, key: &str, message: String| {
        let position = Position { file: file.into(), line, column };
        Diagnostics(vec![Diagnostic { position, key: key.into(), message }])
    };
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len());
        return Err(structural(1, 1, "", message));
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let (line, column) = place_of(&text[..error.valid_up_to()]);
        let byte = text.get(error.valid_up_to()).copied().unwrap_or_default();
        let message = format!("byte 0x{byte:02x} is not UTF-8: save the file as UTF-8");
        structural(line, column, "", message)
    })?;
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let place = error.location().map(Place::from).unwrap_or(Place { line: 1, column: 1 });
        let (key, message) = structure::explain(&error, text, place);
        structural(place.line, place.column, &key, message)
    })
}

/// Line and column just after `text`.
fn place_of(text: &[u8]) -> (u32, u32) {
    let text = String::from_utf8_lossy(text);
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line as u32, column as u32)
}

/// What the YAML parser may spend on a file: enough for 100,000 routes and rules, little enough
/// that no file can exhaust time, memory or the stack.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 16,
            max_events: 4_000_000,
            max_nodes: 3_000_000,
            max_aliases: 10_000,
            max_anchors: 1_000,
            max_documents: 2,
            max_total_scalar_bytes: MAX_BYTES,
            max_total_comment_bytes: MAX_BYTES,
            max_buffered_comment_events: 100_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 8,
        },
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// The JSON Schema of files of questions.
pub fn questions_schema() -> serde_json::Value {
    schemars::schema_for!(assertions::Questions).to_value()
}

/// The JSON Schema of the configuration file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

#[cfg(test)]
mod tests;

//! `sluice hook`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use sluice_policy::{Event, Protocol};

use super::Commit;

#[derive(Subcommand, Debug)]
pub(crate) enum Hook {
    /// Load a program of the dataplane, or a file, as a hook; packets meet it at once
    ///
    /// A file is a shared object, or a program for the sandbox; the dataplane reads it. A module stands
    /// at no event: it registers hooks of its own, in every instance.
    ///
    /// The stages that ship with Sluice stand in the same order: `sluice show hooks` prints it.
    Load(LoadHook),
    /// Unload a hook that was loaded live; when the command returns, it does not run any more
    ///
    /// Hooks of the configuration file are taken out there, and the file applied.
    Unload {
        /// The hook, as `sluice show hooks` names it
        name: String,
        #[command(flatten)]
        how: Commit,
    },
    /// List what can be loaded, the events where it runs and its settings
    Programs,
}

#[derive(Args, Debug)]
pub(crate) struct LoadHook {
    /// Its name, under which it is unloaded, or the path of a file, which gives it its name
    pub(crate) name: String,
    /// The program, or the path of the file [default: the one of that name]
    #[arg(long)]
    pub(crate) program: Option<String>,
    /// The event that it runs at; a module has none
    #[arg(long, value_parser = event())]
    pub(crate) event: Option<Event>,
    /// The instance whose packets it sees [default: every instance]
    #[arg(long)]
    pub(crate) instance: Option<String>,
    /// The protocol whose packets it sees; again for each [default: inet and inet6]
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol())]
    pub(crate) protocol: Vec<Protocol>,
    /// Ahead of all others
    #[arg(long, group = "order")]
    pub(crate) first: bool,
    /// Behind all others
    #[arg(long, group = "order")]
    pub(crate) last: bool,
    /// Right ahead of this hook or stage
    #[arg(long, group = "order", value_name = "HOOK")]
    pub(crate) before: Option<String>,
    /// Right behind this hook or stage
    #[arg(long, group = "order", value_name = "HOOK")]
    pub(crate) after: Option<String>,
    /// What the program is told; again for each setting
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) settings: Vec<(String, String)>,
    /// Say what would change, and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) how: Commit,
}

/// Reads an event by its name in the configuration.
pub(super) fn event() -> impl TypedValueParser<Value = Event> {
    PossibleValuesParser::new(Event::ALL.map(Event::key)).map(|text| {
        let known = Event::ALL.into_iter().find(|event| event.key() == text);
        known.unwrap_or(Event::PhysicalIn)
    })
}

fn protocol() -> impl TypedValueParser<Value = Protocol> {
    PossibleValuesParser::new(Protocol::ALL.map(Protocol::name)).map(|text| {
        let known = Protocol::ALL.into_iter().find(|protocol| protocol.name() == text);
        known.unwrap_or(Protocol::Inet)
    })
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE, such as every=100".into()),
    }
}

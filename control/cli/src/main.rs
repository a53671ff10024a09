//! The `sluice` command: starts an appliance, and asks and tells a running one.
//!
//! It holds no state. Everything it shows comes from the control process, whose JSON `--json`
//! prints as it is; `check`, `schema` and the first step of `up` need no process at all.
//!
//! `help::EXIT_CODES` has the exit codes.

#![forbid(unsafe_code)]

mod args;
mod capture;
mod check;
mod client;
mod command;
mod commits;
mod explain;
mod failed;
mod flows;
mod help;
mod hook;
mod output;
mod pages;
mod questions;
mod render;
mod route;
mod style;
mod up;
mod upload;
mod watch;

use std::process::ExitCode;

use clap::FromArgMatches;

use crate::args::Cli;
use crate::failed::Failed;

fn main() -> ExitCode {
    if let Err(error) = sluice_policy::Level::check() {
        eprintln!("sluice: {error}");
        return ExitCode::FAILURE;
    }
    let matches = help::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let json = cli.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            if json {
                let failure = serde_json::to_string(&failed.to_failure());
                eprintln!("{}", failure.unwrap_or_else(|_| failed.to_string()));
            } else if matches!(failed, Failed::Config(_)) {
                // One mistake a line, each beginning with FILE:LINE:COLUMN, as editors like it.
                eprintln!("{failed}");
            } else {
                anstream::eprintln!("{} {failed}", style::paint(style::BAD, "sluice:"));
            }
            ExitCode::from(failed.code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failed> {
    // One thread: children of `up` are told of the death of the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::Up(format!("cannot start the runtime: {error}")))?;
    let output = runtime.block_on(command::run(cli))?;
    output::write(&output).map(drop)
}

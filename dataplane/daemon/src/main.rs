//! `sluice-dataplane`: owns the ports, the cores and the flow of packets.
//!
//! The process has two kinds of threads. **Workers** ([`worker`]) are pinned, one a core, and poll:
//! they run the pipeline and touch nothing that could make them wait. The **agent** ([`agent`])
//! does everything else: it reads the channel, attaches ports, keeps neighbours, publishes
//! generations of policy and frees what no worker uses any more.

mod agent;
mod arguments;
mod doorbell;
mod kernel;
mod worker;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log(LevelFilter::from_level(arguments.log));
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice-dataplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start_log(level: LevelFilter) {
    // A kernel newer than the netlink crate is nothing that an operator could mend.
    let quiet = level.min(LevelFilter::ERROR);
    let targets = Targets::new().with_default(level).with_target("netlink_packet_route", quiet);
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .finish()
        .with(targets)
        .init();
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.die_with_parent {
        let signal = rustix::process::Signal::TERM;
        rustix::process::set_parent_process_death_signal(Some(signal))?;
    }
    agent::Agent::start(arguments)?.run()
}

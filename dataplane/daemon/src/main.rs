//! `sluice-dataplane`: owns the ports, the cores and the flow of packets.
//!
//! The process has two kinds of threads. **Workers** ([`worker`]) are pinned, one a core, and poll:
//! they run the pipeline and touch nothing that could make them wait. The **agent** ([`agent`])
//! does everything else: it reads the channel, attaches ports, keeps neighbours, publishes
//! generations of policy and frees what no worker uses any more.

mod agent;
mod arguments;
mod crash;
mod doorbell;
mod fault;
mod files;
mod kernel;
mod programs;
mod worker;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use arguments::{Arguments, LogFormat};

/// A build with debug assertions ends at once when a worker allocates where packets are handled.
#[cfg(debug_assertions)]
#[global_allocator]
static ALLOCATOR: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log(LevelFilter::from_level(arguments.log), arguments.log_format);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice-dataplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start_log(level: LevelFilter, format: LogFormat) {
    // A kernel newer than the netlink crate is nothing that an operator could mend.
    let quiet = level.min(LevelFilter::ERROR);
    let targets = Targets::new().with_default(level).with_target("netlink_packet_route", quiet);
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let log = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).without_time().boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(log).with(targets).init();
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.die_with_parent {
        let signal = rustix::process::Signal::TERM;
        rustix::process::set_parent_process_death_signal(Some(signal))?;
    }
    if let Some(level) = arguments.level {
        level.used_from_now_on();
    }
    agent::Agent::start(arguments)?.run()
}

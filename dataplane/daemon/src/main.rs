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

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_max_level(arguments.log)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice-dataplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.die_with_parent {
        let signal = rustix::process::Signal::TERM;
        rustix::process::set_parent_process_death_signal(Some(signal))?;
    }
    agent::Agent::start(arguments)?.run()
}

//! The `sluice-control` program. `sluice up` starts it; it can as well be started by hand, by a
//! service manager, or in a container that shares the directory with the dataplane's.

#![forbid(unsafe_code)]

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use rustix::fs::Mode;
use rustix::process::{Signal, set_parent_process_death_signal, umask};
use sluice_control::{Options, Service};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The control process of a Sluice appliance.
#[derive(Parser, Debug)]
#[command(name = "sluice-control", version, max_term_width = 100)]
struct Cli {
    /// Directory in which it meets the dataplane
    #[arg(long, env = "SLUICE_DIR", default_value = "/run/sluice/sluice")]
    dir: PathBuf,
    /// The configuration file; left out, what the dataplane runs is adopted
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Adopt what a dataplane runs that has been given a policy; else use the file
    #[arg(long)]
    adopt: bool,
    /// What to log: error, warn, info, debug, trace, or a filter of tracing-subscriber
    #[arg(long, default_value = "info", env = "SLUICE_LOG", value_name = "LEVEL")]
    log: String,
    /// Stop when the process that started this one ends
    #[arg(long)]
    die_with_parent: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    if cli.die_with_parent {
        set_parent_process_death_signal(Some(Signal::TERM))
            .context("cannot ask to be stopped with the parent process")?;
    }
    // The socket is for its owner from the moment it is there.
    umask(Mode::RWXG | Mode::RWXO);
    let filter = EnvFilter::try_new(&cli.log)
        .with_context(|| format!("--log {}: a level or a filter is allowed", cli.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(cli))
}

async fn serve(cli: Cli) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle signals")?;
    let options = Options { directory: cli.dir, config: cli.config, adopt: cli.adopt };
    let service = Service::start(&options)?;
    tracing::info!("listening at {}", service.socket().display());
    service
        .serve(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping; the dataplane forwards on");
        })
        .await?;
    Ok(())
}

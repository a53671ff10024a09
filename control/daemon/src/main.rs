//! The `sluice-control` program. `sluice up` starts it; it can as well be started by hand, by a
//! service manager, or in a container that shares the directory with the dataplane's.

#![forbid(unsafe_code)]

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use rustix::fs::Mode;
use rustix::process::{Signal, set_parent_process_death_signal, umask};
use sluice_control::{Options, Service};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The control process of a Sluice appliance.
#[derive(Parser, Debug)]
#[command(name = "sluice-control", version, max_term_width = 100)]
struct Cli {
    /// Directory in which it meets the dataplane [default: /run/sluice/sluice]
    #[arg(long, env = "SLUICE_DIR")]
    dir: Option<PathBuf>,
    /// Directory with what was committed [default: /var/lib/sluice/sluice, or DIR/state with --dir]
    #[arg(long, env = "SLUICE_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// A configuration file to apply, unless it is as it was when it was last read
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or a filter of tracing-subscriber
    #[arg(long, default_value = "info", env = "SLUICE_LOG", value_name = "LEVEL")]
    log: String,
    /// How to log: lines of text, or an object of JSON a line
    #[arg(long, value_enum, default_value_t, env = "SLUICE_LOG_FORMAT", value_name = "FORMAT")]
    log_format: LogFormat,
    /// Stop when the process that started this one ends
    #[arg(long)]
    die_with_parent: bool,
}

#[derive(ValueEnum, Clone, Copy, Default, Debug)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Cli {
    fn options(self) -> Options {
        let beside = |dir: &PathBuf| dir.join("state");
        let state = self.state.or_else(|| self.dir.as_ref().map(beside));
        Options {
            directory: self.dir.unwrap_or_else(|| "/run/sluice/sluice".into()),
            state: state.unwrap_or_else(|| "/var/lib/sluice/sluice".into()),
            config: self.config,
        }
    }
}

fn main() -> ExitCode {
    if let Err(error) = sluice_policy::Level::check() {
        eprintln!("sluice-control: {error}");
        return ExitCode::FAILURE;
    }
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
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match cli.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
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
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle signals")?;
    let service = Service::start(&cli.options())?;
    let reload = service.reload();
    tracing::info!("listening at {}", service.socket().display());
    let reloading = tokio::spawn(async move {
        // Signals that come while a file is read are one signal.
        while hangup.recv().await.is_some() {
            reload.apply().await;
        }
    });
    let served = service
        .serve(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // It holds a way to the dataplane, which must end for the process to end.
            reloading.abort();
            tracing::info!("stopping; the dataplane forwards on");
        })
        .await;
    Ok(served?)
}

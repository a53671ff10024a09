//! The command line.

use std::path::PathBuf;

use clap::Parser;
use sluice_pipelines::tx::MAX_PORTS;
use sluice_policy::Level;

use crate::fault::Fault;

/// The Sluice dataplane: owns ports and cores, forwards packets, takes policy from the control
/// process. `sluice up` starts both.
#[derive(Parser, Clone, Debug)]
#[command(name = "sluice-dataplane", version)]
pub struct Arguments {
    /// The directory in which dataplane and control process meet.
    #[arg(long, value_name = "DIR", env = "SLUICE_DIR", default_value = "/run/sluice/sluice")]
    pub dir: PathBuf,
    /// The appliance's name: it sets this dataplane's shared files apart from another's.
    #[arg(long, value_name = "NAME", default_value = "sluice")]
    pub name: String,
    /// The cores that workers are pinned to, one worker a core.
    #[arg(long, value_name = "CORE,..", value_delimiter = ',', default_value = "0")]
    pub cores: Vec<u16>,
    /// Memory for packet buffers and queues, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub memory: u32,
    /// Never use hugepages, even when there are enough.
    #[arg(long)]
    pub no_huge: bool,
    /// Ports that the statistics have room for.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=MAX_PORTS as i64))]
    pub max_ports: u16,
    /// Rules that the statistics have room for, the default action of each filter included.
    #[arg(long, value_name = "N", default_value_t = 16_384)]
    pub max_rules: u32,
    /// Neighbours that the neighbour table has room for.
    #[arg(long, value_name = "N", default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(2..=1 << 24))]
    pub max_neighbours: u32,
    /// Connections that each worker remembers. One takes about 250 bytes, as long as it lives.
    #[arg(long, value_name = "N", default_value_t = 131_072, value_parser = clap::value_parser!(u32).range(8..=1 << 26))]
    pub max_flows: u32,
    /// End in good order when the process that started this one dies.
    #[arg(long)]
    pub die_with_parent: bool,
    /// What to log: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: tracing::Level,
    /// How to log: text for people, or json with one object a line.
    #[arg(long, value_name = "FORMAT", env = "SLUICE_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Modules that live in every instance from the start. May be given several times.
    #[arg(long = "module", value_name = "NAME", env = "SLUICE_MODULES", value_delimiter = ',')]
    pub modules: Vec<String>,
    /// Use no more of the processor's instructions than x86-64-v2 or x86-64-v3 has: to measure what they
    /// bring, and to rule them out.
    #[arg(long, value_name = "LEVEL", env = "SLUICE_LEVEL", hide = true)]
    pub level: Option<Level>,
    /// Have something go wrong, to try out what happens then: `panic-on-udp-port=PORT` has the
    /// worker that receives a datagram to that port panic, `allocate-on-udp-port=PORT` has it allocate
    /// memory, `programs` lets hooks be loaded that misbehave. May be given several times.
    #[arg(long = "fault", value_name = "FAULT", env = "SLUICE_FAULT", value_delimiter = ',')]
    #[arg(hide = true)]
    pub faults: Vec<Fault>,
}

/// How to log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people; whoever reads them knows the time.
    Text,
    /// One JSON object a line, with the time in UTC.
    Json,
}

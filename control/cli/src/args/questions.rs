//! Questions about routes, and files of questions.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::values::protocol;

/// The packet whose route is asked for.
#[derive(Args, Clone, Debug)]
pub(crate) struct RouteQuestion {
    /// Destination address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dst: IpAddr,
    /// Source address; left out, the packet is the router's own
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) src: Option<IpAddr>,
    /// Interface it comes in by; left out, the one whose network holds the source
    #[arg(long = "in", value_name = "INTERFACE", requires = "src")]
    pub(crate) input: Option<String>,
    #[command(flatten)]
    pub(crate) service: Service,
    /// Ask the policy of an earlier commit instead of the live one
    #[arg(long, value_name = "GENERATION")]
    pub(crate) at: Option<u64>,
}

/// The service whose source address is asked for.
#[derive(Args, Clone, Debug)]
pub(crate) struct Source {
    /// Destination address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dst: IpAddr,
    #[command(flatten)]
    pub(crate) service: Service,
}

/// A service, as policy tells one from another.
#[derive(Args, Clone, Debug)]
pub(crate) struct Service {
    /// Protocol: tcp, udp, icmp, icmpv6, sctp or a number
    #[arg(long, default_value = "tcp", value_parser = protocol)]
    pub(crate) proto: u8,
    /// Source port
    #[arg(long, value_name = "PORT")]
    pub(crate) sport: Option<u16>,
    /// Destination port
    #[arg(long, value_name = "PORT")]
    pub(crate) dport: Option<u16>,
    /// The instance of a packet of the router's own
    #[arg(long)]
    pub(crate) instance: Option<String>,
}

/// Assertions to check.
#[derive(Args, Clone, Debug)]
pub(crate) struct Test {
    /// The file of assertions; - reads standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Ask this configuration instead of the running appliance; nothing needs to run
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
}

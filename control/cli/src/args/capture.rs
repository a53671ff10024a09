//! `sluice capture`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};
use ipnet::IpNet;
use sluice_control_api::CaptureDirection;

use super::flows::prefix;
use super::values::{protocol, seconds};

#[derive(Args, Clone, Debug)]
pub(crate) struct Capture {
    /// The file; - is standard output
    #[arg(default_value = "-", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Only by this interface, or by any of the port of this name
    #[arg(long, short = 'i')]
    pub(crate) interface: Option<String>,
    /// Only in this instance
    #[arg(long)]
    pub(crate) instance: Option<String>,
    /// Only where they are seen so [default: everywhere but where they are dropped]
    #[arg(long, value_parser = direction())]
    pub(crate) direction: Option<CaptureDirection>,
    /// Those that are dropped, too; the comment of each says why
    #[arg(long)]
    pub(crate) drops: bool,
    /// Only from this address or prefix
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    pub(crate) src: Option<IpNet>,
    /// Only to this address or prefix
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    pub(crate) dst: Option<IpNet>,
    /// Only from or to this address or prefix
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    pub(crate) host: Option<IpNet>,
    /// Only of this protocol: tcp, udp, icmp, icmpv6, sctp or a number
    #[arg(long, value_parser = protocol)]
    pub(crate) proto: Option<u8>,
    /// Only with this port, of either side
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// End after so many packets
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End after so long, as in 90s or 10m
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,
    /// Bytes of each packet, its link header included [default: all]
    #[arg(long, short = 's', value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) snaplen: Option<u32>,
    /// MiB of memory in which packets wait to be written [default: 16]
    #[arg(long, short = 'B', value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) buffer: Option<u32>,
}

fn direction() -> impl TypedValueParser<Value = CaptureDirection> {
    PossibleValuesParser::new(CaptureDirection::ALL.map(CaptureDirection::name)).map(|name| {
        let direction = CaptureDirection::ALL.into_iter().find(|known| known.name() == name);
        direction.expect("one of the names above")
    })
}

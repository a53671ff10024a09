//! `sluice show flows`, `sluice flow`.

use std::net::IpAddr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use sluice_control_api::{FlowSort, FlowState};

use super::values::protocol;

/// Which flows are meant: those for which all that is given holds.
#[derive(Args, Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct WhichFlows {
    /// Only of this instance
    #[arg(long)]
    pub(crate) instance: Option<String>,
    /// Only from this address or prefix: the source of the packet that began the flow
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    pub(crate) src: Option<IpNet>,
    /// Only to this address or prefix
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    pub(crate) dst: Option<IpNet>,
    /// Only of this protocol: tcp, udp, icmp, icmpv6, sctp or a number
    #[arg(long, value_parser = protocol)]
    pub(crate) proto: Option<u8>,
    /// Only with this port, of either side
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Only those that have come so far
    #[arg(long, value_parser = state())]
    pub(crate) state: Option<FlowState>,
}

/// What of them is shown.
#[derive(Args, Clone, Debug)]
pub(crate) struct ShowFlows {
    #[command(flatten)]
    pub(crate) which: WhichFlows,
    /// What comes first: the largest of this; for the rate, two looks a second apart
    #[arg(long, value_parser = sort())]
    pub(crate) sort: Option<FlowSort>,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Flow {
    /// End flows: their next packets are judged as those of no flow
    ///
    /// A stateful filter lets no more packets of a TCP connection pass then; both hosts find out by
    /// themselves.
    Kill {
        #[command(flatten)]
        which: WhichFlows,
        /// End every flow
        #[arg(long)]
        all: bool,
    },
}

/// A prefix, or an address that stands for itself.
pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let prefix: IpNet = text
        .parse()
        .map_err(|_| "an address or a prefix such as 10.9.0.0/16 or fd00:9::/32 is allowed")?;
    if prefix.trunc() != prefix {
        return Err(format!("bits are set beyond its length: {} is meant?", prefix.trunc()));
    }
    Ok(prefix)
}

fn state() -> impl TypedValueParser<Value = FlowState> {
    PossibleValuesParser::new(FlowState::ALL.map(FlowState::name)).map(|name| {
        let state = FlowState::ALL.into_iter().find(|state| state.name() == name);
        state.expect("one of the names above")
    })
}

fn sort() -> impl TypedValueParser<Value = FlowSort> {
    PossibleValuesParser::new(FlowSort::ALL.map(FlowSort::name)).map(|name| {
        let sort = FlowSort::ALL.into_iter().find(|sort| sort.name() == name);
        sort.expect("one of the names above")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_itself() {
        let text = |text| prefix(text).map(|net| net.to_string());
        assert_eq!(text("10.0.1.2"), Ok("10.0.1.2/32".into()));
        assert_eq!(text("fd00::1"), Ok("fd00::1/128".into()));
        assert_eq!(text("10.0.0.0/8"), Ok("10.0.0.0/8".into()));
        assert!(text("10.0.0.1/8").unwrap_err().contains("10.0.0.0/8"));
        assert!(text("lan").is_err());
    }
}

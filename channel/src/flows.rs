//! What is asked and said about the connections in the workers' flow tables.
//!
//! A table can hold millions, so they are told a page at a time: an answer has at most
//! [`MAX_FLOWS`] and says where the next one goes on. Connections come and go meanwhile; each that
//! is there all the time is told once.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sluice_policy::model::Name;

/// Connections in one [`FlowPage`].
pub const MAX_FLOWS: usize = 1024;

/// Rules told of one direction of a connection.
pub const MAX_FLOW_RULES: usize = 8;

/// Where a listing stands: at a place in the table of one worker. The default is the beginning.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct FlowPlace {
    /// The worker.
    pub worker: u16,
    /// The place in its table.
    pub slot: u32,
}

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum FlowState {
    /// TCP: a SYN was seen.
    SynSent,
    /// TCP: it was answered by a SYN.
    SynReceived,
    /// TCP: begun before anybody looked; one direction was seen.
    PickedUp,
    /// TCP: open.
    Established,
    /// TCP: one side has sent its FIN.
    HalfClosed,
    /// TCP: both sides have.
    Closing,
    /// TCP: both FINs are acknowledged.
    TimeWait,
    /// TCP: a valid RST was seen.
    Reset,
    /// Another protocol: nobody has answered.
    Unanswered,
    /// Another protocol: answered.
    Answered,
}

/// Which connections are meant: those for which all that is given holds. Source and destination
/// are those of the packet that began the connection.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FlowFilter {
    /// The instance.
    pub instance: Option<Name>,
    /// Networks of the source.
    pub source: Option<IpNet>,
    /// Networks of the destination.
    pub destination: Option<IpNet>,
    /// IP protocol.
    pub protocol: Option<u8>,
    /// One of the two ports; of an ICMP query, its identifier.
    pub port: Option<u16>,
    /// How far it has come.
    pub state: Option<FlowState>,
}

impl FlowFilter {
    /// Whether it means every connection.
    pub fn is_empty(&self) -> bool {
        *self == FlowFilter::default()
    }

    /// Whether a connection is meant, as far as its instance is not asked for.
    pub fn means(&self, tuple: &FlowTuple, state: FlowState) -> bool {
        let ports = [tuple.source_port, tuple.destination_port];
        self.protocol.is_none_or(|protocol| protocol == tuple.protocol)
            && self.state.is_none_or(|wanted| wanted == state)
            && self.source.is_none_or(|net| net.contains(&tuple.source))
            && self.destination.is_none_or(|net| net.contains(&tuple.destination))
            && self.port.is_none_or(|port| ports.contains(&port))
    }
}

/// What tells one direction of a connection from all others of its instance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct FlowTuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Source port; the identifier of an ICMP query; 0 where there are no ports.
    pub source_port: u16,
    /// Destination port; 0 where there are none.
    pub destination_port: u16,
    /// Type of an ICMP query; else 0.
    pub icmp_type: u8,
}

/// Connections, and where to go on.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct FlowPage {
    /// The connections.
    #[serde(deserialize_with = "crate::message::at_most::<_, _, MAX_FLOWS>")]
    pub flows: Vec<FlowStatus>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<FlowPlace>,
}

/// A connection.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FlowStatus {
    /// Where it is. Another one may be there later.
    pub place: FlowPlace,
    /// Its instance.
    pub instance: Name,
    /// What it is told by, as the packet that began it.
    pub tuple: FlowTuple,
    /// How far it has come.
    pub state: FlowState,
    /// Milliseconds since it began.
    pub age_ms: u64,
    /// Milliseconds since its last packet.
    pub idle_ms: u64,
    /// Milliseconds after which it is forgotten if it stays silent.
    pub expires_ms: u64,
    /// The direction of the packet that began it.
    pub original: FlowDirection,
    /// The other one.
    pub reply: FlowDirection,
}

/// One direction of a connection.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct FlowDirection {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the IP header on.
    pub bytes: u64,
    /// What is remembered of its packets' way; `None` if each is decided upon by itself.
    pub way: Option<FlowPath>,
}

/// What is remembered of the way of packets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FlowPath {
    /// The interface that they come in by.
    pub ingress: Option<Name>,
    /// The interface that they leave by.
    pub egress: Name,
    /// The neighbour that they are handed to; `None` if that is their destination.
    pub next_hop: Option<IpAddr>,
    /// The rules and policy routes that they count at, in order.
    #[serde(deserialize_with = "crate::message::at_most::<_, _, MAX_FLOW_RULES>")]
    pub rules: Vec<Name>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUPLE: FlowTuple = FlowTuple {
        source: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 2)),
        destination: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 2, 2)),
        protocol: 6,
        source_port: 40_000,
        destination_port: 443,
        icmp_type: 0,
    };

    #[test]
    fn all_that_a_filter_says_must_hold() {
        let net = |text: &str| Some(text.parse().unwrap());
        let any = FlowFilter::default;
        let filters = [
            (any(), true),
            (FlowFilter { source: net("10.0.1.0/24"), ..any() }, true),
            (FlowFilter { source: net("10.0.2.0/24"), ..any() }, false),
            (FlowFilter { source: net("::/0"), ..any() }, false),
            (FlowFilter { destination: net("10.0.2.2/32"), ..any() }, true),
            (FlowFilter { port: Some(443), ..any() }, true),
            (FlowFilter { port: Some(40_000), ..any() }, true),
            (FlowFilter { port: Some(80), ..any() }, false),
            (FlowFilter { protocol: Some(17), ..any() }, false),
            (FlowFilter { state: Some(FlowState::Reset), ..any() }, false),
            (FlowFilter { state: Some(FlowState::Established), port: Some(443), ..any() }, true),
            (FlowFilter { state: Some(FlowState::Established), port: Some(80), ..any() }, false),
        ];
        for (filter, meant) in filters {
            assert_eq!(filter.means(&TUPLE, FlowState::Established), meant, "{filter:?}");
        }
        assert!(any().is_empty());
        assert!(!FlowFilter { instance: Some("blue".into()), ..any() }.is_empty());
    }

    #[test]
    fn a_page_that_is_too_long_is_refused() {
        let path = |rules: usize| FlowPath {
            ingress: None,
            egress: "wan".into(),
            next_hop: None,
            rules: vec!["r".into(); rules],
        };
        let flow = |rules: usize| FlowStatus {
            place: FlowPlace::default(),
            instance: "default".into(),
            tuple: TUPLE,
            state: FlowState::Established,
            age_ms: 0,
            idle_ms: 0,
            expires_ms: 0,
            original: FlowDirection { way: Some(path(rules)), ..FlowDirection::default() },
            reply: FlowDirection::default(),
        };
        for (flows, rules, accepted) in [
            (0, 0, true),
            (MAX_FLOWS, 1, true),
            (MAX_FLOWS + 1, 1, false),
            (1, MAX_FLOW_RULES, true),
            (1, MAX_FLOW_RULES + 1, false),
        ] {
            let page = FlowPage { flows: vec![flow(rules); flows], next: None };
            let bytes = postcard::to_stdvec(&page).unwrap();
            let decoded = postcard::from_bytes::<FlowPage>(&bytes);
            assert_eq!(decoded.is_ok(), accepted, "{flows} flows, {rules} rules");
            if let Ok(decoded) = decoded {
                assert_eq!(decoded, page);
            }
        }
    }
}

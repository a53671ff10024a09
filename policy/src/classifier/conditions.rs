//! What a rule asks of a packet.

use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use sluice_packet::{ConnectionState, Consulted, Descriptor, DescriptorFlags, Fragment};

use super::Packet;
use crate::ids::InterfaceId;
use crate::model::{IcmpMatch, TcpFlags};

/// What a rule asks of a packet: everything that is given here. A list asks for one of its items;
/// an empty one for nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Conditions {
    /// Interfaces that the packet came in by.
    pub(crate) input: Box<[InterfaceId]>,
    /// Interfaces that it is to leave by.
    pub(crate) output: Box<[InterfaceId]>,
    /// Source networks. Shared: rules that name the same set have the same list.
    pub(crate) source: Arc<[IpNet]>,
    /// Destination networks.
    pub(crate) destination: Arc<[IpNet]>,
    /// IP protocols.
    pub(crate) protocol: Box<[u8]>,
    /// Source ports.
    pub(crate) source_port: Box<[RangeInclusive<u16>]>,
    /// Destination ports.
    pub(crate) destination_port: Box<[RangeInclusive<u16>]>,
    /// TCP flags.
    pub(crate) tcp_flags: Option<TcpFlags>,
    /// ICMP types and codes.
    pub(crate) icmp: Box<[IcmpMatch]>,
    /// States of connections.
    pub(crate) state: Box<[ConnectionState]>,
}

impl Conditions {
    /// How many networks and ranges of ports there are to compare with.
    pub(super) fn items(&self) -> usize {
        let ports = self.source_port.len() + self.destination_port.len();
        self.source.len() + self.destination.len() + ports + self.icmp.len()
    }

    /// What it looks at beside the flow key, and what else is the same for all packets of a flow.
    fn consulted(&self) -> Consulted {
        let TcpFlags { set, clear } = self.tcp_flags.unwrap_or_default();
        let icmp_code = if self.icmp.iter().any(|m| m.code.is_some()) { u8::MAX } else { 0 };
        let state = !self.state.is_empty();
        Consulted { tcp_flags: set | clear, icmp_code, state, ..Consulted::default() }
    }

    /// What is asked of a small field, as ranges of its values; `None` for nothing.
    pub(super) fn of(&self, field: Field) -> Option<Vec<(u16, u16)>> {
        let ids = |ids: &[InterfaceId]| ids.iter().map(|id| (id.0, id.0)).collect();
        let ports = |ports: &[RangeInclusive<u16>]| {
            ports.iter().filter(|r| !r.is_empty()).map(|r| (*r.start(), *r.end())).collect()
        };
        let asked = match field {
            Field::Input => !self.input.is_empty(),
            Field::Output => !self.output.is_empty(),
            Field::Protocol => !self.protocol.is_empty(),
            Field::SourcePort => !self.source_port.is_empty(),
            Field::DestinationPort => !self.destination_port.is_empty(),
            Field::TcpFlags => self.tcp_flags.is_some(),
            Field::Icmp => !self.icmp.is_empty(),
            Field::State => !self.state.is_empty(),
        };
        asked.then(|| match field {
            Field::Input => ids(&self.input),
            Field::Output => ids(&self.output),
            Field::Protocol => self.protocol.iter().map(|&n| (n.into(), n.into())).collect(),
            Field::SourcePort => ports(&self.source_port),
            Field::DestinationPort => ports(&self.destination_port),
            Field::TcpFlags => {
                let TcpFlags { set, clear } = self.tcp_flags.unwrap_or_default();
                let hold = |flags: &u8| flags & set == set && flags & clear == 0;
                (0..=u8::MAX).filter(hold).map(|flags| (flags.into(), flags.into())).collect()
            }
            Field::Icmp => {
                let range = |m: &IcmpMatch| {
                    let (first, last) = m.code.map_or((0, u8::MAX), |code| (code, code));
                    (u16::from_be_bytes([m.kind, first]), u16::from_be_bytes([m.kind, last]))
                };
                self.icmp.iter().map(range).collect()
            }
            Field::State => self.state.iter().map(|&state| (state as u16, state as u16)).collect(),
        })
    }
}

/// Whether a packet's ports can be seen: it carries them, or it is a later fragment whose first one is
/// known.
#[inline(always)]
pub(super) fn has_ports(d: &Descriptor) -> bool {
    (d.fragment != Fragment::Later) | d.flags.contains(DescriptorFlags::FIRST_KNOWN)
}

/// What any of some conditions looks at.
pub(crate) fn consulted(conditions: &[Conditions]) -> Consulted {
    conditions.iter().map(Conditions::consulted).fold(Consulted::default(), Consulted::union)
}

/// A field of few values: at most 2¹⁶.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Field {
    Protocol,
    TcpFlags,
    State,
    Icmp,
    SourcePort,
    DestinationPort,
    Input,
    Output,
}

impl Field {
    /// All fields, those of few different values first.
    pub(super) const ALL: [Field; 8] = [
        Field::Protocol,
        Field::TcpFlags,
        Field::State,
        Field::Icmp,
        Field::SourcePort,
        Field::DestinationPort,
        Field::Input,
        Field::Output,
    ];

    /// The packet's value; `None` where it has none, so that no condition on the field holds.
    #[inline(always)]
    pub(super) fn value(self, packet: &Packet<'_>) -> Option<u16> {
        let d = packet.descriptor;
        let value = match self {
            Field::Protocol => return Some(d.key.protocol.into()),
            Field::Input => {
                let own = d.flags.contains(DescriptorFlags::LOCAL_ORIGIN);
                return if own { None } else { Some(d.ingress) };
            }
            Field::Output => return packet.egress.map(|id| id.0),
            Field::State => return Some(d.state as u16),
            Field::SourcePort => return has_ports(d).then_some(d.key.src_port),
            Field::DestinationPort => return has_ports(d).then_some(d.key.dst_port),
            Field::TcpFlags => d.tcp_flags.into(),
            Field::Icmp => u16::from_be_bytes([d.icmp_type, d.icmp_code]),
        };
        if d.fragment == Fragment::Later { None } else { Some(value) }
    }
}

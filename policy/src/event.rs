//! The hook events of the pipeline, the protocols that have them, and the stages that ship with
//! Sluice.

use crate::model::FilterPoint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point of the pipeline at which hooks run (`../docs/hooks.md`; the names are those of
/// Solaris' Packet Filtering Hooks, plus `ROUTE_DECISION`).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
#[non_exhaustive]
pub enum Event {
    /// Every decoded packet, read-only.
    Observing = 0,
    /// Every valid packet received from a port, before it is known where it goes.
    PhysicalIn = 1,
    /// A packet for, or from, the router itself that never touches a port: towards the router.
    LoopbackIn = 2,
    /// The same, away from the router.
    LoopbackOut = 3,
    /// Where the next hop is chosen.
    RouteDecision = 4,
    /// A packet that came in by one interface and is to leave by another.
    Forwarding = 5,
    /// Every packet just before the port, the router's own included.
    PhysicalOut = 6,
    /// Ports and addresses come, go and change.
    NicEvents = 7,
}

impl Event {
    /// All events, in the order in which a forwarded packet meets them.
    pub const ALL: [Event; 8] = [
        Event::Observing,
        Event::PhysicalIn,
        Event::LoopbackIn,
        Event::LoopbackOut,
        Event::RouteDecision,
        Event::Forwarding,
        Event::PhysicalOut,
        Event::NicEvents,
    ];

    /// The event's name in the configuration and on the command line.
    pub const fn key(self) -> &'static str {
        match self {
            Event::Observing => "observing",
            Event::PhysicalIn => "physical-in",
            Event::LoopbackIn => "loopback-in",
            Event::LoopbackOut => "loopback-out",
            Event::RouteDecision => "route-decision",
            Event::Forwarding => "forwarding",
            Event::PhysicalOut => "physical-out",
            Event::NicEvents => "nic-events",
        }
    }

    /// The event's name as authors and operators see it.
    pub const fn name(self) -> &'static str {
        match self {
            Event::Observing => "OBSERVING",
            Event::PhysicalIn => "PHYSICAL_IN",
            Event::LoopbackIn => "LOOPBACK_IN",
            Event::LoopbackOut => "LOOPBACK_OUT",
            Event::RouteDecision => "ROUTE_DECISION",
            Event::Forwarding => "FORWARDING",
            Event::PhysicalOut => "PHYSICAL_OUT",
            Event::NicEvents => "NIC_EVENTS",
        }
    }
}

/// The protocol of a packet at a hook (`NHF_INET`, `NHF_INET6`, `NHF_ARP`).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
#[non_exhaustive]
pub enum Protocol {
    /// IPv4.
    Inet = 0,
    /// IPv6.
    Inet6 = 1,
    /// ARP: it has only PHYSICAL_IN, PHYSICAL_OUT and NIC_EVENTS.
    Arp = 2,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Protocol; 3] = [Protocol::Inet, Protocol::Inet6, Protocol::Arp];

    /// The protocol's name in the configuration and in every report.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Inet => "inet",
            Protocol::Inet6 => "inet6",
            Protocol::Arp => "arp",
        }
    }

    /// Whether the protocol has the event.
    pub const fn has(self, event: Event) -> bool {
        match self {
            Protocol::Inet | Protocol::Inet6 => true,
            Protocol::Arp => {
                matches!(event, Event::PhysicalIn | Event::PhysicalOut | Event::NicEvents)
            }
        }
    }
}

/// A stage that ships with Sluice. Those with an [`event`](Stage::event) are hooks, which the
/// configuration's `pipeline` [places](Stage::placed); the others are fixed in their places.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
#[non_exhaustive]
pub enum Stage {
    /// Takes bursts from a port's queue.
    Rx = 0,
    /// Validates headers and makes the descriptor.
    Decode = 1,
    /// Answers and learns from ARP.
    Arp = 2,
    /// Finds the packet's connection, at PHYSICAL_IN ahead of the other stages. What is known of it
    /// spares the packet those that follow.
    Flow = 3,
    /// The first-match filter at PHYSICAL_IN.
    IngressFilter = 4,
    /// Packets to the router's own addresses.
    Local = 5,
    /// Longest-prefix match and choice of the next hop, at ROUTE_DECISION.
    Route = 6,
    /// The first-match filter at FORWARDING.
    ForwardFilter = 7,
    /// TTL and hop limit, at FORWARDING.
    HopLimit = 8,
    /// Packet size against the egress MTU, at FORWARDING.
    Mtu = 9,
    /// The first-match filter at PHYSICAL_OUT.
    EgressFilter = 10,
    /// Link address of the next hop, and the hold queue while it is not known.
    Neighbour = 11,
    /// Hands bursts to the ports.
    Tx = 12,
}

impl Stage {
    /// All stages, in the order in which a forwarded packet meets them by default.
    pub const ALL: [Stage; 13] = [
        Stage::Rx,
        Stage::Decode,
        Stage::Arp,
        Stage::Flow,
        Stage::IngressFilter,
        Stage::Local,
        Stage::Route,
        Stage::ForwardFilter,
        Stage::HopLimit,
        Stage::Mtu,
        Stage::EgressFilter,
        Stage::Neighbour,
        Stage::Tx,
    ];

    /// The stage's name in the configuration and in every report.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Rx => "rx",
            Stage::Decode => "decode",
            Stage::Arp => "arp",
            Stage::Flow => "flow",
            Stage::IngressFilter => "ingress-filter",
            Stage::Local => "local",
            Stage::Route => "route",
            Stage::ForwardFilter => "forward-filter",
            Stage::HopLimit => "hop-limit",
            Stage::Mtu => "mtu",
            Stage::EgressFilter => "egress-filter",
            Stage::Neighbour => "neighbour",
            Stage::Tx => "tx",
        }
    }

    /// The event at which the stage runs as a hook; `None` for a stage fixed in its place.
    pub const fn event(self) -> Option<Event> {
        match self {
            Stage::Flow | Stage::IngressFilter => Some(Event::PhysicalIn),
            Stage::Route => Some(Event::RouteDecision),
            Stage::ForwardFilter | Stage::HopLimit | Stage::Mtu => Some(Event::Forwarding),
            Stage::EgressFilter => Some(Event::PhysicalOut),
            _ => None,
        }
    }

    /// Whether the configuration's `pipeline` says where the stage stands. The flow stage is hooked
    /// and not placed: it stands ahead of all others.
    pub fn placed(self) -> bool {
        self.event().is_some() && self != Stage::Flow
    }

    /// The filter that the stage asks, if it is one of those.
    pub fn filter(self) -> Option<FilterPoint> {
        FilterPoint::ALL.into_iter().find(|point| point.stage() == self)
    }

    /// Whether a pipeline may leave the stage out. Without a route decision there is nothing to
    /// forward by, and a router that skips the hop limit or the MTU breaks the network it is in
    /// (RFC 1812 section 5.3.1).
    pub const fn optional(self) -> bool {
        matches!(self, Stage::IngressFilter | Stage::ForwardFilter | Stage::EgressFilter)
    }
}

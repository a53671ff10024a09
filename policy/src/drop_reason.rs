//! Why a packet was dropped: one name for each reason, the same in the workers' counters, in
//! `sluice show drops` and in `sluice explain`.

use sluice_packet::Malformed;

use crate::event::Stage;

macro_rules! reasons {
    ($($variant:ident = $number:literal, $name:literal, $stage:ident, $help:literal;)*) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum DropReason {
            $(#[doc = $help] $variant = $number,)*
        }

        impl DropReason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];

            /// The name that counters, logs and reports use.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }

            /// The stage that drops for this reason.
            pub const fn stage(self) -> Stage {
                match self { $(DropReason::$variant => Stage::$stage,)* }
            }

            /// What it means and, where there is a cure, the cure.
            pub const fn help(self) -> &'static str {
                match self { $(DropReason::$variant => $help,)* }
            }
        }
    };
}

reasons! {
    // Decode
    FrameTruncated = 0, "frame-truncated", Decode, "The frame is shorter than its headers.";
    EthertypeUnknown = 1, "ethertype-unknown", Decode, "Neither IPv4, IPv6 nor ARP: nothing that Sluice routes.";
    VlanUnknown = 2, "vlan-unknown", Decode, "No interface is configured for this VLAN on this port.";
    VlanStacked = 3, "vlan-stacked", Decode, "More than one VLAN tag.";
    ForeignMac = 4, "foreign-mac", Decode, "A unicast frame for another station's MAC address.";
    Ipv4Version = 5, "ipv4-version", Decode, "The version field of an IPv4 packet is not 4.";
    Ipv4HeaderLength = 6, "ipv4-header-length", Decode, "The IPv4 header length is under 20 bytes or over the packet.";
    Ipv4TotalLength = 7, "ipv4-total-length", Decode, "The IPv4 total length is under the header or over the frame.";
    Ipv4Checksum = 8, "ipv4-checksum", Decode, "The IPv4 header checksum is wrong.";
    Ipv4Options = 9, "ipv4-options", Decode, "An IPv4 option has an impossible length.";
    Ipv4SourceRoute = 10, "ipv4-source-route", Decode, "An IPv4 source route option: not obeyed (RFC 7126 section 4.3).";
    Ipv6Version = 11, "ipv6-version", Decode, "The version field of an IPv6 packet is not 6.";
    Ipv6PayloadLength = 12, "ipv6-payload-length", Decode, "The IPv6 payload length is over the frame.";
    Ipv6Extension = 13, "ipv6-extension-header", Decode, "An IPv6 extension header is cut short or out of place.";
    Ipv6HeaderChain = 14, "ipv6-header-chain", Decode, "A first fragment without its whole header chain (RFC 7112), or a chain too long to follow.";
    L4Truncated = 15, "l4-truncated", Decode, "The TCP, UDP or ICMP header is cut short.";
    L4Checksum = 16, "l4-checksum", Decode, "The TCP, UDP or ICMP checksum is wrong and the port says `checksum: verify`.";
    SuperPacket = 17, "super-packet", Decode, "Larger than the ingress MTU: the sender's kernel left segmentation to us (TSO). Turn it off at the sender (ethtool -K IFACE tso off gso off), or use net_af_xdp.";
    SourceMartian = 18, "source-martian", Decode, "A source address that no packet on a network may have (RFC 1812 section 5.3.7).";
    DestinationMartian = 19, "destination-martian", Decode, "A destination address that may not be forwarded (RFC 1812 section 5.3.7).";
    TtlZero = 20, "hop-limit-zero", Decode, "TTL or hop limit is 0 on arrival.";
    InterfaceDown = 21, "interface-unconfigured", Decode, "The port has no interface in the current configuration.";
    FrameSplit = 22, "headers-split", Decode, "The headers are not in the first segment of the buffer chain.";
    SpreadFull = 23, "spread-full", Decode, "The ring to the worker that the packet belongs to is full: that worker is overloaded or stands still.";
    IngressDown = 24, "ingress-down", Decode, "Received before the port lost its link, or was lost itself, and come to only after: nothing is looked at that came in by a port that is down.";
    // ARP
    ArpMalformed = 30, "arp-malformed", Arp, "An ARP packet of the wrong hardware type, address length or operation (RFC 826).";
    ArpForeign = 31, "arp-foreign", Arp, "ARP that does not concern this router.";
    // Flow
    InvalidState = 35, "invalid-state", Flow, "A packet that cannot be of any connection, at a stateful filter: out of its window, out of order, or an ICMP error about nothing.";
    RuleLimit = 36, "rule-limit", Flow, "A connection more than the limit of the rule that accepts it allows.";
    // Ingress
    IngressFilter = 40, "ingress-filter", IngressFilter, "Denied by a rule, or by the default action, of the ingress filter.";
    // Route, by policy
    PolicyDrop = 45, "policy-drop", Route, "A policy route that says `drop`: dropped in silence.";
    PolicyReject = 46, "policy-reject", Route, "A policy route that says `reject`: answered with administratively prohibited.";
    PolicyUnreachable = 47, "policy-unreachable", Route, "A policy route has no way out and says `unreachable: drop`: its port is down, its next hop unresolved, or its table has no route.";
    PolicyUnreachableReject = 48, "policy-unreachable-reject", Route, "A policy route has no way out and says `unreachable: reject`: answered with network unreachable.";
    FragmentWaiting = 49, "fragment-waiting", Route, "A later fragment that waited for its first when the worker was stopped.";
    // Local
    LocalUnreachable = 50, "local-unreachable", Local, "To the router itself, where nothing listens; answered with port unreachable or a reset within the rate limit.";
    LocalMulticast = 51, "multicast-ignored", Local, "Multicast or broadcast that the router has no use for.";
    NdInvalid = 52, "nd-invalid", Local, "Neighbour discovery that fails the checks of RFC 4861 section 7.1.";
    NdForeign = 53, "nd-foreign", Local, "Neighbour discovery that does not concern this router.";
    IcmpIgnored = 54, "icmp-ignored", Local, "ICMP to the router that calls for no answer.";
    LocalFragment = 55, "local-fragment", Local, "A fragment to the router itself: not reassembled yet.";
    EchoRateLimited = 56, "echo-rate-limited", Local, "More echo requests to the router than it answers in a second.";
    // Route
    OtherInstance = 59, "other-instance", Route, "To an own address of another instance, which a route leads to: it answers only what comes in there.";
    NoRoute = 60, "no-route", Route, "No route covers the destination.";
    Blackhole = 61, "blackhole", Route, "A blackhole route: dropped in silence.";
    RejectRoute = 62, "reject-route", Route, "A reject route: answered with unreachable, within the rate limit.";
    LinkBroadcast = 63, "link-broadcast", Route, "Unicast IP in a link broadcast or multicast frame is not forwarded (RFC 1122 section 3.3.6).";
    DirectedBroadcast = 64, "directed-broadcast", Route, "To the broadcast address of a connected network (RFC 2644).";
    MulticastRoute = 65, "multicast-unrouted", Route, "Multicast is not routed.";
    LinkLocal = 66, "link-local", Route, "A link-local address does not leave its link (RFC 4291 section 2.5.6).";
    EgressDown = 67, "egress-down", Route, "The port of the next hop has no link.";
    ProhibitRoute = 68, "prohibit-route", Route, "A prohibit route: answered with administratively prohibited, within the rate limit.";
    RouteLoop = 69, "route-loop", Route, "Routes lead from table to table more than eight times: one of them leads back.";
    // Forward
    ForwardFilter = 70, "forward-filter", ForwardFilter, "Denied by a rule, or by the default action, of the forward filter.";
    HopLimitExceeded = 71, "hop-limit-exceeded", HopLimit, "TTL or hop limit ran out here; answered with time exceeded within the rate limit.";
    FragmentationNeeded = 72, "fragmentation-needed", Mtu, "Larger than the egress MTU and may not be fragmented; answered with the MTU within the rate limit.";
    FragmentNoBuffer = 73, "fragment-no-buffer", Mtu, "Larger than the egress MTU and allowed to be fragmented, but the mempool had no buffers for the fragments: raise `dataplane.memory`.";
    // Egress
    EgressFilter = 80, "egress-filter", EgressFilter, "Denied by a rule, or by the default action, of the egress filter.";
    // Neighbour
    NeighbourUnresolved = 90, "neighbour-unresolved", Neighbour, "The next hop did not answer ARP or neighbour solicitation.";
    NeighbourQueueFull = 91, "neighbour-queue-full", Neighbour, "Too many packets wait for this next hop to answer; the oldest gave way.";
    NeighbourTableFull = 92, "neighbour-table-full", Neighbour, "The neighbour table is full.";
    // Tx
    TxRefused = 100, "tx-refused", Tx, "The device did not take the packet: its transmit queue is full or the frame does not fit.";
    TxNoQueue = 101, "tx-no-queue", Tx, "The port is being removed.";
    HandoffFull = 102, "handoff-full", Tx, "The ring to the worker that owns the port is full.";
    // Resources
    NoBuffer = 110, "no-buffer", Tx, "The mempool had no buffer for an answer of the router's own.";
    HookDropped = 111, "hook", Decode, "Dropped by an author's hook.";
    HookMalformed = 112, "hook-malformed", Decode, "A hook has changed the packet into what is none: see to its lengths and checksums (`write_checksums`).";
    InjectLoop = 113, "inject-loop", Decode, "Injected again and again by what hooks make of it: a hook injects what it is then shown itself.";
    HookPanic = 114, "hook-panic", Decode, "An author's hook panicked with the packet in hand. After three panics on a worker the hook is taken out: `sluice show hooks`.";
}

impl DropReason {
    /// One more than the largest number: the length of an array indexed by reason.
    pub const COUNT: usize = 128;

    /// The reason's place in an array of [`COUNT`](Self::COUNT).
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::FrameTruncated => DropReason::FrameTruncated,
            Malformed::EthertypeUnknown => DropReason::EthertypeUnknown,
            Malformed::VlanStacked => DropReason::VlanStacked,
            Malformed::Ipv4Version => DropReason::Ipv4Version,
            Malformed::Ipv4HeaderLength => DropReason::Ipv4HeaderLength,
            Malformed::Ipv4TotalLength => DropReason::Ipv4TotalLength,
            Malformed::Ipv4Checksum => DropReason::Ipv4Checksum,
            Malformed::Ipv4Options => DropReason::Ipv4Options,
            Malformed::Ipv4SourceRoute => DropReason::Ipv4SourceRoute,
            Malformed::Ipv6Version => DropReason::Ipv6Version,
            Malformed::Ipv6PayloadLength => DropReason::Ipv6PayloadLength,
            Malformed::Ipv6Extension => DropReason::Ipv6Extension,
            Malformed::Ipv6HeaderChain => DropReason::Ipv6HeaderChain,
            Malformed::L4Truncated => DropReason::L4Truncated,
            Malformed::L4Checksum => DropReason::L4Checksum,
            Malformed::SuperPacket => DropReason::SuperPacket,
            Malformed::SourceMartian => DropReason::SourceMartian,
            Malformed::DestinationMartian => DropReason::DestinationMartian,
            Malformed::HopLimitZero => DropReason::TtlZero,
            Malformed::HeadersSplit => DropReason::FrameSplit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_fit() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
        assert!(DropReason::ALL.iter().all(|r| r.index() < DropReason::COUNT));
    }
}

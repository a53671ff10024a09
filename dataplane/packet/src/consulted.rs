//! Which fields of a packet beside its flow key policy looks at.

/// The bits beside the flow key, the ingress interface and the place in the datagram that some rule
/// looks at. Packets of a flow that are equal in these have the same answer; what is not looked at
/// may differ from packet to packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Consulted {
    /// Bits of [`Descriptor::tcp_flags`](crate::Descriptor::tcp_flags).
    pub tcp_flags: u8,
    /// Bits of [`Descriptor::traffic_class`](crate::Descriptor::traffic_class).
    pub traffic_class: u8,
    /// Bits of [`Descriptor::icmp_code`](crate::Descriptor::icmp_code). The type is part of a
    /// flow's key, the code is not.
    pub icmp_code: u8,
    /// Whether the connection's state is looked at.
    pub state: bool,
}

impl Consulted {
    /// What one or the other looks at.
    #[must_use]
    pub const fn union(self, other: Consulted) -> Consulted {
        Consulted {
            tcp_flags: self.tcp_flags | other.tcp_flags,
            traffic_class: self.traffic_class | other.traffic_class,
            icmp_code: self.icmp_code | other.icmp_code,
            state: self.state | other.state,
        }
    }
}

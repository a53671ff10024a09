//! What can be wrong with a packet before policy ever sees it.

/// Why a frame was refused by the decoder.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Malformed {
    /// The frame is shorter than its link header or its IP header's fixed part.
    #[error("the frame is shorter than its headers")]
    FrameTruncated,
    /// Neither IPv4, IPv6 nor ARP.
    #[error("unknown EtherType")]
    EthertypeUnknown,
    /// More than one VLAN tag.
    #[error("more than one VLAN tag")]
    VlanStacked,
    /// IPv4 version field is not 4 (RFC 1812 section 5.2.2).
    #[error("IPv4 version is not 4")]
    Ipv4Version,
    /// IPv4 header length under 20 bytes or over the packet.
    #[error("IPv4 header length out of bounds")]
    Ipv4HeaderLength,
    /// IPv4 total length under the header or over the frame.
    #[error("IPv4 total length out of bounds")]
    Ipv4TotalLength,
    /// IPv4 header checksum is wrong.
    #[error("IPv4 header checksum is wrong")]
    Ipv4Checksum,
    /// An IPv4 option has an impossible length.
    #[error("malformed IPv4 option")]
    Ipv4Options,
    /// Loose or strict source route (RFC 7126 sections 4.3 and 4.4).
    #[error("IPv4 source route option")]
    Ipv4SourceRoute,
    /// IPv6 version field is not 6.
    #[error("IPv6 version is not 6")]
    Ipv6Version,
    /// IPv6 payload length over the frame.
    #[error("IPv6 payload length out of bounds")]
    Ipv6PayloadLength,
    /// An IPv6 extension header is cut short or out of place.
    #[error("malformed IPv6 extension header")]
    Ipv6Extension,
    /// First fragment without its whole header chain (RFC 7112), or a chain too long to follow.
    #[error("incomplete or overlong IPv6 header chain")]
    Ipv6HeaderChain,
    /// TCP, UDP or ICMP header cut short.
    #[error("layer-4 header is cut short")]
    L4Truncated,
    /// TCP, UDP or ICMP checksum is wrong.
    #[error("layer-4 checksum is wrong")]
    L4Checksum,
    /// The IP length is over the ingress MTU: the sender's kernel left segmentation to us.
    #[error("larger than the ingress MTU")]
    SuperPacket,
    /// Source address that no packet may have (RFC 1812 section 5.3.7, RFC 4291 section 2.5).
    #[error("martian source address")]
    SourceMartian,
    /// Destination that no router may forward to.
    #[error("martian destination address")]
    DestinationMartian,
    /// TTL or hop limit is 0 on arrival.
    #[error("hop limit is 0")]
    HopLimitZero,
    /// Headers not in the first segment of the buffer chain.
    #[error("headers are split over segments")]
    HeadersSplit,
}

//! Protocol numbers: the IPv4 protocol field and the IPv6 next header share one registry (IANA
//! "Assigned Internet Protocol Numbers").

/// IPv6 hop-by-hop options (RFC 8200 section 4.3).
pub const HOP_BY_HOP: u8 = 0;
/// ICMP for IPv4 (RFC 792).
pub const ICMP: u8 = 1;
/// TCP (RFC 9293).
pub const TCP: u8 = 6;
/// UDP (RFC 768).
pub const UDP: u8 = 17;
/// DCCP (RFC 4340).
pub const DCCP: u8 = 33;
/// IPv6 routing header (RFC 8200 section 4.4).
pub const ROUTING: u8 = 43;
/// IPv6 fragment header (RFC 8200 section 4.5).
pub const FRAGMENT: u8 = 44;
/// Encapsulating security payload (RFC 4303): what follows cannot be read.
pub const ESP: u8 = 50;
/// Authentication header (RFC 4302).
pub const AH: u8 = 51;
/// ICMPv6 (RFC 4443).
pub const ICMPV6: u8 = 58;
/// No next header (RFC 8200 section 4.7).
pub const NO_NEXT_HEADER: u8 = 59;
/// IPv6 destination options (RFC 8200 section 4.6).
pub const DESTINATION_OPTIONS: u8 = 60;
/// SCTP (RFC 9260).
pub const SCTP: u8 = 132;
/// UDP-Lite (RFC 3828).
pub const UDP_LITE: u8 = 136;

/// Bytes of the fixed part of the layer-4 header that the decoder reads and therefore demands; 0
/// for protocols it does not look into.
#[inline]
pub const fn fixed_header(protocol: u8, ipv6: bool) -> usize {
    match protocol {
        TCP => 20,
        UDP | UDP_LITE => 8,
        SCTP | DCCP => 12,
        ICMP if !ipv6 => 8,
        ICMPV6 if ipv6 => 8,
        _ => 0,
    }
}

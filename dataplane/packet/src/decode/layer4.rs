//! What the descriptor holds of the layer-4 header, careful way.

use super::header;
use crate::descriptor::{Descriptor, Family, Fragment};
use crate::icmp::{self, IcmpHeader};
use crate::icmpv6;
use crate::malformed::Malformed;
use crate::protocol::{self, fixed_header};
use crate::tcp::TcpHeader;
use crate::udp::UdpHeader;

/// Reads ports, flags and ICMP fields into `d`, whose other fields stand already. `packet` begins
/// at the IP header; `fragment_offset` is that of a later fragment, in bytes.
///
/// A first fragment that cuts the header short is refused, and so is a later one that begins
/// inside the header: both are ways to hide ports from a filter (RFC 1858, RFC 3128).
pub(super) fn read(
    d: &mut Descriptor,
    packet: &[u8],
    fragment_offset: usize,
) -> Result<(), Malformed> {
    let ipv6 = d.key.family == Family::Inet6;
    let fixed = fixed_header(d.key.protocol, ipv6);
    let start = usize::from(d.l4_offset);
    let length = usize::from(d.l3_length);
    let short = match d.fragment {
        Fragment::Whole => Malformed::L4Truncated,
        // RFC 7112: the first fragment holds the whole chain, layer-4 header included.
        _ if ipv6 => Malformed::Ipv6HeaderChain,
        _ => Malformed::L4Truncated,
    };
    if d.fragment == Fragment::Later {
        return if fragment_offset < fixed { Err(short) } else { Ok(()) };
    }
    if start + fixed > length {
        return Err(short);
    }
    match d.key.protocol {
        protocol::TCP => {
            let tcp: &TcpHeader = header(packet, start, length, short)?;
            d.key.src_port = tcp.src_port.get();
            d.key.dst_port = tcp.dst_port.get();
            d.tcp_flags = tcp.flags;
            let options_fit = start + tcp.header_length() <= length;
            if tcp.header_length() < size_of::<TcpHeader>()
                || d.fragment == Fragment::Whole && !options_fit
            {
                return Err(Malformed::L4Truncated);
            }
        }
        protocol::UDP | protocol::UDP_LITE | protocol::SCTP | protocol::DCCP => {
            // All four begin with the two ports.
            let ports: &UdpHeader = header(packet, start, length, short)?;
            d.key.src_port = ports.src_port.get();
            d.key.dst_port = ports.dst_port.get();
        }
        protocol::ICMP | protocol::ICMPV6 if fixed != 0 => {
            let message: &IcmpHeader = header(packet, start, length, short)?;
            d.icmp_type = message.icmp_type;
            d.icmp_code = message.code;
            let echo = if ipv6 { icmpv6::is_echo } else { icmp::is_echo };
            if echo(message.icmp_type) {
                d.key.src_port = (message.rest.get() >> 16) as u16;
            }
        }
        _ => {}
    }
    Ok(())
}

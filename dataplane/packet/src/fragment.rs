//! Which datagram a fragment is of.

use zerocopy::FromBytes;

use crate::ipv6::{self, ExtensionHeader, FragmentHeader};
use crate::{Family, protocol};

/// The most extension headers that may stand before the fragment header.
const MAX_EXTENSIONS: usize = 8;

/// The identification in a fragment's headers (RFC 791 section 3.1, RFC 8200 section 4.5);
/// `packet` begins with the IP header. `None` where there is none.
pub fn identification(packet: &[u8], family: Family) -> Option<u32> {
    if family == Family::Inet {
        return Some(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]).into());
    }
    let mut next = *packet.get(6)?;
    let mut rest = packet.get(ipv6::HEADER..)?;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            protocol::FRAGMENT => {
                let (header, _) = FragmentHeader::ref_from_prefix(rest).ok()?;
                return Some(header.identification.get());
            }
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                let (header, _) = ExtensionHeader::ref_from_prefix(rest).ok()?;
                next = header.next_header;
                rest = rest.get(8 * (usize::from(header.length) + 1)..)?;
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_in_the_ipv4_header() {
        let mut packet = [0; 20];
        packet[4..6].copy_from_slice(&[0x12, 0x34]);
        assert_eq!(identification(&packet, Family::Inet), Some(0x1234));
        assert_eq!(identification(&packet[..5], Family::Inet), None);
    }

    #[test]
    fn it_stands_in_the_fragment_header_of_ipv6() {
        let mut packet = vec![0; 40];
        packet[6] = protocol::DESTINATION_OPTIONS;
        packet.extend([protocol::FRAGMENT, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend([protocol::UDP, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(identification(&packet, Family::Inet6), Some(0xdead_beef));
        for cut in 0..packet.len() {
            assert_eq!(identification(&packet[..cut], Family::Inet6), None, "{cut}");
        }
        packet[40] = protocol::UDP;
        assert_eq!(identification(&packet, Family::Inet6), None);
    }
}

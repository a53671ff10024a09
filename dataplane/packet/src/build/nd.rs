//! Neighbour solicitations and advertisements (RFC 4861).

use core::net::Ipv6Addr;

use super::BuildError;
use crate::ethernet::Mac;

/// Writes a solicitation for `target` to its solicited-node group.
pub fn solicitation(
    buffer: &mut [u8],
    vlan: u16,
    mac: Mac,
    source: Ipv6Addr,
    target: Ipv6Addr,
) -> Result<usize, BuildError> {
    let _ = (buffer, vlan, mac, source, target);
    Err(BuildError::Unanswerable("solicitation"))
}

/// Writes a solicitation to the one station that had `target` last (RFC 4861 section 7.3.3).
pub fn probe(
    buffer: &mut [u8],
    vlan: u16,
    mac: Mac,
    source: Ipv6Addr,
    target: Ipv6Addr,
    target_mac: Mac,
) -> Result<usize, BuildError> {
    let _ = (buffer, vlan, mac, source, target, target_mac);
    Err(BuildError::Unanswerable("solicitation"))
}

/// Writes the advertisement of `target` that answers a solicitation of the station `to` (RFC 4861
/// section 7.2.4); `None` advertises to all nodes, unsolicited.
pub fn advertisement(
    buffer: &mut [u8],
    vlan: u16,
    mac: Mac,
    target: Ipv6Addr,
    to: Option<(Ipv6Addr, Mac)>,
) -> Result<usize, BuildError> {
    let _ = (buffer, vlan, mac, target, to);
    Err(BuildError::Unanswerable("solicitation"))
}

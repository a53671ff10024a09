//! ARP requests and replies (RFC 826, RFC 5227).

use core::net::Ipv4Addr;

use super::BuildError;
use crate::ethernet::Mac;

/// Writes a broadcast request for `target`.
pub fn request(
    buffer: &mut [u8],
    vlan: u16,
    mac: Mac,
    sender: Ipv4Addr,
    target: Ipv4Addr,
) -> Result<usize, BuildError> {
    let _ = (buffer, vlan, mac, sender, target);
    Err(BuildError::Unanswerable("ARP"))
}

/// Writes a request to the one station that had `target` last (RFC 1122 section 2.3.2.1, unicast
/// poll).
pub fn probe(
    buffer: &mut [u8],
    vlan: u16,
    mac: Mac,
    sender: Ipv4Addr,
    target: Ipv4Addr,
    target_mac: Mac,
) -> Result<usize, BuildError> {
    let _ = (buffer, vlan, mac, sender, target, target_mac);
    Err(BuildError::Unanswerable("ARP"))
}

/// Writes an announcement of one's own address (gratuitous ARP; RFC 5227 section 2.3).
pub fn announcement(
    buffer: &mut [u8],
    vlan: u16,
    mac: Mac,
    address: Ipv4Addr,
) -> Result<usize, BuildError> {
    let _ = (buffer, vlan, mac, address);
    Err(BuildError::Unanswerable("ARP"))
}

/// Turns the request at `l3_offset` of `frame` into its reply, in place: `mac` has the address
/// that was asked for.
pub fn reply_in_place(frame: &mut [u8], l3_offset: usize, mac: Mac) -> Result<(), BuildError> {
    let _ = (frame, l3_offset, mac);
    Err(BuildError::Unanswerable("ARP"))
}

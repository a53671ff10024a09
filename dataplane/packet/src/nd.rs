//! Neighbour solicitations and advertisements (RFC 4861): views, and the checks that stand before
//! any use of them.

use core::net::Ipv6Addr;

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum;
use crate::descriptor::{Descriptor, DescriptorFlags, Family};
use crate::ethernet::{self, Mac};
use crate::icmpv6::{NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION};
use crate::ipv6;
use crate::protocol;

/// The hop limit that proves that a message did not come from beyond the link.
pub const HOP_LIMIT: u8 = 255;
/// Option: MAC address of the sender.
pub const SOURCE_LINK_ADDRESS: u8 = 1;
/// Option: MAC address of the target.
pub const TARGET_LINK_ADDRESS: u8 = 2;

/// Flag of an advertisement: the sender is a router.
pub const ROUTER: u32 = 1 << 31;
/// Flag of an advertisement: it answers a solicitation.
pub const SOLICITED: u32 = 1 << 30;
/// Flag of an advertisement: it replaces what is known.
pub const OVERRIDE: u32 = 1 << 29;

/// A neighbour solicitation or advertisement, without its options (RFC 4861 sections 4.3, 4.4).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct NeighbourMessage {
    /// Type: 135 or 136.
    pub icmp_type: u8,
    /// Code: 0.
    pub code: u8,
    /// Checksum over pseudo-header and message.
    pub checksum: U16,
    /// Flags of an advertisement; reserved in a solicitation.
    pub flags: U32,
    /// Whose MAC address is asked for, or told.
    pub target: [u8; 16],
}

/// An option that holds a MAC address.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct LinkAddressOption {
    /// [`SOURCE_LINK_ADDRESS`] or [`TARGET_LINK_ADDRESS`].
    pub kind: u8,
    /// Length in units of eight bytes: 1.
    pub length: u8,
    /// The address.
    pub mac: Mac,
}

/// Why a message is ignored (RFC 4861 sections 7.1.1 and 7.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    /// It is another kind of packet.
    #[error("not such a neighbour discovery message")]
    Kind,
    /// Hop limit is not 255: it may come from beyond the link.
    #[error("hop limit is not 255")]
    HopLimit,
    /// With extension headers; a fragment header is forbidden (RFC 6980), others have no use.
    #[error("neighbour discovery behind an extension header")]
    Extension,
    /// Checksum is wrong.
    #[error("ICMPv6 checksum is wrong")]
    Checksum,
    /// Code is not 0.
    #[error("ICMPv6 code is not 0")]
    Code,
    /// Shorter than its fixed part.
    #[error("message is cut short")]
    Length,
    /// Target is no unicast address.
    #[error("target is not a unicast address")]
    Target,
    /// An option has length 0, goes over the end or has no station's address.
    #[error("malformed option")]
    Option,
    /// From the unspecified address, but not to a solicited-node group, or with a MAC address.
    #[error("not a proper probe for a duplicate address")]
    Unspecified,
    /// Claims to answer a solicitation, to a group.
    #[error("solicited flag in a multicast")]
    Solicited,
}

/// A valid neighbour solicitation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Solicitation {
    /// Who asks; unspecified when it probes for a duplicate (RFC 4862 section 5.4).
    pub source: Ipv6Addr,
    /// Whose MAC address is asked for.
    pub target: Ipv6Addr,
    /// MAC address of who asks.
    pub source_mac: Option<Mac>,
}

/// A valid neighbour advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advertisement {
    /// Whose MAC address is told.
    pub target: Ipv6Addr,
    /// The MAC address.
    pub target_mac: Option<Mac>,
    /// The target is a router.
    pub router: bool,
    /// It answers a solicitation.
    pub solicited: bool,
    /// It replaces what is known.
    pub replaces: bool,
}

/// Reads the neighbour solicitation that `d` describes, with every check of RFC 4861 section
/// 7.1.1.
pub fn solicitation(frame: &[u8], d: &Descriptor) -> Result<Solicitation, Invalid> {
    let (message, source_mac) = read(frame, d, NEIGHBOUR_SOLICITATION, SOURCE_LINK_ADDRESS)?;
    let target = Ipv6Addr::from(message.target);
    if d.key.src == 0 {
        let to_its_group = d.key.dst == ipv6::solicited_node(target).to_bits();
        if !to_its_group || source_mac.is_some() {
            return Err(Invalid::Unspecified);
        }
    }
    Ok(Solicitation { source: Ipv6Addr::from_bits(d.key.src), target, source_mac })
}

/// Reads the neighbour advertisement that `d` describes, with every check of RFC 4861 section
/// 7.1.2.
pub fn advertisement(frame: &[u8], d: &Descriptor) -> Result<Advertisement, Invalid> {
    let (message, target_mac) = read(frame, d, NEIGHBOUR_ADVERTISEMENT, TARGET_LINK_ADDRESS)?;
    let flags = message.flags.get();
    let solicited = flags & SOLICITED != 0;
    if solicited && ipv6::is_multicast(d.key.dst) {
        return Err(Invalid::Solicited);
    }
    Ok(Advertisement {
        target: Ipv6Addr::from(message.target),
        target_mac,
        router: flags & ROUTER != 0,
        solicited,
        replaces: flags & OVERRIDE != 0,
    })
}

/// What the two messages have in common: the fixed part, and the MAC address in the option of the
/// given kind.
fn read<'f>(
    frame: &'f [u8],
    d: &Descriptor,
    icmp_type: u8,
    option: u8,
) -> Result<(&'f NeighbourMessage, Option<Mac>), Invalid> {
    let icmpv6 = d.key.family == Family::Inet6 && d.key.protocol == protocol::ICMPV6;
    if !icmpv6 || d.icmp_type != icmp_type {
        return Err(Invalid::Kind);
    }
    if d.flags.contains(DescriptorFlags::OPTIONS) {
        return Err(Invalid::Extension);
    }
    if d.hop_limit != HOP_LIMIT {
        return Err(Invalid::HopLimit);
    }
    if d.icmp_code != 0 {
        return Err(Invalid::Code);
    }
    let l3 = usize::from(d.l3_offset);
    let bytes = frame
        .get(l3 + usize::from(d.l4_offset)..l3 + usize::from(d.l3_length))
        .ok_or(Invalid::Length)?;
    let (message, options) =
        NeighbourMessage::ref_from_prefix(bytes).map_err(|_| Invalid::Length)?;
    checksum::verify(d, [frame]).map_err(|_| Invalid::Checksum)?;
    let target = u128::from_be_bytes(message.target);
    if ipv6::is_multicast(target) || target <= 1 {
        return Err(Invalid::Target);
    }
    Ok((message, link_address(options, option)?))
}

/// Walks the options and returns the MAC address of the first of the given kind.
fn link_address(mut options: &[u8], kind: u8) -> Result<Option<Mac>, Invalid> {
    let mut found = None;
    while let [this, length, ..] = *options {
        let size = usize::from(length) * 8;
        if size == 0 {
            return Err(Invalid::Option);
        }
        let (option, rest) = options.split_at_checked(size).ok_or(Invalid::Option)?;
        if this == kind && found.is_none() {
            let option = LinkAddressOption::ref_from_bytes(option).map_err(|_| Invalid::Option)?;
            if !ethernet::is_station(&option.mac) {
                return Err(Invalid::Option);
            }
            found = Some(option.mac);
        }
        options = rest;
    }
    if options.is_empty() { Ok(found) } else { Err(Invalid::Option) }
}

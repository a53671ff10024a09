//! What a hook may ask of a packet's checksums: which are missing, which are right, and to have
//! them put in.
//!
//! | 9F | here |
//! |---|---|
//! | `net_ispartialchecksum` | [`Packet::partial_checksum`] |
//! | `net_isvalidchecksum` | [`Packet::checksums`] |
//!
//! A host on a virtual link leaves the sum of TCP and UDP to hardware that is not there. A port
//! that says `checksum: complete` puts it in before any hook sees the packet; with `trust` it may
//! be missing, and [`Packet::complete_checksums`] puts it in.

use sluice_dpdk::Mbuf;
use sluice_packet::{Descriptor, Malformed, checksum, decode, ipv4, protocol};

use crate::packet::Packet;

bitflags::bitflags! {
    /// Checksums that the sender left to hardware, with the bits of `net_ispartialchecksum`.
    /// `NET_HCK_NONE` is the empty set; Sluice asks no device for a sum, so that of the others
    /// only `L4_PART` occurs.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct PartialChecksum: u8 {
        /// All of the IP header's sum (`NET_HCK_L3_FULL`).
        const L3_FULL = 0x01;
        /// Part of it (`NET_HCK_L3_PART`).
        const L3_PART = 0x02;
        /// All of TCP's or UDP's (`NET_HCK_L4_FULL`).
        const L4_FULL = 0x10;
        /// All but the pseudo-header (`NET_HCK_L4_PART`).
        const L4_PART = 0x20;
    }
}

/// What is known of a checksum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Validity {
    /// It is right, by the device's word or summed up here.
    Valid,
    /// It is wrong.
    Bad,
    /// There is none to check: the protocol has none, or the sender left it out, or a fragment
    /// does not hold all that it covers.
    Unknown,
}

/// What is known of a packet's checksums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checksums {
    /// That of the IPv4 header; IPv6 has none.
    pub l3: Validity,
    /// That of TCP, UDP, ICMP or ICMPv6.
    pub l4: Validity,
}

/// Decodes the IP packet at `l3_offset` of a buffer, by the version that its first byte says. Of
/// what does not stand in the packet, nothing is set.
///
/// # Errors
/// What is wrong with it.
pub fn decode_ip(mbuf: &Mbuf, l3_offset: usize) -> Result<Descriptor, Malformed> {
    let mut d = Descriptor::default();
    let (frame, wire) = (mbuf.data(), mbuf.pkt_len());
    match frame.get(l3_offset).ok_or(Malformed::FrameTruncated)? >> 4 {
        4 => decode::ipv4_into(frame, l3_offset, wire, u16::MAX, &mut d).map(|_| d),
        6 => decode::ipv6_into(frame, l3_offset, wire, u16::MAX, &mut d).map(|_| d),
        _ => Err(Malformed::Ipv4Version),
    }
}

impl Packet<'_> {
    /// Which checksums the sender left to hardware (`net_ispartialchecksum`).
    #[must_use]
    pub fn partial_checksum(&self) -> PartialChecksum {
        let (Some(mbuf), Ok(d)) = (self.mbuf(), self.decoded()) else {
            return PartialChecksum::empty();
        };
        let partial =
            mbuf.l4_checksum_missing() || checksum::completion(&d, mbuf.segments()).is_some();
        if partial { PartialChecksum::L4_PART } else { PartialChecksum::empty() }
    }

    /// Whether the checksums are right (`net_isvalidchecksum`): by the device's word where it gives
    /// one, else summed up here, which costs a walk over the packet.
    #[must_use]
    pub fn checksums(&self) -> Checksums {
        Checksums { l3: self.l3_checksum(), l4: self.l4_checksum() }
    }

    fn l3_checksum(&self) -> Validity {
        match self.ipv4_header() {
            Some(header) if checksum::ipv4_header_is_valid(header) => Validity::Valid,
            Some(_) => Validity::Bad,
            None => Validity::Unknown,
        }
    }

    fn l4_checksum(&self) -> Validity {
        let (Some(mbuf), Ok(d)) = (self.mbuf(), self.decoded()) else { return Validity::Unknown };
        let told = !self.burst.is_rewritten(self.slot);
        if told && mbuf.l4_checksum_good() {
            return Validity::Valid;
        }
        if told && mbuf.l4_checksum_missing() {
            return Validity::Unknown;
        }
        let Some(right) = checksum::full(&d, mbuf.segments()) else { return Validity::Unknown };
        let field = mbuf.data().get(right.offset..right.offset + 2);
        if d.key.protocol == protocol::UDP && field == Some(&[0, 0]) {
            return Validity::Unknown;
        }
        if checksum::verify(&d, mbuf.segments()).is_ok() {
            Validity::Valid
        } else if checksum::completion(&d, mbuf.segments()).is_some() {
            Validity::Unknown
        } else {
            Validity::Bad
        }
    }

    /// Puts in the checksums that the sender left to hardware: afterwards, none is missing. Right
    /// and wrong ones stay as they are.
    pub fn complete_checksums(&mut self) {
        let Ok(d) = self.decoded() else { return };
        let Some(mbuf) = self.burst.mbuf_mut(self.slot) else { return };
        let missing = match mbuf.l4_checksum_missing() {
            true => checksum::full(&d, mbuf.segments()),
            false => checksum::completion(&d, mbuf.segments()),
        };
        if let Some(missing) = missing {
            missing.write(mbuf.data_mut());
            mbuf.clear_offloads();
        }
    }

    /// Puts all checksums in anew, as a hook does that has changed headers: that of the IPv4 header
    /// and that of TCP, UDP, ICMP or ICMPv6. A fragment's layer-4 checksum is left alone: it
    /// covers more than the fragment.
    ///
    /// # Errors
    /// What is wrong with the packet otherwise; it will be dropped for it when the hook is done.
    pub fn write_checksums(&mut self) -> Result<(), Malformed> {
        const FIELD: usize = 10;
        if let Some(header) = self.ipv4_header() {
            let (length, checksum) = (header.len(), checksum::ipv4_header(header));
            let header = &mut self.bytes_mut()[..length];
            header[FIELD..FIELD + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        let d = self.decoded()?;
        let Some(mbuf) = self.rewrite() else { return Ok(()) };
        if let Some(right) = checksum::full(&d, mbuf.segments()) {
            right.write(mbuf.data_mut());
            mbuf.clear_offloads();
        }
        Ok(())
    }

    /// What the packet is now, whatever was done to it.
    fn decoded(&self) -> Result<Descriptor, Malformed> {
        if !self.burst.is_rewritten(self.slot) {
            return Ok(*self.descriptor());
        }
        let mbuf = self.mbuf().ok_or(Malformed::FrameTruncated)?;
        decode_ip(mbuf, usize::from(self.descriptor().l3_offset))
    }

    /// The IPv4 header with its options, if the packet has one.
    fn ipv4_header(&self) -> Option<&[u8]> {
        let bytes = self.bytes();
        let first = *bytes.first()?;
        let length = usize::from(first & 0xf) * 4;
        (first >> 4 == 4 && length >= ipv4::HEADER).then(|| bytes.get(..length)).flatten()
    }
}

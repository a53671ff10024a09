//! The packets that a worker had in hand: as bytes, as a line, and as what tells one that comes
//! again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};

use sluice_hooks::Burst;
use sluice_packet::descriptor::ip_of;
use sluice_packet::{Descriptor, DescriptorFlags, Family};

use super::since_1970;

const VLAN: [u16; 2] = [0x8100, 0x88a8];
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// A packet that a worker had in hand.
pub(super) struct InHand {
    /// Its frame, as far as it is in one buffer.
    pub(super) frame: Vec<u8>,
    /// A line about it.
    pub(super) what: String,
}

/// The packets of a burst, in their order.
pub(super) fn in_hand(burst: &Burst) -> Vec<InHand> {
    let packet = |slot| {
        let mbuf = burst.mbuf(slot)?;
        let what = line(burst.descriptor(slot), mbuf.pkt_len());
        Some(InHand { frame: mbuf.data().to_vec(), what })
    };
    (0..sluice_dpdk::BURST).filter_map(packet).collect()
}

/// `udp 10.0.1.2:4000 > 10.0.2.2:9, 64 bytes`.
fn line(d: &Descriptor, length: usize) -> String {
    if d.key.src == 0 && d.key.dst == 0 {
        return format!("a frame that was not decoded, {length} bytes");
    }
    let end = |address, port: u16| {
        let address = ip_of(d.key.family, address);
        match (port, d.key.family) {
            (0, _) => address.to_string(),
            (_, Family::Inet) => format!("{address}:{port}"),
            (_, Family::Inet6) => format!("[{address}]:{port}"),
        }
    };
    let protocol = match d.key.protocol {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        other => format!("protocol {other}"),
    };
    let own = if d.flags.contains(DescriptorFlags::LOCAL_ORIGIN) { ", our own" } else { "" };
    let (src, dst) = (end(d.key.src, d.key.src_port), end(d.key.dst, d.key.dst_port));
    format!("{protocol} {src} > {dst}, {length} bytes{own}")
}

/// A number that is the same for a packet that is sent again, however far it had come: of its bytes
/// from the IP header on, without what a router changes and what counts packets.
pub(super) fn fingerprint(frame: &[u8]) -> u64 {
    let kind = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let mut at = 12;
    while kind(at).is_some_and(|kind| VLAN.contains(&kind)) {
        at += 4;
    }
    let mut packet = frame.get(at + 2..).unwrap_or_default().to_vec();
    let mut blank = |places: std::ops::Range<usize>| {
        if let Some(places) = packet.get_mut(places) {
            places.fill(0);
        }
    };
    match kind(at) {
        Some(IPV4) => {
            blank(4..6); // identification
            blank(8..9); // time to live
            blank(10..12); // header checksum
        }
        Some(IPV6) => blank(7..8), // hop limit
        _ => {}
    }
    // The same in every process of one build; a report of another is no worse than none.
    let mut hasher = DefaultHasher::new();
    packet.hash(&mut hasher);
    hasher.finish()
}

/// Writes packets as a capture file (draft-ietf-opsawg-pcap, LINKTYPE_ETHERNET).
pub(super) fn write_pcap(mut to: impl Write, packets: &[InHand]) -> io::Result<()> {
    const SNAPLEN: u32 = 65_535;
    for word in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, SNAPLEN, 1] {
        to.write_all(&u32::to_le_bytes(word))?;
    }
    let now = since_1970();
    for InHand { frame, .. } in packets {
        let length = frame.len().min(SNAPLEN as usize);
        let header = [now.as_secs() as u32, now.subsec_micros(), length as u32, frame.len() as u32];
        for word in header {
            to.write_all(&word.to_le_bytes())?;
        }
        to.write_all(&frame[..length])?;
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(vlan: bool, ttl: u8, id: u16, last: u8) -> Vec<u8> {
        let mut frame = vec![2; 12];
        if vlan {
            frame.extend([0x81, 0, 0, 7]);
        }
        frame.extend([8, 0, 0x45, 0, 0, 21]);
        frame.extend(id.to_be_bytes());
        frame.extend([0, 0, ttl, 17, ttl, ttl, 10, 0, 1, 2, 10, 0, 2, 2, last]);
        frame
    }

    #[test]
    fn a_packet_is_known_again_wherever_it_had_got_to() {
        let seen = fingerprint(&frame(false, 64, 1, 9));
        assert_eq!(fingerprint(&frame(true, 63, 2, 9)), seen);
        assert_ne!(fingerprint(&frame(false, 64, 1, 8)), seen);
        for length in 0..20 {
            fingerprint(&frame(true, 64, 1, 9)[..length]);
        }
    }

    #[test]
    fn a_capture_file_has_every_packet() {
        let packets: Vec<_> =
            [60, 1514].map(|length| InHand { frame: vec![7; length], what: String::new() }).into();
        let mut file = Vec::new();
        write_pcap(&mut file, &packets).unwrap();
        assert_eq!(file.len(), 24 + 2 * 16 + 60 + 1514);
        assert_eq!(file[..8], [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]);
        assert_eq!(file[32..40], [60, 0, 0, 0, 60, 0, 0, 0]);
    }
}

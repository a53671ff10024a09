//! Marks packets with a DSCP (RFC 2474), so that queues further on can tell them apart.

use sluice_hooks::{Context, Made, Packet, PacketHook, PerPacket, Program, ProgramError, Verdict};
use sluice_packet::{Family, Fragment, checksum};

use crate::ON_THE_WAY;

/// Marks the packets to some ports.
pub struct DscpMark {
    dscp: u8,
    /// Destination ports, of whatever protocol has ports; all packets where there are none.
    ports: Box<[u16]>,
}

impl DscpMark {
    fn is_meant(&self, packet: &Packet<'_>) -> bool {
        let d = packet.descriptor();
        self.ports.is_empty()
            || (d.fragment != Fragment::Later && self.ports.contains(&d.key.dst_port))
    }
}

impl PacketHook for DscpMark {
    fn packet(&mut self, cx: &mut Context<'_>, mut packet: Packet<'_>) -> Verdict {
        // The lower two bits are the sender's and the network's ECN (RFC 3168).
        let is = packet.descriptor().traffic_class;
        let class = self.dscp << 2 | is & 0b11;
        if class == is || !self.is_meant(&packet) {
            return Verdict::Continue;
        }
        let family = packet.descriptor().key.family;
        let header = packet.bytes_mut();
        let written = match family {
            Family::Inet => mark_inet(header, class),
            Family::Inet6 => mark_inet6(header, class),
        };
        cx.count(MARKED, u64::from(written));
        Verdict::Continue
    }
}

/// Place of the counter.
const MARKED: usize = 0;

/// Sets the TOS of an IPv4 header and keeps its checksum right (RFC 1624).
fn mark_inet(header: &mut [u8], class: u8) -> bool {
    let Some(header) = header.first_chunk_mut::<20>() else { return false };
    let (old, sum) =
        (u16::from_be_bytes([header[0], header[1]]), u16::from_be_bytes([header[10], header[11]]));
    header[1] = class;
    let new = u16::from_be_bytes([header[0], class]);
    let sum = checksum::update32(sum, u32::from(old), u32::from(new));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    true
}

/// Sets the traffic class of an IPv6 header: four bits behind the version, four before the flow
/// label (RFC 8200 section 3).
fn mark_inet6(header: &mut [u8], class: u8) -> bool {
    let Some(header) = header.first_chunk_mut::<2>() else { return false };
    header[0] = header[0] & 0xf0 | class >> 4;
    header[1] = class << 4 | header[1] & 0x0f;
    true
}

/// `sluice hook load dscp-mark --event forwarding --set dscp=46 --set ports=5060`
pub const PROGRAM: Program = Program {
    name: "dscp-mark",
    summary: "marks packets with a DSCP",
    settings: &[
        ("dscp", "the mark, 0 to 63; 46 (expedited forwarding) unless given"),
        ("ports", "destination ports to mark, separated by commas; all packets unless given"),
    ],
    events: ON_THE_WAY,
    make: |settings| {
        let within = |dscp: &u8| match dscp {
            0..=63 => Ok(()),
            _ => Err("0 to 63 are possible".to_owned()),
        };
        let dscp = settings.get("dscp", 46, within)?;
        let ports = ports(&settings.get("ports", String::new(), |_| Ok(()))?)?;
        Ok(Made::new(move || PerPacket(DscpMark { dscp, ports: ports.clone() }))
            .with_counters(&["marked"]))
    },
};

fn ports(text: &str) -> Result<Box<[u16]>, ProgramError> {
    let port = |port: &str| {
        port.trim().parse().map_err(|error| ProgramError::Setting {
            key: "ports".to_owned(),
            value: text.to_owned(),
            reason: format!("`{port}`: {error}"),
        })
    };
    text.split(',').filter(|port| !port.trim().is_empty()).map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_stays_right() {
        // RFC 1071's arithmetic, whatever the mark and whatever was there.
        for (old, class) in [(0, 0xb8), (0xb8, 0), (3, 0xbb), (0xff, 0x03)] {
            let mut header =
                [0x45, old, 0, 60, 1, 2, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
            let sum = checksum::ipv4_header(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            assert!(mark_inet(&mut header, class));
            assert!(checksum::ipv4_header_is_valid(&header), "{old} to {class}");
            assert_eq!(header[1], class);
        }
    }

    #[test]
    fn the_flow_label_stays() {
        let mut header = [0x60, 0x01, 0x23, 0x45];
        assert!(mark_inet6(&mut header, 0xb8));
        assert_eq!(header, [0x6b, 0x81, 0x23, 0x45]);
    }

    #[test]
    fn ports_are_read_and_wrong_ones_named() {
        assert_eq!(*ports("5060, 5061").unwrap(), [5060, 5061]);
        assert!(ports("").unwrap().is_empty());
        let error = ports("80,http").unwrap_err().to_string();
        assert_eq!(error, "setting `ports`: `80,http`: `http`: invalid digit found in string");
    }
}

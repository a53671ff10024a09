//! Frames as they arrive: whether they are ours, what their stamp is, and how one is turned round.

use crate::stamp::{self, Stamp};

/// The stamp of a frame of ours, as it arrives: behind Ethernet, perhaps a VLAN tag, IP and UDP or
/// TCP. `None` for anything else.
pub fn stamp(frame: &[u8]) -> Option<Stamp> {
    let parts = Parts::of(frame)?;
    let payload = frame.get(parts.payload..)?;
    (payload.len() >= stamp::LENGTH).then(|| Stamp::read(payload)).flatten()
}

/// Whether a frame may be one that was replayed: an IP packet to a station, other than the neighbour
/// discovery of whoever is at the other end.
pub fn is_packet(frame: &[u8]) -> bool {
    let Some((l3, ethertype)) = network(frame) else { return false };
    let to_a_station = frame[0] & 1 == 0;
    let discovery = ethertype == [0x86, 0xdd]
        && frame.get(l3 + 6) == Some(&58)
        && frame.get(l3 + 40).is_some_and(|kind| (133..=137).contains(kind));
    to_a_station && matches!(ethertype, [0x08, 0x00] | [0x86, 0xdd]) && !discovery
}

/// Makes a frame of ours its own answer: sender and receiver change places at every layer, and it comes
/// from `own`. No checksum changes by that. Says whether it is a frame of ours.
pub fn turn_round(frame: &mut [u8], own: [u8; 6]) -> bool {
    let Some(parts) = Parts::of(frame) else { return false };
    frame.copy_within(6..12, 0);
    frame[6..12].copy_from_slice(&own);
    let (source, length) = (parts.addresses, parts.address_length);
    let (a, b) = frame[source..source + 2 * length].split_at_mut(length);
    a.swap_with_slice(b);
    let (a, b) = frame[parts.l4..parts.l4 + 4].split_at_mut(2);
    a.swap_with_slice(b);
    true
}

/// Where a frame's network header starts, and its ethertype.
fn network(frame: &[u8]) -> Option<(usize, [u8; 2])> {
    let tagged = frame.get(12..14)? == [0x81, 0x00];
    let l3 = if tagged { 18 } else { 14 };
    Some((l3, frame.get(l3 - 2..l3)?.try_into().ok()?))
}

/// Where the parts of a frame of ours start.
struct Parts {
    addresses: usize,
    address_length: usize,
    l4: usize,
    payload: usize,
}

impl Parts {
    fn of(frame: &[u8]) -> Option<Parts> {
        let (l3, ethertype) = network(frame)?;
        let (addresses, address_length, l4, protocol) = match ethertype {
            [0x08, 0x00] => (l3 + 12, 4, l3 + 20, *frame.get(l3 + 9)?),
            [0x86, 0xdd] => (l3 + 8, 16, l3 + 40, *frame.get(l3 + 6)?),
            _ => return None,
        };
        let header = match protocol {
            17 => 8,
            6 => 20,
            _ => return None,
        };
        let payload = l4 + header;
        (frame.len() >= payload).then_some(Parts { addresses, address_length, l4, payload })
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn packet(six: bool, tagged: bool) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = if tagged {
            let builder = builder.single_vlan(etherparse::VlanId::try_new(7).unwrap());
            if six {
                builder.ipv6([1; 16], [2; 16], 64)
            } else {
                builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            }
        } else if six {
            builder.ipv6([1; 16], [2; 16], 64)
        } else {
            builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        let mut payload = [0; stamp::LENGTH];
        Stamp { run: 3, sequence: 4, sent: 5 }.write(&mut payload);
        let mut frame = Vec::new();
        builder.udp(1000, 2000).write(&mut frame, &payload).unwrap();
        frame
    }

    #[test]
    fn a_frame_that_is_turned_round_is_a_right_answer() {
        for (six, tagged) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut frame = packet(six, tagged);
            assert!(turn_round(&mut frame, OWN));
            let headers = etherparse::PacketHeaders::from_ethernet_slice(&frame).unwrap();
            let link = headers.link.unwrap().ethernet2().unwrap();
            assert_eq!((link.destination, link.source), ([2, 0, 0, 0, 0, 1], OWN));
            let udp = headers.transport.unwrap().udp().unwrap();
            assert_eq!((udp.source_port, udp.destination_port), (2000, 1000));
            let payload = headers.payload.slice();
            let sum = match headers.net.unwrap() {
                etherparse::NetHeaders::Ipv4(ip, _) => {
                    assert_eq!((ip.source, ip.destination), ([10, 0, 0, 2], [10, 0, 0, 1]));
                    assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
                    udp.calc_checksum_ipv4(&ip, payload)
                }
                etherparse::NetHeaders::Ipv6(ip, _) => {
                    assert_eq!((ip.source, ip.destination), ([2; 16], [1; 16]));
                    udp.calc_checksum_ipv6(&ip, payload)
                }
                etherparse::NetHeaders::Arp(_) => unreachable!(),
            };
            assert_eq!(sum.unwrap(), udp.checksum);
            assert_eq!(stamp(&frame), Some(Stamp { run: 3, sequence: 4, sent: 5 }));
        }
    }

    #[test]
    fn other_frames_are_not_ours() {
        let mut arp = vec![0; 60];
        arp[12..14].copy_from_slice(&[8, 6]);
        let whole = packet(false, false);
        for frame in [&arp[..], &whole[..30], &[]] {
            assert_eq!(stamp(frame), None);
            assert!(!turn_round(&mut frame.to_vec(), OWN));
        }
        assert!(!is_packet(&arp));
        assert!(is_packet(&whole));
        let mut group = whole.clone();
        group[0] |= 1;
        assert!(!is_packet(&group));
        let mut discovery = packet(true, false);
        discovery[14 + 6] = 58;
        discovery[14 + 40] = 135;
        assert!(!is_packet(&discovery));
    }
}

//! What the packets look like: sizes, protocols, flows. All of it follows from what a packet's stamp
//! says, its number and when it was sent, so that who receives it knows which flow it is of without
//! being told.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use sluice_packet::checksum::{self, Sum};
use sluice_packet::{Family, FlowKey, protocol};

use crate::stamp::{self, Stamp};

/// Sizes of frames, each without the frame check sequence's four bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sizes(Vec<(u16, u32)>);

impl Sizes {
    /// The simple mix of Internet packets: 7 of 64, 4 of 594, 1 of 1,518 bytes (with the check
    /// sequence), 362 bytes on average.
    fn imix() -> Sizes {
        Sizes(vec![(60, 7), (590, 4), (1514, 1)])
    }

    /// The longest frame.
    pub fn longest(&self) -> u16 {
        self.0.iter().map(|(size, _)| *size).max().unwrap_or(0)
    }

    fn of(&self, hash: u64) -> u16 {
        let total: u32 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut place = (hash % u64::from(total.max(1))) as u32;
        for &(size, weight) in &self.0 {
            if place < weight {
                return size;
            }
            place -= weight;
        }
        self.longest()
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        if text == "imix" {
            return Ok(Sizes::imix());
        }
        let size: u16 = text.parse().map_err(|e| format!("`{text}`: {e}; or say `imix`"))?;
        match size {
            64..=9018 => Ok(Sizes(vec![(size - 4, 1)])),
            _ => Err(format!("`{text}`: 64 to 9018 are possible, or `imix`")),
        }
    }
}

/// Which flow a packet is of.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pattern {
    /// One after the other.
    Even,
    /// Any, each as likely.
    Random,
    /// Few of them much: the flow of rank r in proportion to 1 / r.
    Zipf,
    /// Each packet is of a flow of its own; `flows` says after how many they come again.
    New,
    /// Each packet is of any of 2^40 flows, from sources all over: what a flood looks like.
    Flood,
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        match text {
            "even" => Ok(Pattern::Even),
            "random" => Ok(Pattern::Random),
            "zipf" => Ok(Pattern::Zipf),
            "new" => Ok(Pattern::New),
            "flood" => Ok(Pattern::Flood),
            _ => Err(format!("`{text}` is not known: even, random, zipf, new or flood")),
        }
    }
}

/// The layer-4 protocol of the packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Transport {
    /// UDP; without a checksum over IPv4 (RFC 768).
    Udp,
    /// TCP segments of an established connection.
    Tcp,
    /// TCP SYNs.
    Syn,
}

/// The traffic to generate.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Link address of the router's port.
    pub router: [u8; 6],
    /// Link address that the frames come from.
    pub own: [u8; 6],
    /// IP version.
    pub family: Family,
    /// Layer 4.
    pub transport: Transport,
    /// VLAN tag.
    pub vlan: Option<u16>,
    /// First source address; a flow's is so many further.
    pub source: u128,
    /// First destination address.
    pub destination: u128,
    /// Destination addresses; flows are spread over them.
    pub destinations: u32,
    /// Flows.
    pub flows: u32,
    /// Which flow a packet is of.
    pub pattern: Pattern,
    /// So many flows end in each cycle of the time-stamp counter, and others take their place.
    pub turnover: f64,
    /// Sizes of the frames.
    pub sizes: Sizes,
}

/// Flows are numbered within so many bits; they come again behind that.
const NUMBERS: u64 = (1 << 24) - 1;
const FLOOD: u64 = (1 << 40) - 1;

/// Mixes a number (SplitMix64, Steele et al. 2014).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

impl Traffic {
    /// The flow of a packet.
    pub fn flow(&self, stamp: &Stamp) -> u64 {
        let flows = u64::from(self.flows.max(1));
        let flow = match self.pattern {
            Pattern::Even | Pattern::New => stamp.sequence % flows,
            Pattern::Random => mix(stamp.sequence) % flows,
            Pattern::Zipf => {
                // The inverse of the distribution: ranks up to r have ln r / ln flows of the whole.
                let part = mix(stamp.sequence) as f64 / u64::MAX as f64;
                ((flows as f64).powf(part) as u64).clamp(1, flows) - 1
            }
            Pattern::Flood => return mix(stamp.sequence) & FLOOD,
        };
        // Which flows there are moves on by one for each that ends.
        ((stamp.sent as f64 * self.turnover) as u64 + flow) & NUMBERS
    }

    /// Where the order of a flow is kept, of as many places as there are flows at a time; nowhere for
    /// flows of one packet.
    pub fn place(&self, flow: u64) -> Option<usize> {
        (self.pattern != Pattern::Flood).then(|| (flow % u64::from(self.flows.max(1))) as usize)
    }

    /// Bytes before the payload.
    fn headers(&self) -> usize {
        let link = if self.vlan.is_some() { 18 } else { 14 };
        let ip = if self.family == Family::Inet { 20 } else { 40 };
        let transport = if self.transport == Transport::Udp { 8 } else { 20 };
        link + ip + transport
    }

    /// The least frame that carries a stamp.
    pub fn shortest(&self) -> usize {
        (self.headers() + stamp::LENGTH).max(60)
    }

    /// The length of the frame with this number.
    pub fn length(&self, sequence: u64) -> usize {
        let wanted = self.sizes.of(mix(sequence ^ 0x5157_1ce5));
        usize::from(wanted).max(self.shortest())
    }

    /// Writes the frame with this number, as long as [`length`](Self::length) says.
    pub fn write(&self, frame: &mut [u8], stamp: Stamp) {
        let flow = self.flow(&stamp);
        let headers = self.headers();
        frame[..6].copy_from_slice(&self.router);
        frame[6..12].copy_from_slice(&self.own);
        let mut at = 12;
        if let Some(vlan) = self.vlan {
            frame[at..at + 2].copy_from_slice(&0x8100_u16.to_be_bytes());
            frame[at + 2..at + 4].copy_from_slice(&vlan.to_be_bytes());
            at += 4;
        }
        let ethertype: u16 = if self.family == Family::Inet { 0x0800 } else { 0x86dd };
        frame[at..at + 2].copy_from_slice(&ethertype.to_be_bytes());
        at += 2;
        frame[headers..].fill(0);
        stamp.write(&mut frame[headers..]);

        let key = self.key(flow);
        let l3_length = (frame.len() - at) as u16;
        at += match self.family {
            Family::Inet => {
                let header = &mut frame[at..at + 20];
                header[..2].copy_from_slice(&[0x45, 0]);
                header[2..4].copy_from_slice(&l3_length.to_be_bytes());
                header[4..8].copy_from_slice(&[0, 0, 0x40, 0]);
                header[8..12].copy_from_slice(&[64, key.protocol, 0, 0]);
                header[12..16].copy_from_slice(&(key.src as u32).to_be_bytes());
                header[16..20].copy_from_slice(&(key.dst as u32).to_be_bytes());
                let sum = checksum::ipv4_header(header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                20
            }
            Family::Inet6 => {
                let header = &mut frame[at..at + 40];
                header[..4].copy_from_slice(&[0x60, 0, 0, 0]);
                header[4..6].copy_from_slice(&(l3_length - 40).to_be_bytes());
                header[6..8].copy_from_slice(&[key.protocol, 64]);
                header[8..24].copy_from_slice(&key.src.to_be_bytes());
                header[24..40].copy_from_slice(&key.dst.to_be_bytes());
                40
            }
        };
        self.write_transport(&mut frame[at..], &key);
    }

    fn write_transport(&self, segment: &mut [u8], key: &FlowKey) {
        let length = segment.len();
        segment[..2].copy_from_slice(&key.src_port.to_be_bytes());
        segment[2..4].copy_from_slice(&key.dst_port.to_be_bytes());
        let place = match self.transport {
            Transport::Udp => {
                segment[4..6].copy_from_slice(&(length as u16).to_be_bytes());
                segment[6..8].fill(0);
                if self.family == Family::Inet {
                    return;
                }
                6
            }
            Transport::Tcp | Transport::Syn => {
                let flags = if self.transport == Transport::Syn { 0x02 } else { 0x10 };
                segment[4..12].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
                segment[12..20].copy_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
                16
            }
        };
        let mut sum = Sum::pseudo_header(key, length);
        sum.add(segment);
        let sum = checksum::udp(sum.checksum());
        segment[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// The five-tuple of a flow: ports first, then sources; destinations go along.
    fn key(&self, flow: u64) -> FlowKey {
        let (port, source, destination) = if self.pattern == Pattern::Flood {
            (flow as u16, flow >> 16, flow >> 24)
        } else {
            (1024 + (flow & 0x3fff) as u16, flow >> 14, flow)
        };
        FlowKey {
            src: self.source + u128::from(source),
            dst: self.destination + u128::from(destination % u64::from(self.destinations.max(1))),
            src_port: port,
            dst_port: 5001,
            protocol: if self.transport == Transport::Udp { protocol::UDP } else { protocol::TCP },
            family: self.family,
        }
    }
}

/// An address in the form that a key has, and its IP version.
pub fn address(text: &str) -> Result<(Family, u128), String> {
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Ok((Family::Inet, u128::from(v4.to_bits())));
    }
    let v6 = text.parse::<Ipv6Addr>().map_err(|_| format!("`{text}` is no IP address"))?;
    Ok((Family::Inet6, v6.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic() -> Traffic {
        Traffic {
            router: [2, 0, 0, 0, 0, 1],
            own: [2, 0, 0, 0, 0, 2],
            family: Family::Inet,
            transport: Transport::Udp,
            vlan: None,
            source: address("10.0.1.2").unwrap().1,
            destination: address("10.1.0.1").unwrap().1,
            destinations: 100,
            flows: 1024,
            pattern: Pattern::Even,
            turnover: 0.0,
            sizes: "64".parse().unwrap(),
        }
    }

    #[test]
    fn frames_are_packets_with_right_checksums() {
        for family in ["10.0.1.2", "fd00::2"] {
            for transport in [Transport::Udp, Transport::Tcp, Transport::Syn] {
                for vlan in [None, Some(7)] {
                    let (family, source) = address(family).unwrap();
                    let traffic = Traffic {
                        family,
                        source,
                        destination: source + 1000,
                        transport,
                        vlan,
                        ..traffic()
                    };
                    let mut frame = vec![0; traffic.length(5)];
                    traffic.write(&mut frame, Stamp { run: 1, sequence: 5, sent: 9 });
                    let sliced = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
                    let headers = etherparse::PacketHeaders::from_ethernet_slice(&frame).unwrap();
                    assert_eq!(headers.vlan().is_some(), vlan.is_some());
                    let (net, l4) = (headers.net.unwrap(), headers.transport.unwrap());
                    let payload = headers.payload.slice();
                    match (&net, &l4) {
                        (
                            etherparse::NetHeaders::Ipv4(ip, _),
                            etherparse::TransportHeader::Tcp(tcp),
                        ) => {
                            assert_eq!(tcp.calc_checksum_ipv4(ip, payload).unwrap(), tcp.checksum);
                            assert_eq!(tcp.syn, transport == Transport::Syn);
                        }
                        (
                            etherparse::NetHeaders::Ipv6(ip, _),
                            etherparse::TransportHeader::Tcp(tcp),
                        ) => {
                            assert_eq!(tcp.calc_checksum_ipv6(ip, payload).unwrap(), tcp.checksum);
                        }
                        (
                            etherparse::NetHeaders::Ipv6(ip, _),
                            etherparse::TransportHeader::Udp(udp),
                        ) => {
                            assert_eq!(udp.calc_checksum_ipv6(ip, payload).unwrap(), udp.checksum);
                        }
                        _ => assert_eq!(transport, Transport::Udp),
                    }
                    if let etherparse::NetHeaders::Ipv4(ip, _) = &net {
                        assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
                    }
                    assert_eq!(Stamp::read(payload), Some(Stamp { run: 1, sequence: 5, sent: 9 }));
                    drop(sliced);
                }
            }
        }
    }

    fn stamp(sequence: u64, sent: u64) -> Stamp {
        Stamp { run: 1, sequence, sent }
    }

    #[test]
    fn flows_end_and_others_take_their_place() {
        // One in a thousand cycles.
        let traffic = Traffic { flows: 100, turnover: 0.001, ..traffic() };
        let at = |sent| -> std::collections::BTreeSet<u64> {
            (0..100).map(|n| traffic.flow(&stamp(n, sent))).collect()
        };
        assert_eq!(at(0), (0..100).collect());
        assert_eq!(at(10_500), (10..110).collect());
        let places: std::collections::BTreeSet<_> =
            at(10_500).into_iter().map(|flow| traffic.place(flow)).collect();
        assert_eq!(places.len(), 100, "no two flows of one time share a place");
    }

    #[test]
    fn a_flood_comes_from_everywhere() {
        let traffic = Traffic { pattern: Pattern::Flood, ..traffic() };
        let keys: std::collections::HashSet<_> = (0..100_000)
            .map(|n| traffic.key(traffic.flow(&stamp(n, 0))))
            .map(|key| (key.src, key.src_port, key.dst))
            .collect();
        assert!(keys.len() > 99_990, "{} of 100,000", keys.len());
        let sources: std::collections::HashSet<_> = keys.iter().map(|key| key.0).collect();
        assert!(sources.len() > 90_000, "{} sources", sources.len());
        assert!(
            keys.iter().all(|key| (traffic.source..traffic.source + (1 << 24)).contains(&key.0))
        );
        assert_eq!(traffic.place(traffic.flow(&stamp(7, 0))), None);
    }

    #[test]
    fn flows_are_spread_as_the_pattern_says() {
        let count = |pattern| {
            let traffic = Traffic { pattern, flows: 100, ..traffic() };
            let mut counts = [0_u32; 100];
            (0..100_000).for_each(|n| counts[traffic.flow(&stamp(n, 0)) as usize] += 1);
            counts
        };
        assert!(count(Pattern::Even).iter().all(|n| *n == 1000));
        assert!(count(Pattern::Random).iter().all(|n| (850..1150).contains(n)));
        let zipf = count(Pattern::Zipf);
        assert!(zipf[0] > 13_000 && zipf[99] < 400, "{zipf:?}");
    }

    #[test]
    fn the_mix_has_its_average() {
        let traffic = Traffic { sizes: "imix".parse().unwrap(), ..traffic() };
        let total: usize = (0..120_000).map(|n| traffic.length(n)).sum();
        let average = total as f64 / 120_000.0 + 4.0;
        assert!((355.0..370.0).contains(&average), "{average}");
        assert!("63".parse::<Sizes>().is_err() && "9019".parse::<Sizes>().is_err());
    }
}

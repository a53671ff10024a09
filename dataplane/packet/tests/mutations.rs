//! A hundred thousand damaged frames, the same ones every time: nothing panics, and what is read
//! and answered keeps to the rules. The fuzz target `frame` runs the same body for as long as it
//! is let.

#[path = "../fuzz/exercise.rs"]
mod exercise;

use etherparse::{IpHeaders, Ipv4Header, Ipv6Extensions, Ipv6Header, PacketBuilder};
use sluice_packet::{build, decode, ethernet};

/// Marsaglia's xorshift: all the randomness that a damage needs.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// One good frame of every kind.
fn seeds() -> Vec<Vec<u8>> {
    const MAC: ethernet::Mac = [2, 0, 0, 0, 0, 1];
    const PEER: ethernet::Mac = [2, 0, 0, 0, 0, 2];
    let v4 = |options: &[u8]| {
        let header = Ipv4Header {
            time_to_live: 2,
            source: [10, 0, 0, 2],
            destination: [10, 0, 1, 2],
            options: options.try_into().unwrap(),
            ..Ipv4Header::default()
        };
        PacketBuilder::ethernet2(PEER, MAC).ip(IpHeaders::Ipv4(header, Default::default()))
    };
    let v6 = |extended: bool| {
        let mut extensions = Ipv6Extensions::default();
        let raw = etherparse::Ipv6RawExtHeader::new_raw(17.into(), &[0, 0, 0, 0, 0, 0]).unwrap();
        if extended {
            extensions.hop_by_hop_options = Some(raw.clone());
            extensions.routing = Some(etherparse::Ipv6RoutingExtensions {
                routing: raw.clone(),
                final_destination_options: Some(raw),
            });
            extensions.fragment = Some(etherparse::Ipv6FragmentHeader::new(
                17.into(),
                etherparse::IpFragOffset::ZERO,
                false,
                7,
            ));
        }
        let header = Ipv6Header {
            hop_limit: 2,
            source: [0x20; 16],
            destination: [0x21; 16],
            ..Ipv6Header::default()
        };
        PacketBuilder::ethernet2(PEER, MAC).ip(IpHeaders::Ipv6(header, extensions))
    };
    let mut seeds = Vec::new();
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        write(&mut frame);
        seeds.push(frame);
    };
    for options in [&[][..], &[0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0]] {
        add(&|frame| v4(options).udp(1000, 53).write(frame, &[1; 30]).unwrap());
        add(&|frame| v4(options).tcp(1000, 80, 1, 2).ack(3).write(frame, &[1; 30]).unwrap());
        add(&|frame| v4(options).icmpv4_echo_request(1, 2).write(frame, &[1; 30]).unwrap());
    }
    for extended in [false, true] {
        add(&|frame| v6(extended).udp(1000, 53).write(frame, &[1; 30]).unwrap());
        add(&|frame| v6(extended).tcp(1000, 80, 1, 2).ack(3).write(frame, &[1; 30]).unwrap());
        add(&|frame| v6(extended).icmpv6_echo_request(1, 2).write(frame, &[1; 30]).unwrap());
    }
    add(&|frame| {
        frame.resize(64, 0);
        let length =
            build::arp::request(frame, 10, PEER, [10, 0, 0, 2].into(), [10, 0, 0, 1].into());
        frame.truncate(length.unwrap());
    });
    for source in ["fd00::2", "::"] {
        add(&|frame| {
            frame.resize(128, 0);
            let (source, target) = (source.parse().unwrap(), "fd00::1".parse().unwrap());
            let length = build::nd::solicitation(frame, 0, PEER, source, target).unwrap();
            frame.truncate(length);
        });
    }
    seeds
}

#[test]
fn conformance_135_a_hundred_thousand_damaged_frames() {
    let seeds = seeds();
    let mut random = Random(0x5eed_5eed_5eed_5eed);
    let mut decoded = 0;
    for _ in 0..100_000 {
        let mut frame = seeds[random.below(seeds.len())].clone();
        for _ in 0..random.below(5) {
            let reach = if random.below(4) == 0 { frame.len() } else { frame.len().min(64) };
            let place = random.below(reach);
            let value = match random.below(4) {
                0 => 0,
                1 => 0xff,
                2 => frame[place] ^ 1 << random.below(8),
                _ => random.next() as u8,
            };
            frame[place] = value;
        }
        match random.below(8) {
            0 => frame.truncate(random.below(frame.len())),
            1 => frame.resize(frame.len() + random.below(60), 0xee),
            _ => {}
        }
        if random.below(4) != 0 {
            exercise::mend(&mut frame);
        }
        exercise::exercise(&frame);
        let link = decode::link(&frame);
        decoded += usize::from(link.is_ok_and(|link| {
            let (offset, length) = (link.l3_offset.into(), frame.len());
            match link.ethertype {
                ethernet::IPV4 => decode::ipv4(&frame, offset, length, 1500).is_ok(),
                ethernet::IPV6 => decode::ipv6(&frame, offset, length, 1500).is_ok(),
                _ => false,
            }
        }));
    }
    // Enough of them get past the decoder for the rest to be tried.
    assert!(decoded > 20_000, "{decoded}");
}

#[test]
fn good_frames_and_every_start_of_them() {
    for frame in seeds() {
        for length in 0..=frame.len() {
            exercise::exercise(&frame[..length]);
        }
    }
}

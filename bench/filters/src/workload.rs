//! Rules and packets as ClassBench makes them (Taylor and Turner, INFOCOM 2005), from a seed.
//!
//! What makes such rules hard or easy is kept: how prefixes nest and share networks, how often each
//! field is a wildcard, which ports are exact, ranges or "above 1023". Rules are of three kinds, in
//! the shares of a router that does a bit of everything: access lists (sources and destinations
//! both narrow), firewalls (one of them often any), and chains between zones (a mix). Packets are
//! drawn from the rules, some rules far more often than others, and a tenth match by chance alone.

/// A range of ports.
pub type Ports = (u16, u16);
/// Every port.
pub const ANY: Ports = (0, 65535);
const HIGH: Ports = (1024, 65535);

/// A network: its address, and how many bits of it count.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    pub address: u32,
    pub length: u8,
}

impl Network {
    const ALL: Network = Network { address: 0, length: 0 };

    fn new(address: u32, length: u8) -> Network {
        Network { address: address & Network::mask(length), length }
    }

    fn mask(length: u8) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
    }

    fn pick(self, random: &mut Random) -> u32 {
        self.address | (random.next() as u32 & !Network::mask(self.length))
    }
}

/// A rule over the five-tuple.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    pub source: Network,
    pub destination: Network,
    pub source_port: Ports,
    pub destination_port: Ports,
    pub protocol: Option<u8>,
}

/// A packet's five-tuple.
#[derive(Clone, Copy)]
pub struct Packet {
    pub source: u32,
    pub destination: u32,
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
}

/// The pseudo-random numbers of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

/// How many rules in a hundred have a field of some form.
struct Kind {
    share: usize,
    any_source: usize,
    any_destination: usize,
    any_protocol: usize,
    any_source_port: usize,
    /// Of destination ports: any, above 1023, a range; the others are exact.
    destination_port: [usize; 3],
}

const KINDS: [Kind; 3] = [
    // Access lists.
    Kind {
        share: 50,
        any_source: 8,
        any_destination: 2,
        any_protocol: 5,
        any_source_port: 98,
        destination_port: [20, 5, 12],
    },
    // Firewalls.
    Kind {
        share: 30,
        any_source: 50,
        any_destination: 18,
        any_protocol: 12,
        any_source_port: 70,
        destination_port: [18, 8, 8],
    },
    // Chains.
    Kind {
        share: 20,
        any_source: 15,
        any_destination: 12,
        any_protocol: 30,
        any_source_port: 80,
        destination_port: [40, 8, 10],
    },
];

/// `count` different rules, the narrow ones in front of those that would hide them, mostly.
pub fn rules(count: usize, seed: u64) -> Vec<Rule> {
    let random = &mut Random::new(seed);
    let networks: Vec<Network> = (0..count / 12 + 4).map(|_| a_site(random)).collect();
    let services: Vec<u16> = (0..60).map(|_| random.below(10_000) as u16).collect();
    let mut seen = std::collections::HashSet::new();
    let mut rules = Vec::with_capacity(count);
    while rules.len() < count {
        let rule = a_rule(random, &networks, &services);
        // Of two networks both of which are any there are few rules, however many there are.
        let wide = rule.source.length == 0 && rule.destination.length == 0;
        if !(wide && random.chance(70)) && seen.insert(rule) {
            rules.push(rule);
        }
    }
    rules.sort_by_cached_key(|rule| {
        let wide = 64 - u32::from(rule.source.length + rule.destination.length);
        wide / 8 + random.below(4) as u32
    });
    rules
}

fn a_site(random: &mut Random) -> Network {
    let length = random.one_of(&[16, 18, 20, 21, 22, 23, 24, 24, 24, 24, 26, 28]);
    // Sites crowd in some of the /8s.
    let first = [10, 62, 80, 141, 172, 192, 195, 212][random.below(8)];
    Network::new(first << 24 | (random.next() as u32 & 0x00ff_ffff), length)
}

fn a_network(random: &mut Random, sites: &[Network], any: usize) -> Network {
    if random.chance(any) {
        return Network::ALL;
    }
    // The first sites are in more rules than the last.
    let most = random.below(sites.len()) + 1;
    let site = sites[random.below(most)];
    let inside = site.pick(random);
    match random.below(10) {
        0..4 => Network::new(inside, 32),
        4..6 => Network::new(inside, site.length.max(24 + random.below(8) as u8)),
        6 => Network::new(site.address, site.length - random.below(9) as u8),
        _ => site,
    }
}

fn a_rule(random: &mut Random, sites: &[Network], services: &[u16]) -> Rule {
    let mut place = random.below(100);
    let mut kinds = KINDS.iter();
    let kind = loop {
        let kind = kinds.next().unwrap_or(&KINDS[0]);
        match place.checked_sub(kind.share) {
            Some(rest) => place = rest,
            None => break kind,
        }
    };
    let source = a_network(random, sites, kind.any_source);
    let destination = a_network(random, sites, kind.any_destination);
    let protocol = match random.below(100) {
        n if n < kind.any_protocol => None,
        n if n < kind.any_protocol + 4 => Some(random.one_of(&[1, 47, 50, 89])),
        n if n < kind.any_protocol + 20 => Some(17),
        _ => Some(6),
    };
    let (mut source_port, mut destination_port) = (ANY, ANY);
    if matches!(protocol, Some(6 | 17)) {
        let [any, high, range] = kind.destination_port;
        destination_port = match random.below(100) {
            n if n < any => ANY,
            n if n < any + high => HIGH,
            n if n < any + high + range => {
                let first = random.one_of(services);
                (first, first + 1 + random.below(2000) as u16)
            }
            _ => {
                let port = random.one_of(&[22, 25, 53, 80, 123, 161, 443, 1433, 3306, 8080, 0, 0]);
                let port = if port == 0 { random.one_of(services) } else { port };
                (port, port)
            }
        };
        if !random.chance(kind.any_source_port) {
            let port = random.one_of(&[20, 53, 67, 80, 123, 443, 500, 0, 0, 0]);
            source_port = if port == 0 { HIGH } else { (port, port) };
        }
    }
    Rule { source, destination, source_port, destination_port, protocol }
}

/// `count` packets.
pub fn packets(rules: &[Rule], count: usize, seed: u64) -> Vec<Packet> {
    let random = &mut Random::new(seed);
    let mut packets = Vec::with_capacity(count);
    for _ in 0..count {
        let rule = match random.chance(90) {
            // Of two places the nearer to a random one: a few rules get most of the packets.
            true => rules[random.below(rules.len()) * random.below(rules.len()) / rules.len()],
            false => Rule {
                source: Network::ALL,
                destination: Network::ALL,
                source_port: ANY,
                destination_port: ANY,
                protocol: None,
            },
        };
        let protocol = rule.protocol.unwrap_or_else(|| random.one_of(&[6, 6, 6, 17, 1]));
        let mut port = |(first, last): Ports| {
            let port = first + random.below(usize::from(last - first) + 1) as u16;
            if matches!(protocol, 6 | 17) { port } else { 0 }
        };
        let (source_port, destination_port) = (port(rule.source_port), port(rule.destination_port));
        packets.push(Packet {
            source: rule.source.pick(random),
            destination: rule.destination.pick(random),
            source_port,
            destination_port,
            protocol,
        });
    }
    packets
}

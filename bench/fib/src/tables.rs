//! Tables and destinations as the Internet has them, from a seed.
//!
//! The lengths of the prefixes are those of the global tables of 2024 (some 950,000 IPv4 and
//! 200,000 IPv6 routes as BGP collectors see them), and a few longer ones of a network's own.
//! Addresses crowd: a block's chance grows with the square of a random number. Next hops are drawn
//! evenly from 200, which is the worst for a table that lives from equal neighbours.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Next hops of a table.
const NEXT_HOPS: u64 = 200;

/// Prefix lengths of IPv4 and how many of 100,000 have them.
const INET: &[(u8, u64)] = &[
    (8, 2),
    (9, 2),
    (10, 4),
    (11, 10),
    (12, 30),
    (13, 60),
    (14, 120),
    (15, 210),
    (16, 1_400),
    (17, 850),
    (18, 1_450),
    (19, 2_500),
    (20, 4_600),
    (21, 5_400),
    (22, 11_400),
    (23, 10_100),
    (24, 61_712),
    (25, 10),
    (26, 10),
    (27, 10),
    (28, 20),
    (29, 30),
    (30, 30),
    (32, 40),
];

/// Prefix lengths of IPv6 and how many of 100,000 have them.
const INET6: &[(u8, u64)] = &[
    (20, 20),
    (24, 60),
    (28, 150),
    (29, 2_600),
    (30, 400),
    (31, 200),
    (32, 12_500),
    (33, 2_300),
    (34, 1_300),
    (35, 700),
    (36, 4_800),
    (38, 700),
    (40, 9_800),
    (42, 1_500),
    (44, 10_700),
    (45, 1_500),
    (46, 2_800),
    (47, 1_900),
    (48, 45_170),
    (52, 100),
    (56, 300),
    (64, 300),
    (128, 200),
];

/// Blocks of 16 bits in which IPv4 is announced.
const BLOCKS: u64 = 48_000;
/// Allocations of 32 bits of IPv6.
const ALLOCATIONS: u64 = 24_000;
/// The first 16 bits of IPv6 allocations, those of many more often.
const REGIONS: [u16; 16] = [
    0x2001, 0x2400, 0x2401, 0x2402, 0x2403, 0x2404, 0x2405, 0x2406, 0x2600, 0x2602, 0x2604, 0x2607,
    0x2801, 0x2804, 0x2a00, 0x2a0e,
];

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `end`, all alike.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        self.next() as f64 / u64::MAX as f64
    }

    fn crowded(&mut self, end: u64) -> u64 {
        let unit = self.unit();
        ((unit * unit) * end as f64) as u64
    }

    fn length(&mut self, lengths: &[(u8, u64)]) -> u8 {
        let mut rest = self.below(lengths.iter().map(|(_, share)| share).sum());
        for &(length, share) in lengths {
            if rest < share {
                return length;
            }
            rest -= share;
        }
        unreachable!("what is below the sum is below a part of it")
    }
}

/// So many different IPv4 routes, in no order.
pub fn inet(count: usize, random: &mut Random) -> Vec<(IpNet, u32)> {
    routes(count, random, |random| {
        // An odd factor spreads the blocks over all that may be routed, 1.0.0.0 to 223.255.0.0.
        let block = 0x0100 + (random.crowded(BLOCKS) * 40_503) % 0xdf00;
        let length = random.length(INET);
        let network = Ipv4Addr::from_bits((block << 16) as u32 | random.next() as u32 & 0xffff);
        Ipv4Net::new_assert(network, length).trunc().into()
    })
}

/// So many different IPv6 routes, in no order.
pub fn inet6(count: usize, random: &mut Random) -> Vec<(IpNet, u32)> {
    routes(count, random, |random| {
        let allocation = random.crowded(ALLOCATIONS);
        let region = REGIONS[(allocation % 16) as usize];
        // Registries hand out every eighth /32 first.
        let place = (allocation / 16 * 8 + allocation % 3) as u16;
        let top = u128::from(region) << 112 | u128::from(place) << 96;
        let length = random.length(INET6);
        // Operators number from below: low bits of what is left to them are used more.
        let number = random.crowded(1 << 16) as u128;
        let rest = number << 80 | u128::from(random.next()) << 16;
        Ipv6Net::new_assert(Ipv6Addr::from_bits(top | rest), length).trunc().into()
    })
}

fn routes(
    count: usize,
    random: &mut Random,
    prefix: impl Fn(&mut Random) -> IpNet,
) -> Vec<(IpNet, u32)> {
    let mut known = HashSet::with_capacity(count);
    let mut routes = Vec::with_capacity(count);
    while routes.len() < count {
        let prefix = prefix(random);
        if known.insert(prefix) {
            routes.push((prefix, random.below(NEXT_HOPS) as u32));
        }
    }
    routes
}

/// Which routes packets take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mix {
    /// Each route as often as any other.
    Random,
    /// The n-th route one n-th as often as the first.
    Zipf,
}

/// Destinations within the routes, as numbers.
pub fn destinations(
    routes: &[(IpNet, u32)],
    mix: Mix,
    count: usize,
    random: &mut Random,
) -> Vec<u128> {
    let last = routes.len() - 1;
    let one = |_| {
        let route = match mix {
            Mix::Random => random.below(routes.len() as u64) as usize,
            Mix::Zipf => ((routes.len() as f64).powf(random.unit()) as usize - 1).min(last),
        };
        let any = u128::from(random.next()) << 64 | u128::from(random.next());
        let (network, host) = match routes[route].0 {
            IpNet::V4(net) => (net.network().to_bits().into(), net.hostmask().to_bits().into()),
            IpNet::V6(net) => (net.network().to_bits(), net.hostmask().to_bits()),
        };
        network | any & host
    };
    (0..count).map(one).collect()
}

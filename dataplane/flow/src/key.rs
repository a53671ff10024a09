//! Keys of halves and their hash.
//!
//! The hash is NH (Black, Halevi, Krawczyk, Krovetz, Rogaway, "UMAC: Fast and Secure Message
//! Authentication", 1999) with words of 64 bits: two keys that are chosen without knowledge of the
//! seed meet with a chance of 2^-64. One folded multiplication spreads its 128 bits evenly over the
//! 64 that choose buckets and tag.

use sluice_packet::{
    Descriptor, DescriptorFlags, Family, FlowKey, Fragment, icmp, icmpv6, protocol,
};

/// The five-tuple of one direction, and the instance. Of ICMP queries the identifier stands for the
/// source port and the *type* for the destination port, so that query and answer have two keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(C)]
pub struct Key {
    src: [u64; 2],
    dst: [u64; 2],
    /// Source port, destination port, protocol, family and instance, from the low end.
    tail: u64,
}

impl Key {
    pub(crate) const EMPTY: Key = Key { src: [0; 2], dst: [0; 2], tail: 0 };

    /// The key of a packet. `None` for what has no connection: later fragments whose first is not
    /// known, and of ICMP and ICMPv6 all but queries and their answers.
    #[inline(always)]
    pub fn of(d: &Descriptor, instance: u16) -> Option<Key> {
        let tail = tail(d, instance)?;
        Some(Key { src: words(d.key.src), dst: words(d.key.dst), tail })
    }

    /// The key of the other direction.
    pub(crate) fn reply(&self) -> Key {
        let key = self.flow_key();
        let (src_port, dst_port) = match (key.family, key.protocol) {
            (Family::Inet, protocol::ICMP) => (key.src_port, counterpart(key.dst_port)),
            (Family::Inet6, protocol::ICMPV6) => (key.src_port, counterpart6(key.dst_port)),
            _ => (key.dst_port, key.src_port),
        };
        let tail = u64::from(src_port) | u64::from(dst_port) << 16 | self.tail >> 32 << 32;
        Key { src: self.dst, dst: self.src, tail }
    }

    /// Addresses, ports and protocol. Of an ICMP query the destination port is the type.
    pub fn flow_key(&self) -> FlowKey {
        FlowKey {
            src: number(self.src),
            dst: number(self.dst),
            src_port: self.tail as u16,
            dst_port: (self.tail >> 16) as u16,
            protocol: self.protocol(),
            family: if self.is_inet() { Family::Inet } else { Family::Inet6 },
        }
    }

    /// The source address, in two words.
    pub(crate) fn source(&self) -> [u64; 2] {
        self.src
    }

    /// Number of the instance.
    #[inline]
    pub fn instance(&self) -> u16 {
        (self.tail >> 48) as u16
    }

    /// Protocol number.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        (self.tail >> 32) as u8
    }

    #[inline(always)]
    fn is_inet(&self) -> bool {
        (self.tail >> 40) as u8 == Family::Inet as u8
    }

    /// Whether it is the key of the packet of which [`tail`] gave this.
    #[inline(always)]
    pub(crate) fn is_of(&self, d: &Descriptor, tail: u64) -> bool {
        let differs = (self.src[0] ^ d.key.src as u64)
            | (self.src[1] ^ (d.key.src >> 64) as u64)
            | (self.dst[0] ^ d.key.dst as u64)
            | (self.dst[1] ^ (d.key.dst >> 64) as u64)
            | (self.tail ^ tail);
        differs == 0
    }
}

/// All of a packet's key but its addresses; `None` as for [`Key::of`].
#[inline(always)]
pub(crate) fn tail(d: &Descriptor, instance: u16) -> Option<u64> {
    let key = &d.key;
    let mut ports = u64::from(key.src_port) | u64::from(key.dst_port) << 16;
    if !matches!(key.protocol, protocol::TCP | protocol::UDP) || d.fragment == Fragment::Later {
        ports = rare_ports(d, ports)?;
    }
    let upper = u16::from_le_bytes([key.protocol, key.family as u8]);
    Some(ports | u64::from(upper) << 32 | u64::from(instance) << 48)
}

/// What stands for ports where it is not simply the ports.
#[cold]
fn rare_ports(d: &Descriptor, ports: u64) -> Option<u64> {
    if d.fragment == Fragment::Later && !d.flags.contains(DescriptorFlags::FIRST_KNOWN) {
        return None;
    }
    let of_type = || u64::from(d.key.src_port) | u64::from(d.icmp_type) << 16;
    match (d.key.family, d.key.protocol) {
        (Family::Inet, protocol::ICMP) => query(d.icmp_type).map(|_| of_type()),
        (Family::Inet6, protocol::ICMPV6) => query6(d.icmp_type).map(|_| of_type()),
        _ => Some(ports),
    }
}

/// Which side of a query an ICMP type is on; `None` for all that is neither.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Query {
    Asks(u8),
    Answers(u8),
}

/// Types of ICMP that come in pairs: echo, timestamp, information, mask (RFC 792, RFC 950),
/// extended echo (RFC 8335).
pub(crate) fn query(icmp_type: u8) -> Option<Query> {
    match icmp_type {
        icmp::ECHO_REQUEST => Some(Query::Asks(icmp::ECHO_REPLY)),
        icmp::ECHO_REPLY => Some(Query::Answers(icmp::ECHO_REQUEST)),
        13 | 15 | 17 | 42 => Some(Query::Asks(icmp_type + 1)),
        14 | 16 | 18 | 43 => Some(Query::Answers(icmp_type - 1)),
        _ => None,
    }
}

/// Types of ICMPv6 that come in pairs: echo (RFC 4443), node information (RFC 4620), extended echo
/// (RFC 8335).
pub(crate) fn query6(icmp_type: u8) -> Option<Query> {
    match icmp_type {
        icmpv6::ECHO_REQUEST | 139 | 160 => Some(Query::Asks(icmp_type + 1)),
        icmpv6::ECHO_REPLY | 140 | 161 => Some(Query::Answers(icmp_type - 1)),
        _ => None,
    }
}

fn counterpart(icmp_type: u16) -> u16 {
    other_side(query(icmp_type as u8), icmp_type)
}

fn counterpart6(icmp_type: u16) -> u16 {
    other_side(query6(icmp_type as u8), icmp_type)
}

fn other_side(query: Option<Query>, otherwise: u16) -> u16 {
    match query {
        Some(Query::Asks(other) | Query::Answers(other)) => other.into(),
        None => otherwise,
    }
}

#[inline(always)]
pub(crate) fn words(number: u128) -> [u64; 2] {
    [number as u64, (number >> 64) as u64]
}

fn number([low, high]: [u64; 2]) -> u128 {
    u128::from(low) | u128::from(high) << 64
}

/// The keyed hash.
pub(crate) struct Hasher {
    keys: [u64; 8],
}

impl Hasher {
    pub(crate) fn new(seed: [u64; 2]) -> Hasher {
        let mut keys = [0; 8];
        for (i, key) in (1..).zip(&mut keys) {
            *key = split_mix(seed[0], i) ^ split_mix(!seed[1], i + 8);
        }
        Hasher { keys }
    }

    #[inline(always)]
    pub(crate) fn hash(&self, key: &Key) -> u64 {
        self.hash_parts(key.is_inet(), key.src, key.dst, key.tail)
    }

    /// The hash of an address, for what counts it at a rule.
    pub(crate) fn hash_source(&self, address: [u64; 2], rule: u16) -> u64 {
        self.hash_parts(false, address, [u64::from(rule), 0], 0)
    }

    /// The hash of the key of a packet of which [`tail`] gave this.
    #[inline(always)]
    pub(crate) fn hash_of(&self, d: &Descriptor, tail: u64) -> u64 {
        let inet = d.key.family == Family::Inet;
        self.hash_parts(inet, words(d.key.src), words(d.key.dst), tail)
    }

    #[inline(always)]
    fn hash_parts(&self, inet: bool, src: [u64; 2], dst: [u64; 2], tail: u64) -> u64 {
        let k = &self.keys;
        let product = if inet {
            multiply((src[0] << 32 | dst[0]).wrapping_add(k[0]), tail.wrapping_add(k[1]))
        } else {
            let src = multiply(src[0].wrapping_add(k[0]), src[1].wrapping_add(k[1]));
            let dst = multiply(dst[0].wrapping_add(k[2]), dst[1].wrapping_add(k[3]));
            let tail = multiply(tail.wrapping_add(k[4]), k[5]);
            src.wrapping_add(dst).wrapping_add(tail)
        };
        let mixed = multiply(product as u64 ^ k[6], (product >> 64) as u64 ^ k[7]);
        mixed as u64 ^ (mixed >> 64) as u64
    }
}

#[inline(always)]
fn multiply(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

/// The `i`-th number from a seed (Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", 2014).
fn split_mix(seed: u64, i: u64) -> u64 {
    let z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;

//! In which order rules have their bits.
//!
//! An aggregate tells words apart, so rules that the same packets meet belong into the same words
//! (the rearrangement of Baboescu and Varghese, "Scalable Packet Classification", SIGCOMM 2001).
//! Rules with both addresses come first, along the address that fewer rules share; then those with
//! a source alone, with a destination alone, and with neither, along what else they ask for.

use std::cmp::Reverse;
use std::collections::HashMap;

use ipnet::IpNet;

use super::conditions::{Conditions, Field};

/// The conditions' places in the list, in the order of their bits. Within a word it is that of the
/// list, so that a word's first bit is its first match.
pub(super) fn order(conditions: &[Conditions]) -> Vec<u32> {
    let crowd = |nets: fn(&Conditions) -> &[IpNet]| {
        let mut crowd: HashMap<Option<&IpNet>, usize> = HashMap::new();
        conditions.iter().for_each(|c| *crowd.entry(nets(c).first()).or_default() += 1);
        crowd
    };
    let (sources, destinations) = (crowd(|c| &c.source), crowd(|c| &c.destination));
    let mut order: Vec<u32> = (0..conditions.len() as u32).collect();
    order.sort_by_cached_key(|&place| {
        let c = &conditions[place as usize];
        let (source, destination) = (c.source.first(), c.destination.first());
        let shared = |crowd: &HashMap<_, usize>, net| crowd.get(net).copied();
        let first = |net: Option<&IpNet>| net.map(|net| (net.network(), Reverse(net.prefix_len())));
        let (group, along) = match (source, destination) {
            (Some(_), Some(_))
                if shared(&sources, &source) <= shared(&destinations, &destination) =>
            {
                (0, [first(source), first(destination)])
            }
            (Some(_), Some(_)) => (1, [first(destination), first(source)]),
            (Some(_), None) => (2, [first(source), None]),
            (None, Some(_)) => (3, [first(destination), None]),
            (None, None) => (4, [None, None]),
        };
        let rest = Field::ALL.map(|field| c.of(field).and_then(|r| r.first().copied()));
        let [protocol, flags, state, icmp, source_port, destination_port, input, output] = rest;
        (group, along, [input, output, destination_port, source_port, protocol, flags, icmp, state])
    });
    order.chunks_mut(64).for_each(<[u32]>::sort_unstable);
    order
}

//! Many conditions: for each address the few rules that ask for it.
//!
//! A rule that asks for an address is found by it: by the source or by the destination, whichever fewer
//! rules share. Where networks begin and end, the rules change that an address leads to; each such list
//! is laid out in [batches](super::batch) of eight that are compared at once. A packet has two lists,
//! one by each of its addresses, and that of the rules that ask for none; the earliest rule of all
//! three is the answer. With rules as people write them nearly every list is one batch, however many
//! rules there are, and a packet takes a few cache lines.
//!
//! Lists are long where many rules name the same networks and none narrower: such rules are none for
//! this, and become [bit vectors](super::table), whose size and time are bounded by other means.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;
use sluice_packet::Family;
use sluice_packet::descriptor::number_of;

use super::Packet;
use super::addresses::Addresses;
use super::batch::{Batch, LANES, Lane, NONE, Name, Sight};
use super::conditions::Conditions;
use super::list::Matcher;
use super::lookup::Change;
use super::sweep::united;

/// What there may be at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    /// Rules in a list by an address.
    pub(super) listed: usize,
    /// Rules that ask for no address.
    pub(super) unaddressed: usize,
    /// Networks of all rules.
    pub(super) networks: usize,
    /// Batches.
    pub(super) batches: usize,
}

impl Most {
    /// Beyond these, bit vectors are quicker, or smaller.
    pub(super) const USUAL: Most =
        Most { listed: 64, unaddressed: 64, networks: 1 << 18, batches: 1 << 19 };
}

/// Compiled conditions.
#[derive(Clone, Debug)]
pub(crate) struct Candidates {
    source: Addresses,
    destination: Addresses,
    /// The rules that ask for no address, for either version.
    others: Span,
    batches: Vec<Batch>,
    /// By place, of those conditions that a batch does not say all about.
    open: Box<[Option<Box<Matcher>>]>,
}

/// Some batches: where they begin, and how many there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span(u32);

impl Span {
    const EMPTY: Span = Span(0);
    const COUNT: u32 = 24;

    fn new(begin: usize, count: usize) -> Option<Span> {
        let count = u8::try_from(count).ok()?;
        (begin < 1 << Span::COUNT).then(|| Span(begin as u32 | u32::from(count) << Span::COUNT))
    }

    #[inline(always)]
    fn of(self, batches: &[Batch]) -> &[Batch] {
        let begin = (self.0 & ((1 << Span::COUNT) - 1)) as usize;
        &batches[begin..begin + (self.0 >> Span::COUNT) as usize]
    }
}

/// What has been found about the packets of a burst.
pub(super) struct Found<const N: usize> {
    source: [u32; N],
    destination: [u32; N],
    /// The first condition that holds; [`NONE`] where none does.
    first: [u32; N],
}

impl Candidates {
    /// Compiles conditions; `None` where there would be more of something than may be.
    pub(super) fn new(conditions: &[Conditions], most: Most) -> Option<Candidates> {
        let mut making = Making::new(conditions, most)?;
        let (mut by_source, mut by_destination, mut by_none) = (Vec::new(), Vec::new(), Vec::new());
        let crowds = (crowds(conditions, |c| &c.source), crowds(conditions, |c| &c.destination));
        for (place, c) in (0..).zip(conditions) {
            match (c.source.is_empty(), c.destination.is_empty()) {
                (true, true) => by_none.push(place),
                (false, true) => by_source.push(place),
                (true, false) => by_destination.push(place),
                (false, false) => {
                    let few = crowd(&crowds.0, &c.source) <= crowd(&crowds.1, &c.destination);
                    let list = if few { &mut by_source } else { &mut by_destination };
                    list.push(place);
                }
            }
        }
        if by_none.len() > most.unaddressed {
            return None;
        }
        let source = making.addresses(&by_source, |c| &c.source, |c| &c.destination)?;
        let destination = making.addresses(&by_destination, |c| &c.destination, |c| &c.source)?;
        let others = making.span(&by_none, |_| &[], Family::Inet)?;
        let Making { batches, open, .. } = making;
        Some(Candidates { source, destination, others, batches, open: open.into() })
    }

    /// Finds the first condition that holds for each of up to `N` packets, a power of two.
    #[inline]
    pub(super) fn find<const N: usize>(&self, packets: &[Packet<'_>]) -> Found<N> {
        let mut found = Found { source: [0; N], destination: [0; N], first: [NONE; N] };
        let packets = &packets[..packets.len().min(N)];
        self.source.look_up(packets, &mut found.source, |d| d.key.src);
        self.destination.look_up(packets, &mut found.destination, |d| d.key.dst);
        for (place, packet) in packets.iter().enumerate() {
            found.first[place] = self.next(&found, place, packet, 0);
        }
        found
    }

    /// The conditions that hold for a packet of those, in order.
    #[inline]
    pub(super) fn matches<'a, const N: usize>(
        &'a self,
        found: &'a Found<N>,
        place: usize,
        packet: &'a Packet<'a>,
    ) -> impl Iterator<Item = usize> + 'a {
        let place = place & (N - 1);
        // What has been told is before this. More than the first is seldom asked for.
        let mut from = 0;
        std::iter::from_fn(move || {
            let rule = match from {
                0 => found.first[place],
                from => self.later(found, place, packet, from),
            };
            if rule == NONE {
                return None;
            }
            from = rule + 1;
            Some(rule as usize)
        })
    }

    /// [`next`](Self::next), which is not to be made a part of where it is seldom called.
    #[inline(never)]
    fn later<const N: usize>(
        &self,
        found: &Found<N>,
        place: usize,
        packet: &Packet<'_>,
        from: u32,
    ) -> u32 {
        self.next(found, place, packet, from)
    }

    /// The first condition from `from` on that holds for a packet.
    #[inline(always)]
    fn next<const N: usize>(
        &self,
        found: &Found<N>,
        place: usize,
        packet: &Packet<'_>,
        from: u32,
    ) -> u32 {
        let (source, destination) = (Span(found.source[place]), Span(found.destination[place]));
        let sight = Sight::of(packet);
        let name = self.first(&sight, source, destination, from);
        if name.is_open() {
            return self.settle(packet, &sight, source, destination, name);
        }
        name.rule()
    }

    /// The first condition that holds, from one that may hold on.
    #[inline(never)]
    fn settle(
        &self,
        packet: &Packet<'_>,
        sight: &Sight,
        source: Span,
        destination: Span,
        mut name: Name,
    ) -> u32 {
        while name.is_open() {
            let matcher = self.open.get(name.rule() as usize).and_then(Option::as_deref);
            if matcher.is_some_and(|matcher| matcher.holds(packet)) {
                break;
            }
            name = self.first(sight, source, destination, name.rule() + 1);
        }
        name.rule()
    }

    /// The first condition from `from` on that may hold.
    #[inline(always)]
    fn first(&self, sight: &Sight, source: Span, destination: Span, from: u32) -> Name {
        let mut name = Name::NONE;
        for batch in source.of(&self.batches) {
            name = name.or(batch.first(sight, sight.destination, from));
        }
        for batch in destination.of(&self.batches) {
            name = name.or(batch.first(sight, sight.source, from));
        }
        for batch in self.others.of(&self.batches) {
            // Mostly these are the last of the list.
            if batch.earliest().or(name) == name {
                break;
            }
            name = name.or(batch.first(sight, 0, from));
        }
        name
    }
}

/// How many rules name each network.
fn crowds<'a>(
    conditions: &'a [Conditions],
    nets: impl Fn(&'a Conditions) -> &'a [IpNet],
) -> HashMap<&'a IpNet, usize> {
    let mut crowds = HashMap::new();
    for net in conditions.iter().flat_map(|c| asked(nets(c))) {
        *crowds.entry(net).or_default() += 1;
    }
    crowds
}

/// How many rules name the network of a rule that most do.
fn crowd(crowds: &HashMap<&IpNet, usize>, nets: &[IpNet]) -> usize {
    asked(nets).filter_map(|net| crowds.get(net)).copied().max().unwrap_or(0)
}

/// The networks that stand for a list.
fn asked(nets: &[IpNet]) -> impl Iterator<Item = &IpNet> {
    nets.iter().take(16)
}

/// Makes candidates.
struct Making<'a> {
    conditions: &'a [Conditions],
    most: Most,
    batches: Vec<Batch>,
    open: Vec<Option<Box<Matcher>>>,
}

impl<'a> Making<'a> {
    fn new(conditions: &'a [Conditions], most: Most) -> Option<Making<'a>> {
        let networks =
            conditions.iter().map(|c| c.source.len() + c.destination.len()).sum::<usize>();
        (networks <= most.networks).then(|| Making {
            conditions,
            most,
            batches: Vec::new(),
            open: vec![None; conditions.len()],
        })
    }

    /// The lists of some rules by the address of which `nets` are asked.
    fn addresses(
        &mut self,
        rules: &[u32],
        nets: fn(&Conditions) -> &[IpNet],
        other: fn(&Conditions) -> &[IpNet],
    ) -> Option<Addresses> {
        let inet = self.changes(rules, nets, other, Family::Inet)?;
        let inet6 = self.changes(rules, nets, other, Family::Inet6)?;
        Some(Addresses::new(&inet, &inet6))
    }

    /// Goes over all addresses of a family, and notes where the list changes.
    fn changes(
        &mut self,
        rules: &[u32],
        nets: fn(&Conditions) -> &[IpNet],
        other: fn(&Conditions) -> &[IpNet],
        family: Family,
    ) -> Option<Vec<Change<u128>>> {
        let inet = family == Family::Inet;
        let last = if inet { u32::MAX.into() } else { u128::MAX };
        let mut turns = Vec::new();
        for &rule in rules {
            let nets = nets(&self.conditions[rule as usize]).iter();
            let ranges = nets.filter(|net| net.addr().is_ipv4() == inet);
            let ranges = ranges.map(|net| (number_of(net.network()), number_of(net.broadcast())));
            for (first, end) in united(ranges.collect()) {
                turns.push((first, rule));
                turns.extend(end.checked_add(1).filter(|end| *end <= last).map(|end| (end, rule)));
            }
        }
        turns.sort_unstable();
        let mut known = HashMap::from([(Vec::new(), Span::EMPTY)]);
        let mut listed = BTreeSet::new();
        let mut changes = vec![(0, Span::EMPTY.0)];
        for turn in turns.chunk_by(|a, b| a.0 == b.0) {
            for (_, rule) in turn {
                // A rule's ranges do not touch: each turn takes it in or out.
                if !listed.remove(rule) {
                    listed.insert(*rule);
                }
            }
            if listed.len() > self.most.listed {
                return None;
            }
            let list: Vec<u32> = listed.iter().copied().collect();
            let span = match known.get(&list) {
                Some(span) => *span,
                None => {
                    let span = self.span(&list, other, family)?;
                    known.insert(list, span);
                    span
                }
            };
            if turn[0].0 == 0 {
                changes.clear();
            }
            if changes.last().is_none_or(|change| change.1 != span.0) {
                changes.push((turn[0].0, span.0));
            }
        }
        Some(changes)
    }

    /// The batches of some rules.
    fn span(
        &mut self,
        rules: &[u32],
        other: fn(&Conditions) -> &[IpNet],
        family: Family,
    ) -> Option<Span> {
        let begin = self.batches.len();
        let mut lanes = Vec::with_capacity(rules.len());
        for &rule in rules {
            let conditions = &self.conditions[rule as usize];
            let Some(lane) = Lane::new(rule, conditions, other(conditions), family) else {
                continue;
            };
            let open = &mut self.open[rule as usize];
            if lane.is_open() && open.is_none() {
                *open = Some(Box::new(Matcher::new(conditions)));
            }
            lanes.push(lane);
        }
        self.batches.extend(lanes.chunks(LANES).map(Batch::new));
        let count = self.batches.len() - begin;
        if self.batches.len() > self.most.batches {
            return None;
        }
        Span::new(begin, count)
    }
}

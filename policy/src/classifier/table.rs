//! Many conditions: bit vectors by field, aggregated (Lakshman and Stiliadis, SIGCOMM 1998;
//! Baboescu and Varghese, SIGCOMM 2001).
//!
//! Each field's value is looked up to a row of bits, one a rule that it satisfies ([`super::rows`]);
//! the rules that all rows have in common hold. Which words can have such a rule is what the
//! aggregates have in common: with rules in a good order ([`super::order`]) a handful of words,
//! however many rules there are. The small fields (protocol, ports, interfaces) are combined to one
//! row by tables of their classes (the equivalence classes of Gupta and McKeown, SIGCOMM 1999) for
//! as long as that stays small.
//!
//! The size is bounded: by what the rules' ranges are, see `rows`, and by [`BUDGET`] whatever they
//! are; conditions that would need more remain a list.

use std::hash::{Hash, Hasher};

use ipnet::IpNet;
use sluice_packet::descriptor::number_of;
use sluice_packet::{Descriptor, Family};

use super::conditions::{Conditions, Field};
use super::lookup::{Change, Direct, Small, Sorted};
use super::order::order;
use super::rows::{Block, Common, Rows};
use super::sweep::{Group, by_key, sweep};
use super::{BURST, Packet};

/// Bytes that the rows of a table may take.
pub(super) const BUDGET: usize = 256 << 20;
/// Words that may be looked at to combine two fields.
const COMBINING: usize = 1 << 24;
/// Entries that a table of two fields' classes may have.
const COMBINED: usize = 1 << 18;
/// Bytes that the rows of two fields together may take: more would not stay in the cache.
const COMBINED_ROWS: usize = 1 << 16;
/// Both addresses and all small fields.
const MOST_ROWS: usize = 2 + Field::ALL.len();

/// Compiled conditions.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    source: Option<Addresses>,
    destination: Option<Addresses>,
    small: Box<[Combined]>,
    /// Blocks of a row.
    span: usize,
    /// Of each row by field, in the order in which they are looked up.
    common: Box<[Common]>,
    blocks: Box<[Block]>,
    words: Box<[u64]>,
    /// The condition that each bit stands for.
    conditions: Box<[u32]>,
}

/// Rows by address.
#[derive(Clone, Debug)]
struct Addresses {
    inet: Inet,
    inet6: Sorted,
}

#[derive(Clone, Debug)]
enum Inet {
    Direct(Direct),
    Sorted(Sorted),
}

/// Rows by the values of one small field or several.
#[derive(Clone, Debug)]
struct Combined {
    first: Axis,
    more: Box<[(Axis, Box<[u32]>)]>,
}

/// Classes by the values of a small field.
#[derive(Clone, Debug)]
struct Axis {
    field: Field,
    classes: Small,
    count: u32,
    /// The class of packets that have no such field.
    without: u32,
}

impl Axis {
    #[inline(always)]
    fn class(&self, field: Field, packet: &Packet<'_>) -> u32 {
        field.value(packet).map_or(self.without, |value| self.classes.get(value))
    }
}

/// Where the rows of each packet of a burst begin, by field.
type Rows64 = [[u32; BURST]; MOST_ROWS];

/// What has been found about the packets of a burst.
pub(super) struct Found {
    rows: Rows64,
    /// The first condition that holds; [`NONE`] where none does.
    first: [u32; BURST],
}

/// No condition.
const NONE: u32 = u32::MAX;
/// Words that are looked at together: more than one packet can need.
const WORDS: usize = 512;

/// Makes a table.
struct Making<'a> {
    conditions: &'a [Conditions],
    order: Vec<u32>,
    budget: usize,
    common: Vec<Common>,
    blocks: Vec<Block>,
    words: Vec<u64>,
}

impl Table {
    /// Compiles conditions; `None` where the table would take more than `budget` bytes.
    pub(super) fn new(conditions: &[Conditions], budget: usize) -> Option<Table> {
        let order = order(conditions);
        let (common, blocks, words) = (Vec::new(), Vec::new(), Vec::new());
        let mut making = Making { conditions, order, budget, common, blocks, words };
        let source = making.addresses(|c| &c.source)?;
        let destination = making.addresses(|c| &c.destination)?;
        let small = making.small(source.is_none() && destination.is_none())?;
        Some(Table {
            source,
            destination,
            small,
            span: conditions.len().div_ceil(64 * 64),
            common: making.common.into(),
            blocks: making.blocks.into(),
            words: making.words.into(),
            conditions: making.order.into(),
        })
    }

    /// Finds the first condition that holds for each of up to [`BURST`] packets.
    ///
    /// All packets take each step together, so that their waits for memory overlap, and no step
    /// takes a branch that depends on one packet.
    #[inline]
    pub(super) fn find(&self, packets: &[Packet<'_>]) -> Found {
        let mut found = Found { rows: [[0; BURST]; MOST_ROWS], first: [NONE; BURST] };
        let packets = &packets[..packets.len().min(BURST)];
        let mut field = 0;
        if let Some(addresses) = &self.source {
            addresses.look_up(packets, &mut found.rows[field], |d| d.key.src);
            field += 1;
        }
        if let Some(addresses) = &self.destination {
            addresses.look_up(packets, &mut found.rows[field], |d| d.key.dst);
            field += 1;
        }
        for (combined, rows) in self.small.iter().zip(&mut found.rows[field..]) {
            combined.look_up(packets, rows);
        }
        for block in 0..self.span {
            self.find_in(block, packets.len(), &mut found);
        }
        found
    }

    /// Brings `found` up to date for the rules of a block.
    #[inline]
    fn find_in(&self, block: usize, packets: usize, found: &mut Found) {
        let mut any = [u64::MAX; BURST];
        for (common, rows) in self.common.iter().zip(&found.rows) {
            let common = common.any[block];
            for (any, row) in any.iter_mut().zip(&rows[..packets]) {
                *any &= common | self.blocks[*row as usize + block].own;
            }
        }
        // Words as (packet, place).
        let mut words = [(0u8, 0u8); WORDS];
        let mut count = 0;
        for (packet, any) in any[..packets].iter().enumerate() {
            let mut any = *any;
            let end = count + any.count_ones() as usize;
            loop {
                // Mostly there are up to four; what is written too much is overwritten.
                for word in &mut words[count..count + 4] {
                    *word = (packet as u8, any.trailing_zeros() as u8);
                    any &= any.wrapping_sub(1);
                }
                count += 4;
                if any == 0 {
                    break;
                }
            }
            count = end;
            if count > WORDS - 64 - 4 {
                self.find_at(block, &words[..count], found);
                count = 0;
            }
        }
        self.find_at(block, &words[..count], found);
    }

    /// The same for some words of some packets.
    #[inline]
    fn find_at(&self, block: usize, words: &[(u8, u8)], found: &mut Found) {
        let mut bits = [u64::MAX; WORDS];
        for (common, rows) in self.common.iter().zip(&found.rows) {
            let common = common.begin + block as u32 * 64;
            for (bits, (packet, place)) in bits.iter_mut().zip(words) {
                let row = rows[usize::from(*packet) & (BURST - 1)];
                let word = self.blocks[row as usize + block].word(u32::from(*place), common);
                *bits &= self.words[word];
            }
        }
        for (bits, (packet, place)) in bits.iter().zip(words) {
            let word = (block * 64 + usize::from(*place)) * 64;
            let condition = self.conditions[word + (bits.trailing_zeros() & 63) as usize];
            let condition = if *bits == 0 { NONE } else { condition };
            let first = &mut found.first[usize::from(*packet) & (BURST - 1)];
            *first = condition.min(*first);
        }
    }

    /// The conditions that hold for a packet of those, in order.
    #[inline]
    pub(super) fn matches<'a>(&'a self, found: &'a Found, packet: usize) -> Matches<'a> {
        let packet = packet & (BURST - 1);
        Matches { table: self, found, packet, from: 0 }
    }

    /// The first condition from `from` on that holds.
    fn next(&self, rows: &Rows64, packet: usize, from: u32) -> u32 {
        let rows = self.common.iter().zip(rows).map(|(common, rows)| (common, rows[packet]));
        let mut next = NONE;
        for block in 0..self.span {
            let own = |row: u32| self.blocks[row as usize + block];
            let mut any = rows
                .clone()
                .fold(u64::MAX, |any, (common, row)| any & (common.any[block] | own(row).own));
            while any != 0 {
                let place = any.trailing_zeros();
                any &= any - 1;
                let mut bits = rows.clone().fold(u64::MAX, |bits, (common, row)| {
                    let word = own(row).word(place, common.begin + block as u32 * 64);
                    bits & self.words[word]
                });
                while bits != 0 {
                    let bit = bits.trailing_zeros() as usize;
                    let condition = self.conditions[(block * 64 + place as usize) * 64 + bit];
                    if condition >= from {
                        next = next.min(condition);
                        break;
                    }
                    bits &= bits - 1;
                }
            }
        }
        next
    }
}

/// The conditions that hold for a packet, in order.
pub(super) struct Matches<'a> {
    table: &'a Table,
    found: &'a Found,
    packet: usize,
    /// What has been told is before this.
    from: u32,
}

impl Iterator for Matches<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let next = match self.from {
            0 => self.found.first[self.packet],
            from => self.table.next(&self.found.rows, self.packet, from),
        };
        if next == NONE {
            return None;
        }
        self.from = next + 1;
        Some(next as usize)
    }
}

impl Addresses {
    #[inline]
    fn look_up(
        &self,
        packets: &[Packet<'_>],
        rows: &mut [u32; BURST],
        address: impl Fn(&Descriptor) -> u128,
    ) {
        match &self.inet {
            Inet::Direct(map) => self.each(packets, rows, address, |a| map.get(a as u32)),
            Inet::Sorted(map) => self.each(packets, rows, address, |a| map.get(a)),
        }
    }

    #[inline(always)]
    fn each(
        &self,
        packets: &[Packet<'_>],
        rows: &mut [u32; BURST],
        address: impl Fn(&Descriptor) -> u128,
        inet: impl Fn(u128) -> u32,
    ) {
        for (packet, row) in packets.iter().zip(rows) {
            let address = address(packet.descriptor);
            *row = match packet.descriptor.key.family {
                Family::Inet => inet(address),
                Family::Inet6 => self.inet6.get(address),
            };
        }
    }
}

impl Combined {
    #[inline]
    fn look_up(&self, packets: &[Packet<'_>], rows: &mut [u32; BURST]) {
        self.first.each(packets, |i, class| rows[i] = class);
        for (axis, classes) in &self.more {
            axis.each(packets, |i, class| {
                rows[i] = classes[(rows[i] * axis.count + class) as usize];
            });
        }
    }
}

impl Axis {
    /// The class of each packet.
    #[inline(always)]
    fn each(&self, packets: &[Packet<'_>], mut class: impl FnMut(usize, u32)) {
        let mut all = |field: Field| {
            for (i, packet) in packets.iter().take(BURST).enumerate() {
                class(i, self.class(field, packet));
            }
        };
        // Each a loop of its own.
        match self.field {
            Field::Protocol => all(Field::Protocol),
            Field::TcpFlags => all(Field::TcpFlags),
            Field::Icmp => all(Field::Icmp),
            Field::SourcePort => all(Field::SourcePort),
            Field::DestinationPort => all(Field::DestinationPort),
            Field::Input => all(Field::Input),
            Field::Output => all(Field::Output),
        }
    }
}

impl Making<'_> {
    /// The bits of the rules that `is` true for.
    fn bits(&self, is: impl Fn(&Conditions) -> bool) -> Vec<u64> {
        let mut words = vec![0; self.conditions.len().div_ceil(64)];
        for (place, c) in self.in_order().filter(|(_, c)| is(c)) {
            let _ = c;
            words[place / 64] |= 1 << (place % 64);
        }
        words
    }

    fn in_order(&self) -> impl Iterator<Item = (usize, &Conditions)> {
        let conditions = self.order.iter().map(|&place| &self.conditions[place as usize]);
        conditions.enumerate()
    }

    /// The table's rows by an address; `None` inside where no rule asks about it.
    #[expect(clippy::option_option, reason = "too large, or not asked for")]
    fn addresses(&mut self, nets: fn(&Conditions) -> &[IpNet]) -> Option<Option<Addresses>> {
        let asking = self.in_order().map(|(place, c)| (place, List(nets(c))));
        let groups = by_key(asking.filter(|(_, nets)| !nets.0.is_empty()));
        if groups.is_empty() {
            return Some(None);
        }
        let mut rows = Rows::new(&self.bits(|c| nets(c).is_empty()));
        let mut of_family = |inet: bool| {
            let ranges = |nets: &[IpNet]| {
                let nets = nets.iter().filter(|net| net.addr().is_ipv4() == inet);
                nets.map(|net| (number_of(net.network()), number_of(net.broadcast()))).collect()
            };
            let groups: Vec<Group> = groups
                .iter()
                .map(|(nets, rules)| Group::new(ranges(nets.0), rules.clone()))
                .collect();
            let last = if inet { u32::MAX.into() } else { u128::MAX };
            sweep(&groups, last, &mut rows, self.budget)
        };
        let (mut inet, mut inet6) = (of_family(true)?, of_family(false)?);
        let row = self.take(&rows)?;
        inet.iter_mut().chain(&mut inet6).for_each(|change| change.1 = row(change.1));
        let narrow: Vec<Change<u32>> = inet.iter().map(|c| (c.0 as u32, c.1)).collect();
        let inet = match Direct::new(&narrow) {
            Some(map) => Inet::Direct(map),
            None => Inet::Sorted(Sorted::new(&inet, 32)),
        };
        Some(Some(Addresses { inet, inet6: Sorted::new(&inet6, 128) }))
    }

    /// The rows by the small fields that rules ask about; `any`: by one of them at least.
    fn small(&mut self, any: bool) -> Option<Box<[Combined]>> {
        let asked = |field| self.conditions.iter().any(|c| c.of(field).is_some());
        let mut fields: Vec<Field> = Field::ALL.into_iter().filter(|field| asked(*field)).collect();
        if fields.is_empty() && any {
            fields.push(Field::Protocol);
        }
        let mut all = Vec::new();
        let mut now: Option<(Combined, Rows)> = None;
        for field in fields {
            let (axis, rows) = self.axis(field)?;
            now = Some(match now.take() {
                None => (Combined { first: axis, more: Box::new([]) }, rows),
                Some((mut combined, before)) => match combine(&before, &rows) {
                    Some((classes, rows)) => {
                        let mut more = combined.more.into_vec();
                        more.push((axis, classes));
                        combined.more = more.into();
                        (combined, rows)
                    }
                    None => {
                        all.push(self.finished(combined, &before)?);
                        (Combined { first: axis, more: Box::new([]) }, rows)
                    }
                },
            });
        }
        if let Some((combined, rows)) = now {
            all.push(self.finished(combined, &rows)?);
        }
        Some(all.into())
    }

    fn axis(&self, field: Field) -> Option<(Axis, Rows)> {
        let wanted: Vec<_> =
            self.in_order().filter_map(|(place, c)| Some((place, c.of(field)?))).collect();
        let groups = by_key(wanted.iter().map(|(place, ranges)| (*place, &ranges[..])));
        let wide = |ranges: &[(u16, u16)]| -> Vec<(u128, u128)> {
            ranges.iter().map(|r| (r.0.into(), r.1.into())).collect()
        };
        let groups: Vec<Group> =
            groups.into_iter().map(|(ranges, rules)| Group::new(wide(ranges), rules)).collect();
        let mut rows = Rows::new(&self.bits(|c| c.of(field).is_none()));
        let without = rows.row_of(&rows.common().to_vec());
        let changes = sweep(&groups, u16::MAX.into(), &mut rows, self.budget)?;
        let narrow: Vec<Change<u16>> = changes.iter().map(|c| (c.0 as u16, c.1)).collect();
        let count = rows.count() as u32;
        Some((Axis { field, classes: Small::new(&narrow), count, without }, rows))
    }

    /// Takes in the rows and has the last lookup lead to them.
    fn finished(&mut self, mut combined: Combined, rows: &Rows) -> Option<Combined> {
        let row = self.take(rows)?;
        match combined.more.last_mut() {
            Some((_, classes)) => classes.iter_mut().for_each(|class| *class = row(*class)),
            None => {
                combined.first.classes.renumber(&row);
                combined.first.without = row(combined.first.without);
            }
        }
        Some(combined)
    }

    /// Takes in rows; returns where the row of a number begins.
    fn take(&mut self, rows: &Rows) -> Option<impl Fn(u32) -> u32 + use<>> {
        self.budget = self.budget.checked_sub(rows.bytes())?;
        let (first, common) = rows.append(&mut self.blocks, &mut self.words);
        self.common.push(common);
        let span = self.conditions.len().div_ceil(64 * 64) as u32;
        Some(move |number| first + number * span)
    }
}

/// A list of networks, to be compared with others. Long ones are of sets: the same wherever they
/// are used.
#[derive(Clone, Copy)]
struct List<'a>(&'a [IpNet]);

impl List<'_> {
    const LONG: usize = 16;
}

impl PartialEq for List<'_> {
    fn eq(&self, other: &Self) -> bool {
        match self.0.len() > List::LONG {
            true => std::ptr::eq(self.0, other.0),
            false => self.0 == other.0,
        }
    }
}

impl Eq for List<'_> {}

impl Hash for List<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        match self.0.len() > List::LONG {
            true => self.0.as_ptr().hash(hasher),
            false => self.0.hash(hasher),
        }
    }
}

/// The rows that two fields have together, and the classes of each pair of classes.
fn combine(one: &Rows, other: &Rows) -> Option<(Box<[u32]>, Rows)> {
    let pairs = one.count() * other.count();
    if pairs > COMBINED || pairs * one.common().len() > COMBINING {
        return None;
    }
    let both = |one: &[u64], other: &[u64]| -> Vec<u64> {
        one.iter().zip(other).map(|(one, other)| one & other).collect()
    };
    let mut rows = Rows::new(&both(one.common(), other.common()));
    let (ones, others) = (one.expanded(), other.expanded());
    let pairs = ones.iter().flat_map(|one| others.iter().map(move |other| (one, other)));
    let classes = pairs.map(|(one, other)| rows.row_of(&both(one, other))).collect();
    (rows.bytes() <= COMBINED_ROWS).then_some((classes, rows))
}

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

use super::Packet;
use super::addresses::Addresses;
use super::conditions::{Conditions, Field};
use super::dense::Dense;
use super::lookup::{Change, Small};
use super::order::order;
use super::rows::Rows;
use super::sparse::Sparse;
use super::sweep::{Group, by_key, sweep};

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
    /// Rows of a packet.
    fields: usize,
    vectors: Vectors,
}

#[derive(Clone, Debug)]
enum Vectors {
    Dense(Dense),
    Sparse(Sparse),
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

/// What has been found about the packets of a burst.
pub(super) struct Found<const N: usize> {
    /// The numbers of their rows, by field.
    rows: [[u32; N]; MOST_ROWS],
    /// The first condition that holds; [`NONE`] where none does.
    first: [u32; N],
}

/// No condition.
pub(super) const NONE: u32 = u32::MAX;

/// Makes a table.
struct Making<'a> {
    conditions: &'a [Conditions],
    order: Vec<u32>,
    budget: usize,
    vectors: Vectors,
}

impl Table {
    /// Compiles conditions, at least one; `None` where the rows would take more than `budget` bytes.
    pub(super) fn new(conditions: &[Conditions], budget: usize) -> Option<Table> {
        if conditions.len() > Dense::MOST {
            return Table::sparse(conditions, budget);
        }
        let order = (0..conditions.len() as u32).collect();
        let vectors = Vectors::Dense(Dense::new(conditions.len()));
        Table::with(conditions, order, vectors, budget)
    }

    /// The same in the form for many, however few there are.
    pub(super) fn sparse(conditions: &[Conditions], budget: usize) -> Option<Table> {
        let order = order(conditions);
        let vectors = Vectors::Sparse(Sparse::new(&order));
        Table::with(conditions, order, vectors, budget)
    }

    fn with(
        conditions: &[Conditions],
        order: Vec<u32>,
        vectors: Vectors,
        budget: usize,
    ) -> Option<Table> {
        let mut making = Making { conditions, order, budget, vectors };
        let source = making.addresses(|c| &c.source)?;
        let destination = making.addresses(|c| &c.destination)?;
        let small = making.small(source.is_none() && destination.is_none())?;
        let addresses = usize::from(source.is_some()) + usize::from(destination.is_some());
        let fields = addresses + small.len();
        Some(Table { source, destination, small, fields, vectors: making.vectors })
    }

    /// Finds the first condition that holds for each of up to `N` packets, a power of two.
    ///
    /// All packets take each step together, so that their waits for memory overlap, and hardly a
    /// step takes a branch that depends on one packet.
    #[inline]
    pub(super) fn find<const N: usize>(&self, packets: &[Packet<'_>]) -> Found<N> {
        let mut found = Found { rows: [[0; N]; MOST_ROWS], first: [NONE; N] };
        let packets = &packets[..packets.len().min(N)];
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
        let rows = &found.rows[..self.fields];
        match &self.vectors {
            Vectors::Dense(dense) => dense.find(rows, packets.len(), &mut found.first),
            Vectors::Sparse(sparse) => sparse.find(rows, packets.len(), &mut found.first),
        }
        found
    }

    /// The conditions that hold for a packet of those, in order.
    #[inline]
    pub(super) fn matches<'a, const N: usize>(
        &'a self,
        found: &'a Found<N>,
        packet: usize,
    ) -> Matches<'a, N> {
        Matches { table: self, found, packet: packet & (N - 1), from: 0 }
    }

    /// The first condition from `from` on that holds for a packet.
    fn next<const N: usize>(&self, found: &Found<N>, packet: usize, from: u32) -> u32 {
        let rows = found.rows[..self.fields].iter().map(|rows| rows[packet]);
        match &self.vectors {
            Vectors::Dense(dense) => dense.next(rows, from),
            Vectors::Sparse(sparse) => sparse.next(rows, from),
        }
    }
}

/// The conditions that hold for a packet, in order.
pub(super) struct Matches<'a, const N: usize> {
    table: &'a Table,
    found: &'a Found<N>,
    packet: usize,
    /// What has been told is before this.
    from: u32,
}

impl<const N: usize> Iterator for Matches<'_, N> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let next = match self.from {
            0 => self.found.first[self.packet],
            from => self.table.next(self.found, self.packet, from),
        };
        if next == NONE {
            return None;
        }
        self.from = next + 1;
        Some(next as usize)
    }
}

impl Vectors {
    /// Takes in the rows of the next field; returns the number of the first, and by how much they
    /// differ.
    fn take(&mut self, rows: &Rows) -> (u32, u32) {
        match self {
            Vectors::Dense(dense) => dense.take(rows),
            Vectors::Sparse(sparse) => sparse.take(rows),
        }
    }
}

impl Combined {
    #[inline]
    fn look_up(&self, packets: &[Packet<'_>], rows: &mut [u32]) {
        self.first.each(packets, rows, |_, class| class);
        for (axis, classes) in &self.more {
            axis.each(packets, rows, |row, class| classes[(row * axis.count + class) as usize]);
        }
    }
}

impl Axis {
    /// Makes of each packet's row and class its next row.
    #[inline(always)]
    fn each(&self, packets: &[Packet<'_>], rows: &mut [u32], next: impl Fn(u32, u32) -> u32) {
        let mut all = |field: Field| {
            for (packet, row) in packets.iter().zip(&mut *rows) {
                *row = next(*row, self.class(field, packet));
            }
        };
        // Each a loop of its own.
        match self.field {
            Field::Protocol => all(Field::Protocol),
            Field::TcpFlags => all(Field::TcpFlags),
            Field::State => all(Field::State),
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
        Some(Some(Addresses::new(&inet, &inet6)))
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
        let common = rows.common().to_vec();
        let without = rows.row_of(&common);
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
        let (first, step) = self.vectors.take(rows);
        Some(move |number| first + number * step)
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

//! Which of many conditions hold for a packet, compiled so that finding out does not take longer
//! in proportion to how many there are.
//!
//! A [`Classifier`] is made of a list of [`Conditions`] and says of a packet which of them hold:
//! their places in the list, in order. What that means is its user's business: a filter stops at
//! the first rule that does more than count.
//!
//! There are two shapes. A few conditions are a [`list`], tried from the front; more are a
//! [`table`] of bit vectors. Both say the same; property tests hold them to the plainest form.
//!
//! What a condition cannot see, it does not match: TCP flags and ICMP types of a later fragment, and
//! its ports unless its first is [known](sluice_packet::DescriptorFlags::FIRST_KNOWN), the ingress
//! interface of a packet that the router made itself, and addresses of the other IP version.

mod conditions;
mod dense;
mod list;
mod lookup;
mod order;
mod rows;
mod sparse;
mod sweep;
mod table;

use sluice_packet::Descriptor;

pub(crate) use conditions::{Conditions, consulted};
pub(crate) use list::Columns;
use list::Matcher;
use table::Table;

use crate::ids::InterfaceId;

/// The most packets that are looked at together.
pub(crate) const BURST: usize = 64;
/// The most conditions that are tried one after another: so many are no slower that way.
const LIST: usize = 16;
/// The most networks and ranges that these may have in all.
const LIST_ITEMS: usize = 64;

/// A packet as conditions see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) descriptor: &'a Descriptor,
    /// The interface that it is to leave by, where that is known.
    pub(crate) egress: Option<InterfaceId>,
}

impl<'a> From<(&'a Descriptor, Option<InterfaceId>)> for Packet<'a> {
    #[inline(always)]
    fn from((descriptor, egress): (&'a Descriptor, Option<InterfaceId>)) -> Packet<'a> {
        Packet { descriptor, egress }
    }
}

/// What is made of the conditions that hold for a packet.
pub(crate) trait Verdict {
    /// `matches` are the conditions that hold for the packet at `place`, in order. Those that are
    /// not asked for are not looked for.
    fn packet(&mut self, place: usize, matches: impl Iterator<Item = usize>);
}

/// Compiled conditions.
#[derive(Clone, Debug)]
pub(crate) enum Classifier {
    /// In order.
    List(Box<[Matcher]>),
    /// Bit vectors.
    Table(Box<Table>),
}

impl Classifier {
    /// Compiles conditions.
    pub(crate) fn new(conditions: &[Conditions]) -> Classifier {
        let items: usize = conditions.iter().map(Conditions::items).sum();
        let table = match conditions.len() <= LIST && items <= LIST_ITEMS {
            true => None,
            false => Table::new(conditions, table::BUDGET),
        };
        table.map_or_else(|| Classifier::list(conditions), |t| Classifier::Table(Box::new(t)))
    }

    fn list(conditions: &[Conditions]) -> Classifier {
        Classifier::List(conditions.iter().map(Matcher::new).collect())
    }

    /// The conditions, where they are few: each had better be asked about
    /// [many packets](Matcher::among).
    #[inline]
    pub(crate) fn few(&self) -> Option<&[Matcher]> {
        match self {
            Classifier::List(matchers) => Some(matchers),
            Classifier::Table(_) => None,
        }
    }

    /// Asks about up to [`BURST`] packets.
    #[inline]
    pub(crate) fn burst(&self, packets: &[Packet<'_>], verdict: &mut impl Verdict) {
        match self {
            Classifier::List(matchers) => {
                for (place, packet) in packets.iter().enumerate() {
                    let all = matchers.iter().enumerate();
                    let holding = all.filter(|(_, matcher)| matcher.holds(packet));
                    verdict.packet(place, holding.map(|(condition, _)| condition));
                }
            }
            Classifier::Table(table) => {
                if packets.len() == 1 {
                    return verdict.packet(0, table.matches(&table.find::<1>(packets), 0));
                }
                let found = table.find::<BURST>(packets);
                for place in 0..packets.len().min(BURST) {
                    verdict.packet(place, table.matches(&found, place));
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;

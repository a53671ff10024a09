//! Which of many conditions hold for a packet, compiled so that finding out does not take longer
//! in proportion to how many there are.
//!
//! A [`Classifier`] is made of a list of [`Conditions`] and says of a packet which of them hold:
//! their places in the list, in order. What that means is its user's business: a filter stops at
//! the first rule that does more than count.
//!
//! There are three shapes. A few conditions are a [`list`], tried from the front. More are
//! [`candidates`], a few for each address; where many ask for the same addresses, or for none, they are
//! a [`table`] of bit vectors. All say the same; property tests hold them to the plainest form.
//!
//! What a condition cannot see, it does not match: TCP flags and ICMP types of a later fragment, and
//! its ports unless its first is [known](sluice_packet::DescriptorFlags::FIRST_KNOWN), the ingress
//! interface of a packet that the router made itself, and addresses of the other IP version.

mod addresses;
mod batch;
mod candidates;
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

use candidates::{Candidates, Most};
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
    /// A few for each address.
    Candidates(Box<Candidates>),
    /// Bit vectors.
    Table(Box<Table>),
}

impl Classifier {
    /// Compiles conditions.
    pub(crate) fn new(conditions: &[Conditions]) -> Classifier {
        let items: usize = conditions.iter().map(Conditions::items).sum();
        if conditions.len() <= LIST && items <= LIST_ITEMS {
            return Classifier::list(conditions);
        }
        if let Some(candidates) = Candidates::new(conditions, Most::USUAL) {
            return Classifier::Candidates(Box::new(candidates));
        }
        let table = Table::new(conditions, table::BUDGET);
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
            Classifier::Candidates(_) | Classifier::Table(_) => None,
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
            Classifier::Candidates(candidates) => {
                if let [packet] = packets {
                    let found = candidates.find::<1>(packets);
                    return verdict.packet(0, candidates.matches(&found, 0, packet));
                }
                let found = candidates.find::<BURST>(packets);
                for (place, packet) in packets.iter().enumerate().take(BURST) {
                    verdict.packet(place, candidates.matches(&found, place, packet));
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

//! Which edition of a policy last changed what: how a flow that was decided earlier learns whether
//! what it was told still holds.
//!
//! A flow keeps the [edition](super::Policy::edition) at which it was decided, and asks
//! [`Editions::since`] what has moved. What is reported as not moved says about the flow's packets
//! what it said then. The reverse does not hold: more may be reported than has moved.
//!
//! Routes move by *slice*, so that changes of other destinations leave a flow alone. A prefix is
//! noted in one array by its first bits, as many as the widest array has that is no longer than the
//! prefix; only prefixes that are shorter than all are noted in several places. An address looks at
//! one place of each array. Arrays are shared by generations and copied when they change, 32 KiB each,
//! whatever the size of the tables.

use std::sync::Arc;

use ipnet::IpNet;
use sluice_packet::Family;
use sluice_packet::descriptor::number_of;

bitflags::bitflags! {
    /// What may say otherwise than it did.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Moved: u8 {
        /// Filters, and with them the slots of their rules.
        const FILTERS = 1 << 0;
        /// Policy routes: what they match or where they lead.
        const STEERING = 1 << 1;
        /// Some table's routes to the destination.
        const ROUTES = 1 << 2;
        /// Everything that policy says, the others included: links, own addresses, instances,
        /// numbers of next hops.
        const EVERYTHING = 0b1111;
        /// Which hooks stand where: those that are content with a flow's first packet are to be shown
        /// one again, and those that choose ways to choose again.
        const HOOKS = 1 << 4;
    }
}

/// How many bits of an address are looked at, fewest first. The first are small enough for an array
/// with a place for each value.
const INET: [u32; 2] = [SLICE_BITS, 24];
/// As `INET`: blocks of registries, allocations, sites.
const INET6: [u32; 4] = [SLICE_BITS, 24, 32, 48];
const SLICE_BITS: u32 = 12;
const SLICES: usize = 1 << SLICE_BITS;

/// The editions of a policy at which each kind of answer last changed.
#[derive(Clone, Debug)]
pub struct Editions {
    now: u64,
    newest: u64,
    everything: u64,
    filters: u64,
    steering: u64,
    hooks: u64,
    inet: [Arc<[u64; SLICES]>; INET.len()],
    inet6: [Arc<[u64; SLICES]>; INET6.len()],
}

impl Default for Editions {
    fn default() -> Self {
        let none = Arc::new([0; SLICES]);
        Editions {
            now: 0,
            newest: 0,
            everything: 0,
            filters: 0,
            steering: 0,
            hooks: 0,
            inet: std::array::from_fn(|_| Arc::clone(&none)),
            inet6: std::array::from_fn(|_| Arc::clone(&none)),
        }
    }
}

impl Editions {
    /// The last edition at which anything changed.
    #[inline]
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether nothing at all has moved since an edition, of which the low 32 bits are given: the
    /// first question, in two instructions.
    #[inline]
    pub fn is_current(&self, edition: u32) -> bool {
        self.decided(edition) >= self.newest
    }

    /// What has moved since an edition, of which the low 32 bits are given, for packets to `dst`.
    /// It must be one of this policy or of one that it was made from, and no more than 2³² ago.
    #[inline]
    pub fn since(&self, edition: u32, family: Family, dst: u128) -> Moved {
        let decided = self.decided(edition);
        let mut moved = Moved::empty();
        moved.set(Moved::HOOKS, self.hooks > decided);
        if self.everything > decided {
            return moved | Moved::EVERYTHING;
        }
        moved.set(Moved::FILTERS, self.filters > decided);
        moved.set(Moved::STEERING, self.steering > decided);
        let routes = match family {
            Family::Inet => {
                let bits = u128::from(dst as u32) << 96;
                self.inet.iter().zip(INET).any(|(at, width)| at[slice(bits, width)] > decided)
            }
            Family::Inet6 => {
                self.inet6.iter().zip(INET6).any(|(at, width)| at[slice(dst, width)] > decided)
            }
        };
        moved.set(Moved::ROUTES, routes);
        moved
    }

    /// The edition whose low bits are given: the last one that has them.
    #[inline]
    fn decided(&self, edition: u32) -> u64 {
        self.now.saturating_sub(u64::from((self.now as u32).wrapping_sub(edition)))
    }

    /// The editions of the policy that follows, which is not yet another.
    pub(super) fn next(&self, edition: u64) -> Editions {
        Editions { now: edition, ..self.clone() }
    }

    /// Notes that filters say otherwise.
    pub(super) fn filters(&mut self) {
        (self.filters, self.newest) = (self.now, self.now);
    }

    /// Notes that policy routes say otherwise.
    pub(super) fn steering(&mut self) {
        (self.steering, self.newest) = (self.now, self.now);
    }

    /// Notes that other hooks stand there.
    pub(super) fn hooks(&mut self) {
        (self.hooks, self.newest) = (self.now, self.now);
    }

    /// Notes that nothing holds any more.
    pub(super) fn everything(&mut self) {
        (self.everything, self.newest) = (self.now, self.now);
    }

    /// Notes that a prefix of some table leads elsewhere.
    pub(super) fn route(&mut self, prefix: IpNet) {
        self.newest = self.now;
        let length = u32::from(prefix.prefix_len());
        let number = number_of(prefix.network());
        match prefix {
            IpNet::V4(_) => note(&mut self.inet, &INET, number << 96, length, self.now),
            IpNet::V6(_) => note(&mut self.inet6, &INET6, number, length, self.now),
        }
    }
}

/// Notes an edition where all addresses of a prefix look; its bits are at the front of `bits`.
fn note(arrays: &mut [Arc<[u64; SLICES]>], widths: &[u32], bits: u128, length: u32, now: u64) {
    let level = widths.partition_point(|&width| width <= length).saturating_sub(1);
    let (Some(array), Some(&width)) = (arrays.get_mut(level), widths.get(level)) else { return };
    let first = slice(bits, width);
    let slices = 1 << width.saturating_sub(length);
    Arc::make_mut(array)[first..][..slices].fill(now);
}

/// The place of the first `width` bits of an address in an array.
#[inline]
const fn slice(bits: u128, width: u32) -> usize {
    let first = (bits >> (128 - width)) as u64;
    if width <= SLICE_BITS {
        return first as usize;
    }
    (first.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLICE_BITS)) as usize
}

#[cfg(test)]
mod tests;

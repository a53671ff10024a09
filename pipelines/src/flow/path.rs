//! Paths: what is remembered of the decisions about a packet.
//!
//! Nearly all connections share few paths, so each worker keeps every path once and an entry names
//! its own by number. The memory is fixed: a path that finds no place near its hash takes another's,
//! and whoever names that one has the decision taken again.

use sluice_hooks::RuleCounters;
use sluice_packet::Descriptor;
use sluice_policy::{NextHopId, Policy, Recorder, ResolvedNextHop, RuleSlot};

/// A path's number. Entries that have none say [`Paths::NONE`].
pub type PathId = u32;

/// Rules that may have counted a packet of one path: a counting one or two beside those that decide
/// at each of the three filters and among policy routes.
const RULES: usize = 8;

/// The rules that matched, in the order in which they did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    slots: [RuleSlot; RULES],
    used: u8,
}

impl Rules {
    /// Whether more rules matched than there is room for.
    pub(super) fn overflowed(&self) -> bool {
        usize::from(self.used) > RULES
    }

    /// Their slots.
    pub fn iter(&self) -> impl Iterator<Item = RuleSlot> {
        self.slots.into_iter().take(usize::from(self.used))
    }
}

impl Recorder for Rules {
    fn rule(&mut self, slot: RuleSlot, _: &Descriptor) {
        if let Some(place) = self.slots.get_mut(usize::from(self.used)) {
            *place = slot;
        }
        self.used = self.used.saturating_add(1);
    }
}

/// Where packets go and which rules they count at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Path {
    pub(super) hop: ResolvedNextHop,
    pub(super) rules: Rules,
    /// The MTU of the interface that they leave by.
    pub(super) mtu: u16,
    /// Who says that they go there.
    pub(super) by: By,
}

/// Who has chosen a way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    /// The router itself, by policy routes and tables.
    Policy,
    /// A hook that stands before the router's own decision, which was spared.
    HookAhead,
    /// A hook behind it.
    Hook,
}

/// A path in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) path: Path,
    /// The next hop's number in the policy of `edition`.
    pub(super) next_hop: NextHopId,
    edition: u32,
    /// The number that it goes by; who names the place by another means a path that is gone.
    id: PathId,
}

/// The paths of one worker.
pub(super) struct Paths {
    places: Box<[Kept]>,
    /// How often a place was given to another path.
    given: u32,
}

impl Paths {
    /// No path.
    pub(super) const NONE: PathId = 0;
    /// Paths that are remembered.
    const CAPACITY: usize = 1 << PLACE_BITS;
    /// Places from a path's own on that are looked at.
    const NEAR: usize = 4;

    pub(super) fn new() -> Paths {
        let nothing =
            Path { hop: ResolvedNextHop::NOWHERE, rules: Rules::default(), mtu: 0, by: By::Policy };
        let free = Kept { path: nothing, next_hop: NextHopId(0), edition: 0, id: Self::NONE };
        Paths { places: vec![free; Self::CAPACITY].into(), given: 0 }
    }

    /// The path of a number, if it is there and its next hop's number is one of this edition's.
    #[inline]
    pub(super) fn get(&self, id: PathId, edition: u32) -> Option<&Kept> {
        let kept = &self.places[place(id)];
        (kept.id == id && kept.edition == edition && id != Self::NONE).then_some(kept)
    }

    /// The path of a number, if it is there, whatever became of its next hop.
    pub(super) fn named(&self, id: PathId) -> Option<&Path> {
        let kept = &self.places[place(id)];
        (kept.id == id && id != Self::NONE).then_some(&kept.path)
    }

    /// The number of a path. Where there is no free place near its hash, another path goes.
    pub(super) fn take(&mut self, path: Path, policy: &Policy) -> Option<PathId> {
        let first = hash(&path) as usize;
        let near = || (first..first + Self::NEAR).map(|at| at & (Self::CAPACITY - 1));
        let known =
            near().find(|&at| self.places[at].id != Self::NONE && self.places[at].path == path);
        let edition = policy.edition() as u32;
        if let Some(at) = known
            && self.places[at].edition == edition
        {
            return Some(self.places[at].id);
        }
        let next_hop = policy.next_hop_id(&path.hop)?;
        let at = known
            .or_else(|| near().find(|&at| self.places[at].id == Self::NONE))
            .unwrap_or_else(|| (first + self.given as usize % Self::NEAR) & (Self::CAPACITY - 1));
        let id = if known.is_some() {
            self.places[at].id
        } else {
            // Never 0, whatever the place.
            self.given = (self.given + 1) % (u32::MAX >> PLACE_BITS);
            (self.given + 1) << PLACE_BITS | at as u32
        };
        self.places[at] = Kept { path, next_hop, edition, id };
        Some(id)
    }

    /// The next hop's number of this policy for a path that was last used under another. `None`
    /// when path or next hop are gone.
    pub(super) fn renew(&mut self, id: PathId, policy: &Policy) -> Option<NextHopId> {
        let kept = &mut self.places[place(id)];
        if kept.id != id || id == Self::NONE {
            return None;
        }
        let edition = policy.edition() as u32;
        if kept.edition != edition {
            kept.next_hop = policy.next_hop_id(&kept.path.hop)?;
            kept.edition = edition;
        }
        Some(kept.next_hop)
    }

    /// Whether packets of the path count at some rule.
    #[inline]
    pub(super) fn counts(&self, id: PathId) -> bool {
        self.places[place(id)].path.rules.used > 0
    }

    /// Counts packets at the rules of their path.
    #[inline]
    pub(super) fn count(
        &self,
        id: PathId,
        packets: u64,
        bytes: u64,
        counters: &mut RuleCounters<'_>,
    ) {
        let kept = &self.places[place(id)];
        if kept.id == id {
            kept.path.rules.iter().for_each(|slot| counters.rule_of_many(slot, packets, bytes));
        }
    }
}

/// So many low bits of a path's number are its place.
const PLACE_BITS: u32 = 14;

#[inline]
fn place(id: PathId) -> usize {
    id as usize & (Paths::CAPACITY - 1)
}

/// Spreads paths. They come from policy, so nobody can aim.
fn hash(path: &Path) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let via = path.hop.via.unwrap_or(1);
    let seed = via as u64 ^ (via >> 64) as u64 ^ u64::from(path.hop.interface.0).rotate_left(48);
    let mixed = path
        .rules
        .iter()
        .fold(seed, |hash, slot| (hash ^ u64::from(slot.0)).wrapping_mul(ODD).rotate_left(23));
    mixed.wrapping_mul(ODD) >> 32
}

//! Looking a burst up, in passes: while one packet's cache line is on its way, the next one's is
//! asked for.

use sluice_packet::{Descriptor, Mask, protocol};

use super::Table;
use super::track::carry;
use crate::half::{Half, HalfId};
use crate::key::{self, Key};
use crate::prefetch::prefetch;

/// Packets of a burst at most.
pub(super) const BURST: usize = 64;

/// What one pass leaves for the next.
pub(super) struct Scratch {
    hashes: [u64; BURST],
    tails: [u64; BURST],
    candidates: [u32; BURST],
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch { hashes: [0; BURST], tails: [0; BURST], candidates: [0; BURST] }
    }
}

impl Table {
    /// Looks the packets of a burst up, all of one instance. `found` gets the half of each of
    /// `packets`, or [`HalfId::NONE`]; other places are left as they are. A connection that has been
    /// idle too long is not found any more.
    #[inline]
    pub fn find<'a>(
        &mut self,
        packets: Mask,
        instance: u16,
        now: u64,
        descriptor: impl Fn(usize) -> &'a Descriptor,
        found: &mut [HalfId; BURST],
    ) {
        self.recognise(packets, instance, now, descriptor, found, |_, _, _| false);
    }

    /// [`Table::find`] that asks, while a half is at hand, whether its packet moves nothing but
    /// counters and is to be noted at once: `is_known` says so of a slot. Then
    /// [`Table::track`] is not to be asked about it.
    #[inline]
    pub fn recognise<'a>(
        &mut self,
        packets: Mask,
        instance: u16,
        now: u64,
        descriptor: impl Fn(usize) -> &'a Descriptor,
        found: &mut [HalfId; BURST],
        mut is_known: impl FnMut(usize, &Half, &Descriptor) -> bool,
    ) {
        let Table { scratch, hasher, index, halves, states, totals, .. } = self;
        let Scratch { hashes, tails, candidates } = &mut **scratch;
        let mut keyed = packets;
        for slot in packets {
            let d = descriptor(slot);
            let slot = slot % BURST;
            found[slot] = HalfId::NONE;
            match key::tail(d, instance) {
                Some(tail) => {
                    let hash = hasher.hash_of(d, tail);
                    index.prefetch(hash);
                    (hashes[slot], tails[slot]) = (hash, tail);
                }
                None => keyed.remove(slot),
            }
        }
        let mut likely = keyed;
        let mut open = Mask::EMPTY;
        for slot in keyed {
            let slot = slot % BURST;
            match index.candidate(hashes[slot]) {
                Some(candidate) => {
                    candidates[slot] = candidate;
                    prefetch(&halves[candidate as usize]);
                    if (tails[slot] >> 32) as u8 == protocol::TCP {
                        prefetch(&states[candidate as usize / 2]);
                    }
                }
                None => {
                    likely.remove(slot);
                    if index.passes(hashes[slot]) {
                        open.insert(slot);
                    }
                }
            }
        }
        let tick = self.clock.tick(now);
        let mut stale = Mask::EMPTY;
        for slot in likely {
            let d = descriptor(slot);
            let slot = slot % BURST;
            let id = HalfId(candidates[slot]);
            let half = &mut halves[id.index()];
            if half.key.is_of(d, tails[slot]) {
                found[slot] = id;
                if tick.wrapping_sub(half.seen) > self.shortest {
                    stale.insert(slot);
                } else if is_known(slot, half, d) && half.note(d.l3_length, tick) {
                    carry(half, &mut totals[id.connection() as usize][id.side()]);
                }
            } else {
                open.insert(slot);
            }
        }
        if !(open | stale).is_empty() {
            self.find_rest(open, stale, tick, descriptor, found);
        }
    }

    /// Fetches what [`Table::insert`] will touch, for packets of a burst that begin connections. It
    /// changes nothing.
    pub fn prepare<'a>(
        &self,
        packets: Mask,
        instance: u16,
        descriptor: impl Fn(usize) -> &'a Descriptor,
    ) {
        let spare = self.spare[..self.free].iter().rev();
        for (slot, &connection) in packets.into_iter().zip(spare) {
            let connection = connection as usize;
            prefetch(&self.halves[2 * connection]);
            prefetch(&self.halves[2 * connection + 1]);
            prefetch(&self.states[connection]);
            if let Some(key) = Key::of(descriptor(slot), instance) {
                self.index.prefetch(self.hasher.hash(&key.reply()));
            }
        }
        // Of a full table those who go make room, one by one.
        for slot in packets.into_iter().skip(self.free) {
            if let Some(key) = Key::of(descriptor(slot), instance) {
                self.index.prefetch(self.hasher.hash(&key.reply()));
            }
        }
    }

    /// Those whose tag is another's as well, or which are in their second bucket; and those which
    /// may have been idle too long.
    #[cold]
    #[inline(never)]
    fn find_rest<'a>(
        &mut self,
        open: Mask,
        mut stale: Mask,
        tick: u32,
        descriptor: impl Fn(usize) -> &'a Descriptor,
        found: &mut [HalfId; BURST],
    ) {
        for slot in open {
            let d = descriptor(slot);
            let tail = self.scratch.tails[slot];
            let is_it = |half: u32| self.halves[half as usize].key.is_of(d, tail);
            if let Some(half) = self.index.find(self.scratch.hashes[slot], is_it) {
                found[slot] = HalfId(half);
                stale.insert(slot);
            }
        }
        for slot in stale {
            if !self.is_alive(found[slot].connection(), tick) {
                found[slot] = HalfId::NONE;
            }
        }
    }
}

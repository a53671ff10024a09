//! Making room.

use super::Table;
use crate::clock::elapsed;
use crate::half::HalfId;
use crate::phase::Class;
use crate::prefetch::prefetch;
use crate::state::NOBODY;

/// Seconds after which an answered connection of a protocol without connections may go.
const IDLE_SECONDS: u32 = 30;
/// Connections of class [`Class::Idle`] that are looked at for one that may go.
const LOOKS: usize = 8;

/// Evictions that pass before what is fetched of a connection is needed: its buckets, and the lines
/// that say which buckets they are.
const BUCKETS_AHEAD: usize = 4;
const LINES_AHEAD: usize = 8;

impl Table {
    /// Takes the oldest half-open connection out, else the oldest that is closing, else the oldest
    /// that is idle. `false` if there is none.
    #[cold]
    pub(super) fn evict(&mut self, tick: u32) -> bool {
        for class in [Class::HalfOpen, Class::Closing] {
            if let Some(connection) = self.lists.oldest(class) {
                self.evict_one(connection, class);
                self.expect_eviction(class);
                return true;
            }
        }
        let patience = self.clock.ticks(IDLE_SECONDS);
        for _ in 0..LOOKS {
            let Some(connection) = self.lists.oldest(Class::Idle) else { return false };
            if self.idle(connection, tick) >= patience {
                self.evict_one(connection, Class::Idle);
                return true;
            }
            // It is in use: it is asked again when all others were.
            self.lists.take(&mut self.states, Class::Idle, connection);
            self.lists.push(&mut self.states, Class::Idle, connection);
        }
        false
    }

    /// Who goes soon, as far as the list says: of those who go in some turns the lines are fetched, and
    /// of those before them, whose lines are at hand, the buckets.
    #[inline]
    fn expect_eviction(&self, class: Class) {
        let next = |connection: u32| Some(self.states.get(connection as usize)?.next);
        let mut coming = self.lists.oldest(class);
        for _ in 0..BUCKETS_AHEAD {
            coming = coming.and_then(next);
        }
        let Some(near) = coming.filter(|&near| near != NOBODY) else { return };
        self.expect_end(near);
        for _ in BUCKETS_AHEAD..LINES_AHEAD {
            coming = coming.and_then(next);
        }
        let Some(far) = coming.filter(|&far| far != NOBODY) else { return };
        prefetch(&self.halves[2 * far as usize]);
        prefetch(&self.halves[2 * far as usize + 1]);
        if let Some(state) = self.states.get(self.states[far as usize].next as usize) {
            prefetch(state);
        }
    }

    /// Takes out of two full buckets what goes first by class, and of the class the oldest, but
    /// never `own`, which is being made. `false` if all that is there must stay.
    #[cold]
    pub(super) fn evict_neighbour(&mut self, hash: u64, own: u32, tick: u32) -> bool {
        let (halves, count) = self.index.neighbours(hash);
        let halves = &halves[..count];
        for &half in halves {
            prefetch(&self.states[HalfId(half).connection() as usize]);
        }
        let patience = self.clock.ticks(IDLE_SECONDS);
        // By class and age in one number: the smallest goes.
        let mut first = (u64::MAX, 0, Class::Open);
        for &half in halves {
            let connection = HalfId(half).connection();
            let state = &self.states[connection as usize];
            let class = state.tcp.phase().class();
            let stays = class == Class::Open
                || connection == own
                || class == Class::Idle && self.idle(connection, tick) < patience;
            let age = u64::from(u32::MAX - elapsed(tick, state.created));
            let rank = if stays { u64::MAX } else { u64::from(class as u8) << 32 | age };
            if rank < first.0 {
                first = (rank, connection, class);
            }
        }
        let (rank, connection, class) = first;
        if rank != u64::MAX {
            self.evict_one(connection, class);
        }
        rank != u64::MAX
    }

    fn evict_one(&mut self, connection: u32, class: Class) {
        self.forget(connection);
        match class {
            Class::HalfOpen => self.counters.evicted_half_open += 1,
            Class::Closing => self.counters.evicted_closing += 1,
            Class::Idle | Class::Open => self.counters.evicted_idle += 1,
        }
    }
}

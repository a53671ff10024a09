//! The clock hand: what is idle too long goes.

use super::Table;
use crate::half::{Half, HalfId};
use crate::prefetch::prefetch;
use crate::state::NOBODY;

/// How often the hand goes round in a second, at most: once in two.
const ROUND_SECONDS: u64 = 2;

/// What becomes of a connection that the hand comes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It ends.
    End,
}

/// Where the hand stands.
pub(super) struct Hand {
    place: u32,
    /// Counts of the clock for one round.
    round: u64,
    /// When it last moved.
    moved: u64,
    started: bool,
}

impl Hand {
    pub(super) fn new(hertz: u64) -> Hand {
        Hand {
            place: 0,
            round: hertz.max(1).saturating_mul(ROUND_SECONDS),
            moved: 0,
            started: false,
        }
    }

    /// How many of `slots` slots the hand is to go by; no more than `budget`, and no more than all.
    fn steps(&mut self, now: u64, slots: u32, budget: usize) -> u32 {
        if !self.started || now < self.moved {
            // The clock begins, or went back: from here on.
            (self.started, self.moved) = (true, now);
            return 0;
        }
        let since = now - self.moved;
        if since >= self.round {
            // After a standstill one round makes up for all.
            self.moved = now - self.round;
        }
        let due = u128::from(since.min(self.round)) * u128::from(slots) / u128::from(self.round);
        let steps = (due as u64).min(budget as u64);
        // What these steps stand for; rounded up, so that it is never more than has gone by twice.
        let took = u128::from(steps) * u128::from(self.round) / u128::from(slots);
        self.moved += took as u64;
        steps as u32
    }
}

impl Table {
    /// Moves the clock hand, which goes round once in about two seconds, by no more than `budget`
    /// slots. What has been idle too long ends. Of all else both halves are shown to `visit`, which
    /// may judge them anew, and end the connection.
    ///
    /// To be called once a turn, whether there were packets or not. After a standstill the hand is
    /// late by one round at most, whatever the clock says.
    #[inline]
    pub fn tend(
        &mut self,
        now: u64,
        budget: usize,
        mut visit: impl FnMut(HalfId, &mut Half) -> Fate,
    ) {
        let steps = self.hand.steps(now, self.capacity(), budget);
        if steps == 0 {
            return;
        }
        let tick = self.clock.tick(now);
        let mut dead = Dead::default();
        let mut left = steps;
        while left > 0 {
            let place = self.hand.place;
            let bit = place % 64;
            let here = (64 - bit).min(left).min(self.capacity() - place);
            let mask = if here == 64 { u64::MAX } else { (1 << here) - 1 };
            let mut used = self.used[place as usize / 64] >> bit & mask;
            while used != 0 {
                let connection = place + used.trailing_zeros();
                used &= used - 1;
                if self.is_alive(connection, tick) {
                    self.show(connection, tick, &mut visit);
                } else if dead.push(connection) {
                    self.expect_end(connection);
                } else {
                    self.bury(&mut dead);
                    self.remove_aged(connection);
                }
            }
            left -= here;
            self.hand.place = if place + here == self.capacity() { 0 } else { place + here };
        }
        self.bury(&mut dead);
    }

    fn show(
        &mut self,
        connection: u32,
        tick: u32,
        visit: &mut impl FnMut(HalfId, &mut Half) -> Fate,
    ) {
        let first = HalfId(2 * connection);
        for id in [first, first.other()] {
            let half = &mut self.halves[id.index()];
            // A clock that went back has left what is later than now: it counts from now.
            if (half.seen.wrapping_sub(tick) as i32) > 0 {
                half.seen = tick;
            }
            if visit(id, half) == Fate::End {
                self.remove(id);
                return;
            }
        }
    }

    /// Fetches what [`Table::forget`] will touch of a connection whose own lines are at hand.
    #[inline]
    pub(super) fn expect_end(&self, connection: u32) {
        let first = HalfId(2 * connection);
        for id in [first, first.other()] {
            self.index.prefetch(self.hasher.hash(&self.halves[id.index()].key));
        }
        let state = &self.states[connection as usize];
        for neighbour in [state.previous, state.next] {
            if neighbour != NOBODY {
                prefetch(&self.states[neighbour as usize]);
            }
        }
    }

    fn bury(&mut self, dead: &mut Dead) {
        for &connection in &dead.connections[..dead.count] {
            self.remove_aged(connection);
        }
        dead.count = 0;
    }
}

/// Connections that the hand has found to be over: they are taken out together, so that the misses of
/// one overlap with those of the others.
#[derive(Default)]
struct Dead {
    connections: [u32; 32],
    count: usize,
}

impl Dead {
    fn push(&mut self, connection: u32) -> bool {
        let Some(place) = self.connections.get_mut(self.count) else { return false };
        *place = connection;
        self.count += 1;
        true
    }
}

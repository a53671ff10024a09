//! What the agent wants of a worker's connections: to see them, to find one, to end some.
//!
//! An errand comes with room for its answer and goes back with it, so that the worker neither
//! allocates nor frees, and does a bounded part at a time: the agent asks on from where it ended.

use sluice_channel::statistics::FlowCounters;
use sluice_flow::{Connection, Count, Half, Key, Phase, Table};
use sluice_packet::Descriptor;
use sluice_policy::{InterfaceId, Moved, Policy, ResolvedNextHop};

use super::Flows;
use super::path::{Paths, Rules};

/// Connections that are shown in one turn of the worker.
const ROOM: usize = 256;
/// Places of the table that are looked at for them.
const PLACES: u32 = 4096;

/// What is wanted.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Wanted {
    /// The connections from a place of the table on.
    From(u32),
    /// The connection of a packet of an instance.
    Of(u16, Descriptor),
    /// The end of those that stand in [`Errand::records`].
    End,
}

/// What is wanted, and room for the answer.
#[derive(Debug)]
pub struct Errand {
    /// What is wanted.
    pub wanted: Wanted,
    /// Connections: those that were found, or are to end.
    pub records: Vec<FlowRecord>,
    /// Of a listing, the place where it goes on; `None` at the end of the table.
    pub next: Option<u32>,
    /// How many were ended: others that were to be had ended by themselves.
    pub ended: u32,
}

impl Default for Errand {
    fn default() -> Errand {
        let records = Vec::with_capacity(ROOM);
        Errand { wanted: Wanted::End, records, next: None, ended: 0 }
    }
}

/// A connection as it was at one moment.
#[derive(Clone, Copy, Debug)]
pub struct FlowRecord {
    /// Its place in the table.
    pub place: u32,
    /// The key of who began.
    pub key: Key,
    /// Where it stands.
    pub phase: Phase,
    /// Packets and bytes: of who began, and of the answers.
    pub counts: [Count; 2],
    /// Seconds since it began.
    pub age: f64,
    /// Seconds since its last packet.
    pub idle: f64,
    /// Seconds that it may be silent.
    pub patience: f64,
    /// What is remembered of the way of both directions.
    pub ways: [Option<KnownWay>; 2],
}

/// The way of packets of one direction of a connection.
#[derive(Clone, Copy, Debug)]
pub struct KnownWay {
    /// The interface that they come in by.
    pub ingress: InterfaceId,
    /// The neighbour that they are handed to, and by which interface.
    pub hop: ResolvedNextHop,
    /// The rules that they count at.
    pub rules: Rules,
}

impl Flows {
    /// Does what is wanted, or a part of it.
    pub fn run(&mut self, errand: &mut Errand, policy: &Policy, now: u64) {
        let Errand { wanted, records, next, ended } = errand;
        (*next, *ended) = (None, 0);
        if *wanted != Wanted::End {
            records.clear();
        }
        match *wanted {
            Wanted::From(place) => *next = self.list(place, records, policy, now),
            Wanted::Of(instance, ref d) => {
                let found = self.table.of_packet(d, instance, now);
                records.extend(found.map(|c| self.record(&c, policy)));
            }
            Wanted::End => {
                for record in records {
                    *ended += u32::from(self.table.remove_named(record.place, &record.key));
                }
            }
        }
    }

    fn list(
        &self,
        from: u32,
        records: &mut Vec<FlowRecord>,
        policy: &Policy,
        now: u64,
    ) -> Option<u32> {
        let mut next = Some(from);
        let mut places = 0;
        while let Some(from) = next {
            // As many places as there is room: no connection is left out.
            let room = (records.capacity() - records.len()) as u32;
            if room == 0 || places >= PLACES {
                break;
            }
            places += room;
            next = self.table.list(from, room, now, |c| {
                // What the clock hand has not come by yet is over all the same.
                if c.idle <= self.table.patience(c.phase) {
                    records.push(self.record(&c, policy));
                }
            });
        }
        next
    }

    fn record(&self, c: &Connection<'_>, policy: &Policy) -> FlowRecord {
        FlowRecord {
            place: c.id.connection(),
            key: *c.original.key(),
            phase: c.phase,
            counts: c.counts,
            age: c.age,
            idle: c.idle,
            patience: self.table.patience(c.phase),
            ways: [c.original, c.reply].map(|half| way(half, &self.paths, policy)),
        }
    }

    /// Writes down what the table counts.
    #[inline]
    pub(crate) fn report(&self, to: &FlowCounters) {
        report(&self.table, to);
    }
}

/// What is remembered of a direction. What was decided by rules or links that have moved since is
/// decided anew soon, and not told until then: its numbers may mean others.
fn way(half: &Half, paths: &Paths, policy: &Policy) -> Option<KnownWay> {
    let path = paths.named(half.path)?;
    let key = half.key().flow_key();
    let moved = policy.moved().since(half.edition, key.family, key.dst);
    Moved::ROUTES.contains(moved).then_some(KnownWay {
        ingress: InterfaceId(half.ingress),
        hop: path.hop,
        rules: path.rules,
    })
}

fn report(table: &Table, to: &FlowCounters) {
    let counters = table.counters();
    to.capacity.set(table.capacity().into());
    to.in_use.set(counters.connections.into());
    to.half_open.set(counters.half_open.into());
    to.inserted.set(counters.inserted);
    to.aged.set(counters.aged);
    to.killed.set(counters.removed);
    to.evicted_half_open.set(counters.evicted_half_open);
    to.evicted_closing.set(counters.evicted_closing);
    to.evicted_idle.set(counters.evicted_idle);
    to.full.set(counters.full);
}

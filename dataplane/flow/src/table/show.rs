//! What whoever watches over the table wants to know of it, and do to it.

use sluice_packet::Descriptor;

use super::{Connection, Table};
use crate::half::HalfId;
use crate::key::Key;
use crate::phase::Phase;

impl Table {
    /// The connection that a packet belongs to, whichever its direction is.
    pub fn of_packet(&self, d: &Descriptor, instance: u16, now: u64) -> Option<Connection<'_>> {
        let key = Key::of(d, instance)?;
        let id = self.lookup(self.hasher.hash(&key), &key)?;
        let alive = self.is_alive(id.connection(), self.clock.tick(now));
        alive.then(|| self.connection(id.connection(), now))
    }

    /// How many seconds a connection may be silent.
    pub fn patience(&self, phase: Phase) -> f64 {
        self.clock.seconds(self.patience[phase as usize])
    }

    /// Ends a connection by its number, if a direction of it has this key. Whether it did.
    pub fn remove_named(&mut self, connection: u32, key: &Key) -> bool {
        if connection >= self.capacity() || !self.is_used(connection) {
            return false;
        }
        let id = HalfId(2 * connection);
        let is_it = [id, id.other()].iter().any(|half| self.half(*half).key() == key);
        if is_it {
            self.remove(id);
        }
        is_it
    }
}

#[cfg(test)]
mod tests {
    use sluice_packet::{Family, FlowKey, protocol};

    use super::*;
    use crate::table::Limits;

    fn packet(src: u128, dst: u128, ports: (u16, u16)) -> Descriptor {
        let (src_port, dst_port) = ports;
        let family = Family::Inet;
        let key = FlowKey { src, dst, src_port, dst_port, protocol: protocol::UDP, family };
        Descriptor { key, l3_length: 100, ..Descriptor::default() }
    }

    #[test]
    fn a_packet_of_either_direction_shows_its_connection() {
        let mut table = Table::new(Limits::connections(16), [1, 2], 1000).unwrap();
        let (there, back) = (packet(1, 2, (10, 53)), packet(2, 1, (53, 10)));
        assert!(table.of_packet(&there, 0, 0).is_none());
        table.insert(&there, 0, None, 0).unwrap();
        for d in [&there, &back] {
            let found = table.of_packet(d, 0, 0).unwrap();
            assert_eq!(found.phase, Phase::Udp);
            assert_eq!((found.original.key().flow_key(), found.counts[0].packets), (there.key, 1));
        }
        assert!(table.of_packet(&there, 1, 0).is_none(), "another instance");
        let patience = table.patience(Phase::Udp);
        assert!((30.0..31.0).contains(&patience), "{patience}");
        assert!(table.of_packet(&there, 0, 40_000).is_none(), "silent for too long");
    }

    #[test]
    fn a_connection_is_ended_only_if_it_is_the_one_that_is_meant() {
        let mut table = Table::new(Limits::connections(16), [1, 2], 1000).unwrap();
        let (one, other) = (packet(1, 2, (10, 53)), packet(3, 2, (10, 53)));
        let id = table.insert(&one, 0, None, 0).unwrap().id;
        let key = *table.half(id).key();
        let wrong = Key::of(&other, 0).unwrap();
        assert!(!table.remove_named(id.connection(), &wrong));
        assert!(!table.remove_named(id.connection() + 1, &key));
        assert!(!table.remove_named(u32::MAX, &key));
        assert!(table.remove_named(id.connection(), &key));
        assert!(!table.remove_named(id.connection(), &key), "it is gone");
        assert!(table.of_packet(&one, 0, 0).is_none());
        assert_eq!((table.counters().connections, table.counters().removed), (0, 1));
        // By the key of the direction that answers, too.
        let id = table.insert(&one, 0, None, 0).unwrap().id;
        let reply = *table.half(id.other()).key();
        assert!(table.remove_named(id.connection(), &reply));
    }
}

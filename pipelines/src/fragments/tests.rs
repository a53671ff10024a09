//! The table of first fragments beside the plainest form of it, and what floods cannot do.

use std::collections::HashMap;

use proptest::prelude::*;

use super::table::{CAPACITY, Datagram, First, PER_SOURCE, Table};

const SECOND: u64 = 1000;
const KEPT: u64 = 2 * SECOND;

fn datagram(src: u128, identification: u32) -> Datagram {
    Datagram { src, dst: 9, identification, protocol: 17, ..Datagram::default() }
}

fn first(port: u16) -> First {
    First { protocol: 17, src_port: port, dst_port: 53 }
}

/// How many of the datagrams with these identifications are known.
fn known(table: &Table, src: u128, identifications: std::ops::Range<u32>, now: u64) -> usize {
    identifications.filter(|&id| table.find(&datagram(src, id), now).is_some()).count()
}

#[test]
fn f16_a_fragment_bomb_takes_places_from_its_sender_alone() {
    let mut table = Table::default();
    for source in 0..8 {
        for id in 0..4 {
            table.learn(datagram(1000 + source, id), first(id as u16), 0, KEPT);
        }
    }
    for id in 0..100_000 {
        table.learn(datagram(1, id), first(1), 1, 1 + KEPT);
    }
    for source in 0..8 {
        assert_eq!(known(&table, 1000 + source, 0..4, 2), 4, "source {source}");
    }
    assert_eq!(known(&table, 1, 0..100_000, 2), PER_SOURCE);
    // What came last is known.
    assert_eq!(known(&table, 1, 100_000 - PER_SOURCE as u32..100_000, 2), PER_SOURCE);
    // Many sources: no more than there is room for, and the next one is served all the same.
    for source in 0..100_000 {
        table.learn(datagram(5_000_000 + source, 0), first(1), 2, 2 + KEPT);
    }
    let all = (0..100_000).filter(|s| known(&table, 5_000_000 + s, 0..1, 3) == 1).count();
    assert!(all <= CAPACITY, "{all}");
    table.learn(datagram(77, 7), first(7), 3, 3 + KEPT);
    assert_eq!(table.find(&datagram(77, 7), 4), Some(first(7)));
    // Duplicates take one place.
    let mut table = Table::default();
    (0..100_000).for_each(|_| table.learn(datagram(1, 1), first(1), 0, KEPT));
    table.learn(datagram(1, 2), first(2), 0, KEPT);
    assert_eq!(known(&table, 1, 0..3, 1), 2);
}

proptest! {
    /// As long as no source has more than its share, the table is a map whose entries expire.
    #[test]
    fn it_is_a_map_that_forgets(
        steps in prop::collection::vec((0..4_u128, 0..8_u32, any::<u16>(), 0..SECOND, any::<bool>()), 1..200),
    ) {
        let mut table = Table::default();
        let mut model: HashMap<Datagram, (First, u64)> = HashMap::new();
        let mut now = 1;
        for (src, id, port, passes, learns) in steps {
            now += passes;
            let of = datagram(src, id);
            if learns {
                table.learn(of, first(port), now, now + KEPT);
                model.insert(of, (first(port), now + KEPT));
            }
            let expected = model.get(&of).filter(|(_, until)| *until > now).map(|(first, _)| *first);
            prop_assert_eq!(table.find(&of, now), expected);
        }
    }

    /// Whatever is found was said by the first fragment of that very datagram, and said last.
    #[test]
    fn nothing_is_made_up(ids in prop::collection::vec((0..3_u128, 0..200_u32, any::<u16>()), 1..600)) {
        let mut table = Table::default();
        let mut model: HashMap<Datagram, First> = HashMap::new();
        for (now, (src, id, port)) in ids.into_iter().enumerate() {
            let of = datagram(src, id);
            table.learn(of, first(port), now as u64, now as u64 + KEPT);
            model.insert(of, first(port));
            prop_assert_eq!(table.find(&of, now as u64), Some(first(port)));
        }
        for src in 0..3 {
            for of in (0..200).map(|id| datagram(src, id)) {
                let found = table.find(&of, 600);
                prop_assert!(found.is_none() || found == model.get(&of).copied());
            }
        }
    }
}

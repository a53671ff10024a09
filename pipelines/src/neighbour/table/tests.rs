use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;

const LAN: InterfaceId = InterfaceId(1);

fn key(address: u128) -> NeighbourKey {
    NeighbourKey { interface: LAN, family: Family::Inet, address }
}

fn mac(n: u64) -> [u8; 6] {
    let [_, _, b, c, d, e, f, g] = n.to_be_bytes();
    [b & 0xfe, c, d, e, f, g]
}

/// Looks up without leaving a mark.
fn peek(writer: &TableWriter, key: &NeighbourKey) -> Option<Entry> {
    writer.find(key).and_then(|slot| writer.entry(slot))
}

#[test]
fn an_entry_is_found_until_it_is_removed() {
    let (table, mut writer) = NeighbourTable::new(16);
    assert_eq!(table.lookup(LAN, Family::Inet, 7), None);
    let slot = writer.insert(&key(7), mac(1), State::Reachable, 0).unwrap();
    let found = table.lookup(LAN, Family::Inet, 7).unwrap();
    assert_eq!((found.slot, found.mac, found.state), (slot, mac(1), State::Reachable));
    assert_eq!(table.read(slot), Some(found));
    assert_eq!(table.lookup(InterfaceId(2), Family::Inet, 7), None, "another interface");
    assert_eq!(table.lookup(LAN, Family::Inet6, 7), None, "another family");
    assert_eq!(table.lookup(LAN, Family::Inet, 7 | 1 << 100), None, "another upper half");
    writer.remove(slot);
    assert_eq!(table.lookup(LAN, Family::Inet, 7), None);
    assert_eq!(table.read(slot), None);
}

#[test]
fn a_new_mac_keeps_the_tag_and_a_new_neighbour_changes_it() {
    let (table, mut writer) = NeighbourTable::new(16);
    let slot = writer.insert(&key(7), mac(1), State::Reachable, 0).unwrap();
    let before = table.read(slot).unwrap();
    writer.set(slot, mac(2), State::Stale, 0);
    let after = table.read(slot).unwrap();
    assert_eq!((after.tag, after.mac, after.state), (before.tag, mac(2), State::Stale));
    writer.remove(slot);
    assert_eq!(writer.insert(&key(7), mac(2), State::Stale, 0), Ok(slot));
    assert_ne!(table.read(slot).unwrap().tag, before.tag);
}

#[test]
fn lookup_and_read_mark_an_entry_as_used() {
    let (table, mut writer) = NeighbourTable::new(16);
    let slot = writer.insert(&key(7), mac(1), State::Stale, 0).unwrap();
    assert!(!writer.take_used(slot));
    table.lookup(LAN, Family::Inet, 7);
    assert!(writer.take_used(slot));
    assert!(!writer.take_used(slot));
    table.read(slot);
    writer.set(slot, mac(1), State::Stale, 0);
    assert!(!writer.take_used(slot), "entering Stale clears the mark");
}

/// Fills a table of `limit` entries with neighbours in use.
fn full(limit: u32) -> (Arc<NeighbourTable>, TableWriter) {
    let (table, mut writer) = NeighbourTable::new(limit);
    for n in 0..limit {
        writer.insert(&key(n.into()), mac(n.into()), State::Reachable, 10).unwrap();
    }
    (table, writer)
}

#[test]
fn at_the_limit_the_oldest_failed_entry_goes_then_the_oldest_unused_stale_one() {
    let (table, mut writer) = full(64);
    let set = |writer: &mut TableWriter, n: u64, state, now| {
        let slot = writer.find(&key(n.into())).unwrap();
        writer.set(slot, mac(n), state, now);
    };
    set(&mut writer, 1, State::Stale, 1);
    set(&mut writer, 2, State::Stale, 2);
    set(&mut writer, 3, State::Failed, 4);
    set(&mut writer, 4, State::Failed, 3);
    set(&mut writer, 5, State::Static, 0);
    table.lookup(LAN, Family::Inet, 1);
    for (newcomer, victim) in [(100, 4), (101, 3), (102, 2)] {
        writer.insert(&key(newcomer), mac(9), State::Reachable, 20).unwrap();
        assert_eq!(peek(&writer, &key(victim)), None, "{victim} went for {newcomer}");
        assert_eq!(writer.len(), 64);
    }
    assert_eq!(writer.evicted(), 3);
    let refused = writer.insert(&key(103), mac(9), State::Reachable, 20);
    assert_eq!(refused, Err(TableFull { limit: 64 }));
    assert_eq!(writer.refused(), 1);
    assert!(peek(&writer, &key(1)).is_some(), "stale, but in use");
    assert!(peek(&writer, &key(5)).is_some(), "static");
}

#[test]
fn conformance_15_a_scan_leaves_known_neighbours_and_room_for_those_that_speak() {
    let (table, mut writer) = NeighbourTable::new(128);
    for n in 0..32 {
        writer.insert(&key(n), mac(n as u64), State::Reachable, 0).unwrap();
    }
    for n in 0..65_536 {
        let _ = writer.insert(&key(0x0a00_0000 + n), [0; 6], State::Incomplete, 1);
    }
    assert!(writer.len() <= 32 + 64, "unresolved entries have half of the limit");
    for n in 0..32 {
        assert_eq!(table.lookup(LAN, Family::Inet, n).unwrap().mac, mac(n as u64));
    }
    writer.insert(&key(40), mac(40), State::Stale, 2).unwrap();
    // A failed entry makes room for the next address asked for.
    let failed = writer.entries().find(|e| e.state == State::Incomplete).unwrap();
    writer.set(failed.slot, [0; 6], State::Failed, 3);
    writer.insert(&key(0x0b00_0000), [0; 6], State::Incomplete, 4).unwrap();
    assert_eq!(peek(&writer, &failed.key), None);
}

#[test]
fn a_table_of_any_seed_takes_its_limit() {
    for _ in 0..50 {
        let (_, mut writer) = NeighbourTable::new(4096);
        let refused = (0..4096u128)
            .filter(|n| writer.insert(&key(0x0a00_0000 + n), mac(1), State::Static, 0).is_err())
            .count();
        assert!(refused <= 4, "{refused} of 4096 entries met two full buckets");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u8, State),
    Set(u8, State),
    Remove(u8),
    Use(u8),
}

fn state() -> impl Strategy<Value = State> {
    (1u8..=7).prop_map(|bits| State::from_bits(bits).unwrap())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u8>(), state()).prop_map(|(n, state)| Step::Insert(n, state)),
        2 => (any::<u8>(), state()).prop_map(|(n, state)| Step::Set(n, state)),
        1 => any::<u8>().prop_map(Step::Remove),
        1 => any::<u8>().prop_map(Step::Use),
    ]
}

proptest! {
    /// Against a map: every entry is found with what was last written, nothing that must stay
    /// ever goes, and the bounds hold.
    #[test]
    fn behaves_as_a_map_that_forgets_only_what_may_go(
        steps in proptest::collection::vec(step(), 1..400),
        limit in 2u32..64,
    ) {
        let (table, mut writer) = NeighbourTable::new(limit);
        let mut model: HashMap<u8, (u64, State, bool)> = HashMap::new();
        for (now, step) in steps.into_iter().enumerate() {
            let now = now as u64;
            match step {
                Step::Insert(n, state) if !model.contains_key(&n) => {
                    if writer.insert(&key(n.into()), mac(now), state, now).is_ok() {
                        model.insert(n, (now, state, false));
                    }
                    // What is gone now was evicted: it must have been allowed to go.
                    model.retain(|&n, &mut (_, state, used)| {
                        let stays = writer.find(&key(n.into())).is_some();
                        assert!(
                            stays || state == State::Failed || state == State::Stale && !used,
                            "{n} went though {state:?}, used: {used}"
                        );
                        stays
                    });
                }
                Step::Set(n, state) => if let Some(entry) = model.get_mut(&n) {
                    writer.set(writer.find(&key(n.into())).unwrap(), mac(now), state, now);
                    *entry = (now, state, entry.2 && state != State::Stale);
                },
                Step::Remove(n) => if model.remove(&n).is_some() {
                    writer.remove(writer.find(&key(n.into())).unwrap());
                },
                Step::Use(n) => {
                    let found = table.lookup(LAN, Family::Inet, n.into());
                    prop_assert_eq!(found.is_some(), model.contains_key(&n));
                    if let Some(entry) = model.get_mut(&n) {
                        entry.2 = true;
                    }
                }
                Step::Insert(..) => {}
            }
            prop_assert_eq!(writer.len(), model.len());
            prop_assert_eq!(writer.entries().count(), model.len());
            prop_assert!(writer.len() <= limit as usize);
            for (&n, &(written, state, _)) in &model {
                let found = peek(&writer, &key(n.into())).unwrap();
                prop_assert_eq!((found.state, found.since), (state, written));
                prop_assert_eq!(found.mac, state.usable().then_some(mac(written)));
            }
        }
        let unresolved = writer.entries().filter(|e| !e.state.usable()).count();
        prop_assert_eq!(unresolved, writer.unresolved as usize);
        let evictable = writer.entries().filter(|e| rank(e.state).is_some()).count();
        prop_assert_eq!(evictable, writer.evictable.len());
    }
}

/// One writer replaces neighbours in a handful of slots as fast as it can; readers must never
/// see the MAC of one neighbour under the address of another.
#[test]
fn readers_never_see_a_mix_of_two_entries() {
    let (table, mut writer) = NeighbourTable::new(4);
    let done = AtomicBool::new(false);
    let consistent = |address: u128, mac: [u8; 6]| mac[5] == address as u8;
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2u32)
            .map(|reader| {
                let (table, done) = (&table, &done);
                scope.spawn(move || {
                    let mut hits = 0u64;
                    let mut kept: Option<(u128, Adjacency)> = None;
                    let mut address = u128::from(reader);
                    while !done.load(Ordering::Relaxed) || hits == 0 {
                        address = (address + 1) % 64;
                        if let Some(found) = table.lookup(LAN, Family::Inet, address) {
                            assert!(consistent(address, found.mac), "{found:?} under {address}");
                            kept = Some((address, found));
                            hits += 1;
                        }
                        if let Some((address, adjacency)) = kept
                            && let Some(now) = table.read(adjacency.slot)
                            && now.tag == adjacency.tag
                        {
                            assert!(consistent(address, now.mac), "{now:?} under {address}");
                        }
                    }
                    hits
                })
            })
            .collect();
        for round in 0..200_000u64 {
            let address = round % 64;
            let mac = mac(round << 8 | address);
            if let Ok(slot) = writer.insert(&key(address.into()), mac, State::Reachable, round) {
                writer.set(slot, mac, State::Failed, round);
            }
        }
        // Leave something to find to a reader that was not scheduled until now.
        assert!(!writer.is_empty());
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

use super::super::table::NeighbourTable;
use super::*;
use std::sync::Arc;

const LAN: InterfaceId = InterfaceId(1);
const HOST: u128 = 0x0a00_0002;
const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

const ASK_ALL: Action =
    Action::Solicit { interface: LAN, family: Family::Inet, addr: HOST, unicast: None };
const ASK_A: Action =
    Action::Solicit { interface: LAN, family: Family::Inet, addr: HOST, unicast: Some(A) };
const RESOLVED: Action = Action::Resolved { interface: LAN, family: Family::Inet, addr: HOST };
const FAILED: Action = Action::Failed { interface: LAN, family: Family::Inet, addr: HOST };

const UNSOLICITED: HeardKind = nd(false, false);
const OVERRIDING: HeardKind = nd(false, true);
const SOLICITED: HeardKind = nd(true, false);
const SOLICITED_OVERRIDING: HeardKind = nd(true, true);

const fn nd(solicited: bool, override_: bool) -> HeardKind {
    HeardKind::NdAdvertisement { solicited, override_, router: true }
}

/// A resolver with its clock, and a log of what it did when.
struct Bench {
    resolver: Resolver,
    table: Arc<NeighbourTable>,
    now: u64,
    log: Vec<(u64, Action)>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with_limit(64)
    }

    fn with_limit(limit: u32) -> Bench {
        let (table, writer) = NeighbourTable::new(limit);
        Bench { resolver: Resolver::new(writer), table, now: 1_000_000, log: Vec::new() }
    }

    fn act(&mut self, act: impl FnOnce(&mut Resolver, u64, &mut Vec<Action>)) -> Vec<Action> {
        let mut out = Vec::new();
        act(&mut self.resolver, self.now, &mut out);
        self.log.extend(out.iter().map(|&action| (self.now, action)));
        out
    }

    fn wanted(&mut self) -> Vec<Action> {
        self.act(|resolver, now, out| resolver.wanted(LAN, Family::Inet, HOST, now, out))
    }

    fn heard(&mut self, kind: HeardKind, mac: Option<[u8; 6]>) -> Vec<Action> {
        let heard = Heard { interface: LAN, family: Family::Inet, addr: HOST, mac, kind };
        self.act(|resolver, now, out| resolver.heard(&heard, now, out))
    }

    /// Lets time pass, ticking every 50 ms.
    fn pass(&mut self, milliseconds: u64) -> Vec<Action> {
        let mut all = Vec::new();
        for _ in 0..milliseconds / 50 {
            self.now += 50;
            all.extend(self.act(|resolver, now, out| resolver.tick(now, out)));
        }
        all
    }

    /// Lets time pass until the entry is in `state` (gives up after an hour).
    fn pass_until(&mut self, state: State) {
        for _ in 0..72_000 {
            if self.state() == Some(state) {
                return;
            }
            self.pass(50);
        }
        panic!("never {state:?}, but {:?}", self.state());
    }

    fn use_it(&self) {
        self.table.lookup(LAN, Family::Inet, HOST);
    }

    fn entry(&self) -> Option<Entry> {
        let key = NeighbourKey { interface: LAN, family: Family::Inet, address: HOST };
        self.resolver.find(&key)
    }

    fn state(&self) -> Option<State> {
        self.entry().map(|entry| entry.state)
    }

    fn mac(&self) -> Option<[u8; 6]> {
        self.entry().and_then(|entry| entry.mac)
    }

    /// A bench whose neighbour has MAC address A and is in `state`.
    fn in_state(state: State) -> Bench {
        let mut bench = Bench::new();
        match state {
            State::Incomplete => drop(bench.wanted()),
            State::Failed => {
                bench.wanted();
                bench.pass(3_000);
            }
            State::Stale => drop(bench.heard(HeardKind::ArpRequest, Some(A))),
            State::Static => {
                bench.act(|resolver, now, out| {
                    resolver.static_entry(LAN, Family::Inet, HOST, A, now, out).unwrap();
                });
            }
            State::Reachable | State::Delay | State::Probe => {
                bench.wanted();
                bench.heard(HeardKind::ArpReply, Some(A));
                if state != State::Reachable {
                    bench.pass_until(State::Stale);
                    bench.use_it();
                    bench.pass_until(state);
                }
            }
        }
        assert_eq!(bench.state(), Some(state));
        bench
    }
}

#[test]
fn conformance_4_an_answer_releases_what_is_held() {
    let mut bench = Bench::new();
    assert_eq!(bench.wanted(), [ASK_ALL]);
    assert_eq!(bench.wanted(), [], "asked once, however many packets wait");
    assert_eq!(bench.heard(HeardKind::ArpReply, Some(A)), [RESOLVED]);
    assert_eq!((bench.state(), bench.mac()), (Some(State::Reachable), Some(A)));
    assert_eq!(bench.wanted(), [RESOLVED], "a worker that asked in the meantime");
}

#[test]
fn conformance_5_a_mute_neighbour_is_asked_for_at_most_once_a_second() {
    let mut bench = Bench::new();
    for _ in 0..1_200 {
        bench.wanted();
        bench.pass(50);
    }
    let asked: Vec<u64> = bench.log.iter().filter(|e| e.1 == ASK_ALL).map(|e| e.0).collect();
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 1_000), "{asked:?}");
    assert_eq!(asked.len(), 30, "three in six seconds, for a minute");
}

#[test]
fn conformance_6_and_71_three_solicitations_a_second_apart_then_unreachable() {
    let mut bench = Bench::new();
    let start = bench.now;
    bench.wanted();
    bench.pass(2_950);
    bench.pass(50);
    let log: Vec<_> = bench.log.iter().map(|&(at, action)| (at - start, action)).collect();
    assert_eq!(log, [(0, ASK_ALL), (1_000, ASK_ALL), (2_000, ASK_ALL), (3_000, FAILED)]);
    assert_eq!(bench.wanted(), [FAILED], "known to be unreachable: not asked for again");
    assert_eq!(bench.pass(3_000), []);
    assert_eq!(bench.state(), None, "forgotten");
    assert_eq!(bench.wanted(), [ASK_ALL], "a new packet starts anew");
}

#[test]
fn a_late_answer_counts() {
    let mut bench = Bench::in_state(State::Failed);
    assert_eq!(bench.heard(HeardKind::ArpReply, Some(A)), [RESOLVED]);
    assert_eq!(bench.state(), Some(State::Reachable));
    bench.pass(10_000);
    assert_eq!(bench.state(), Some(State::Reachable), "the timer of the failure is gone");
}

#[test]
fn conformance_7_what_a_known_neighbour_announces_is_used_at_once() {
    for state in [State::Reachable, State::Stale, State::Delay, State::Probe] {
        for kind in [HeardKind::ArpGratuitous, OVERRIDING] {
            let mut bench = Bench::in_state(state);
            assert_eq!(bench.heard(kind, Some(B)), [RESOLVED], "elsewhere");
            assert_eq!((bench.state(), bench.mac()), (Some(State::Stale), Some(B)));
        }
    }
    let mut bench = Bench::in_state(State::Reachable);
    bench.heard(HeardKind::ArpReply, Some(B));
    assert_eq!((bench.state(), bench.mac()), (Some(State::Stale), Some(B)), "nobody asked");
}

#[test]
fn conformance_7_an_announcement_of_what_is_known_changes_nothing() {
    for state in [State::Reachable, State::Stale, State::Delay, State::Probe] {
        for kind in [HeardKind::ArpGratuitous, HeardKind::ArpRequest, UNSOLICITED, OVERRIDING] {
            let mut bench = Bench::in_state(state);
            let before = bench.entry();
            assert_eq!(bench.heard(kind, Some(A)), []);
            assert_eq!(bench.entry(), before);
        }
    }
}

#[test]
fn conformance_8_what_nobody_asked_for_makes_no_entry() {
    let mut bench = Bench::new();
    for kind in [HeardKind::ArpGratuitous, HeardKind::ArpReply, UNSOLICITED, SOLICITED_OVERRIDING] {
        assert_eq!(bench.heard(kind, Some(A)), []);
        assert_eq!(bench.state(), None);
    }
}

#[test]
fn who_asks_for_us_is_learnt_but_not_taken_for_confirmed() {
    for kind in [HeardKind::ArpRequest, HeardKind::NdSolicitation] {
        let mut bench = Bench::new();
        assert_eq!(bench.heard(kind, Some(A)), [RESOLVED]);
        assert_eq!((bench.state(), bench.mac()), (Some(State::Stale), Some(A)));
        let mut bench = Bench::in_state(State::Incomplete);
        assert_eq!(bench.heard(kind, Some(A)), [RESOLVED]);
        assert_eq!((bench.state(), bench.mac()), (Some(State::Stale), Some(A)));
        let mut bench = Bench::in_state(State::Reachable);
        bench.heard(kind, Some(B));
        assert_eq!((bench.state(), bench.mac()), (Some(State::Stale), Some(B)));
    }
    let mut bench = Bench::new();
    bench.heard(HeardKind::NdSolicitation, None);
    assert_eq!(bench.state(), None, "no link address, nothing to learn");
}

#[test]
fn rfc_1812_a_group_or_zero_mac_is_not_believed() {
    for mac in [[0xff; 6], [0x33, 0x33, 0, 0, 0, 1], [1, 0, 0x5e, 0, 0, 1], [0; 6]] {
        let mut bench = Bench::in_state(State::Incomplete);
        assert_eq!(bench.heard(HeardKind::ArpReply, Some(mac)), []);
        assert_eq!(bench.state(), Some(State::Incomplete));
        let mut bench = Bench::new();
        bench.heard(HeardKind::ArpRequest, Some(mac));
        assert_eq!(bench.state(), None);
    }
}

#[test]
fn rfc_5227_a_probe_without_sender_teaches_nothing() {
    let mut bench = Bench::new();
    let kind = HeardKind::ArpRequest;
    let probe = Heard { interface: LAN, family: Family::Inet, addr: 0, mac: Some(A), kind };
    bench.act(|resolver, now, out| resolver.heard(&probe, now, out));
    assert!(bench.resolver.table().is_empty());
}

#[test]
fn rfc_4861_7_2_5_advertisements() {
    use State::{Incomplete, Probe, Reachable, Stale};
    // State; advertisement; its MAC -> state, MAC
    #[rustfmt::skip]
    let table = [
        (Incomplete, SOLICITED,            None,    Incomplete, None),
        (Incomplete, SOLICITED,            Some(A), Reachable,  Some(A)),
        (Incomplete, UNSOLICITED,          Some(A), Stale,      Some(A)),
        (Incomplete, OVERRIDING,           Some(A), Stale,      Some(A)),
        (Reachable,  UNSOLICITED,          Some(B), Stale,      Some(A)),
        (Reachable,  SOLICITED,            Some(B), Stale,      Some(A)),
        (Reachable,  OVERRIDING,           Some(B), Stale,      Some(B)),
        (Reachable,  SOLICITED_OVERRIDING, Some(B), Reachable,  Some(B)),
        (Reachable,  SOLICITED,            None,    Reachable,  Some(A)),
        (Stale,      UNSOLICITED,          Some(B), Stale,      Some(A)),
        (Stale,      SOLICITED,            Some(B), Stale,      Some(A)),
        (Stale,      SOLICITED,            Some(A), Reachable,  Some(A)),
        (Stale,      UNSOLICITED,          None,    Stale,      Some(A)),
        (Probe,      SOLICITED,            Some(A), Reachable,  Some(A)),
        (Probe,      SOLICITED,            None,    Reachable,  Some(A)),
        (Probe,      SOLICITED,            Some(B), Probe,      Some(A)),
        (Probe,      UNSOLICITED,          Some(A), Probe,      Some(A)),
        (Probe,      OVERRIDING,           None,    Probe,      Some(A)),
        (Probe,      OVERRIDING,           Some(B), Stale,      Some(B)),
        (Probe,      SOLICITED_OVERRIDING, Some(B), Reachable,  Some(B)),
    ];
    for (state, kind, mac, then, known) in table {
        let mut bench = Bench::in_state(state);
        let before = bench.mac();
        let out = bench.heard(kind, mac);
        let context = format!("{kind:?} with {mac:?} in {state:?}");
        assert_eq!((bench.state(), bench.mac()), (Some(then), known), "{context}");
        let moved = known != before;
        assert_eq!(out, if moved { vec![RESOLVED] } else { vec![] }, "{context}");
    }
}

#[test]
fn conformance_72_a_stale_entry_in_use_serves_while_it_is_probed_and_goes_without_an_answer() {
    let mut bench = Bench::in_state(State::Reachable);
    bench.log.clear();
    let mut forgotten = None;
    for _ in 0..1_200 {
        match bench.table.lookup(LAN, Family::Inet, HOST) {
            Some(adjacency) => assert!(adjacency.state.usable() && adjacency.mac == A),
            None => {
                forgotten = Some(bench.now);
                break;
            }
        }
        bench.pass(50);
    }
    let forgotten = forgotten.expect("the neighbour never answered");
    let log: Vec<_> = bench.log.iter().map(|&(at, action)| (forgotten - at, action)).collect();
    assert_eq!(log, [(3_000, ASK_A), (2_000, ASK_A), (1_000, ASK_A), (0, FAILED)]);
}

#[test]
fn conformance_72_an_answered_probe_confirms() {
    let mut bench = Bench::in_state(State::Probe);
    assert_eq!(bench.heard(HeardKind::ArpReply, Some(A)), [], "nothing was held");
    assert_eq!(bench.state(), Some(State::Reachable));
    bench.pass(14_900);
    assert_eq!(bench.state(), Some(State::Reachable), "at least half of 30 s");
    bench.pass(30_200);
    assert_eq!(bench.state(), Some(State::Stale), "at most one and a half times 30 s");
}

#[test]
fn an_unused_stale_entry_is_not_probed_and_goes_after_ten_minutes() {
    let mut bench = Bench::in_state(State::Stale);
    assert_eq!(bench.pass(599_000), []);
    assert_eq!(bench.state(), Some(State::Stale));
    assert_eq!(bench.pass(2_000), []);
    assert_eq!(bench.state(), None);
    assert_eq!(bench.resolver.next_deadline(), None, "no timer is left");
}

#[test]
fn a_static_entry_is_moved_by_nothing_but_the_operator() {
    let mut bench = Bench::in_state(State::Static);
    for kind in [HeardKind::ArpReply, HeardKind::ArpRequest, SOLICITED_OVERRIDING] {
        bench.heard(kind, Some(B));
    }
    bench.use_it();
    assert_eq!(bench.pass(3_600_000), []);
    assert_eq!(bench.resolver.flush(None, None), 0);
    assert_eq!((bench.state(), bench.mac()), (Some(State::Static), Some(A)));
    bench.resolver.remove_static(LAN, Family::Inet, HOST);
    assert_eq!(bench.state(), None);
}

#[test]
fn a_static_entry_takes_the_place_of_what_was_known() {
    for (state, out) in [(State::Incomplete, vec![RESOLVED]), (State::Probe, vec![])] {
        let mut bench = Bench::in_state(state);
        let set = |resolver: &mut Resolver, now, out: &mut Vec<Action>| {
            resolver.static_entry(LAN, Family::Inet, HOST, B, now, out).unwrap();
        };
        assert_eq!(bench.act(set), out);
        assert_eq!(bench.pass(60_000), []);
        assert_eq!((bench.state(), bench.mac()), (Some(State::Static), Some(B)));
        let before = bench.entry();
        assert_eq!(bench.act(set), []);
        assert_eq!(bench.entry(), before, "said again, it keeps its age");
    }
    let mut bench = Bench::in_state(State::Reachable);
    bench.resolver.remove_static(LAN, Family::Inet, HOST);
    assert_eq!(bench.state(), Some(State::Reachable), "it was not static");
}

#[test]
fn flush_forgets_what_was_learnt_where_it_is_told_to() {
    let mut bench = Bench::in_state(State::Reachable);
    let host = Some((Family::Inet, HOST));
    assert_eq!(bench.resolver.flush(Some(InterfaceId(2)), None), 0);
    assert_eq!(bench.resolver.flush(None, Some((Family::Inet6, HOST))), 0);
    assert_eq!(bench.resolver.flush(Some(LAN), host), 1);
    assert_eq!(bench.state(), None);
    assert_eq!(Bench::in_state(State::Failed).resolver.flush(None, None), 1);
    let mut waiting = Bench::in_state(State::Incomplete);
    assert_eq!(waiting.resolver.flush(None, None), 0, "packets wait for it");
    assert_eq!(waiting.heard(HeardKind::ArpReply, Some(A)), [RESOLVED]);
}

#[test]
fn an_interface_that_goes_takes_its_neighbours_along() {
    let mut bench = Bench::in_state(State::Incomplete);
    bench.act(|resolver, now, out| {
        resolver.static_entry(LAN, Family::Inet, HOST + 1, B, now, out).unwrap();
        resolver.static_entry(InterfaceId(2), Family::Inet, HOST, B, now, out).unwrap();
    });
    assert_eq!(bench.act(|resolver, _, out| resolver.remove_interface(LAN, out)), [FAILED]);
    assert_eq!(bench.resolver.entries(bench.now).count(), 1, "that of the other interface");
    assert_eq!(bench.pass(10_000), []);
}

#[test]
fn conformance_15_without_room_a_packet_is_answered_at_once() {
    let mut bench = Bench::with_limit(4);
    let mut all = Vec::new();
    for n in 0..3 {
        all.extend(bench.act(|resolver, now, out| {
            resolver.wanted(LAN, Family::Inet, HOST + 10 + n, now, out);
        }));
    }
    let refused = Action::Failed { interface: LAN, family: Family::Inet, addr: HOST + 12 };
    assert_eq!(all.last(), Some(&refused));
    assert_eq!(bench.resolver.table().refused(), 1);
    bench.heard(HeardKind::ArpRequest, Some(A));
    assert_eq!(bench.state(), Some(State::Stale), "a neighbour that speaks has room");
}

#[test]
fn a_timer_of_an_evicted_entry_does_not_touch_its_successor() {
    // Two entries fill the table; both fail, and their slots are reused at once.
    let mut bench = Bench::with_limit(2);
    for round in 0..200u128 {
        bench.act(|resolver, now, out| {
            resolver.wanted(LAN, Family::Inet, HOST + round, now, out);
        });
        bench.pass(3_000);
        let entries: Vec<_> = bench.resolver.entries(bench.now).collect();
        assert!(entries.len() <= 2);
        let (newest, age) = entries.iter().min_by_key(|(_, age)| *age).unwrap();
        assert_eq!((newest.state, *age), (State::Failed, 0), "failed after its own three seconds");
        assert_eq!(newest.key.address, HOST + round);
    }
}

#[test]
fn a_tick_does_a_bounded_amount_of_work() {
    let (_table, writer) = NeighbourTable::new(32_768);
    let mut resolver = Resolver::new(writer);
    let mut out = Vec::new();
    for n in 0..10_000 {
        resolver.wanted(LAN, Family::Inet6, n, 0, &mut out);
    }
    assert_eq!(out.len(), 10_000);
    for expected in [TICK_BUDGET, TICK_BUDGET, 10_000 - 2 * TICK_BUDGET, 0] {
        out.clear();
        resolver.tick(1_000, &mut out);
        assert_eq!(out.len(), expected);
    }
    assert_eq!(resolver.next_deadline(), Some(2_000));
}

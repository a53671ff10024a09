//! The table beside a model of maps and lists that keeps everything and is never in a hurry.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::tests::{HERTZ, SECOND, answer, packet};
use super::*;
use crate::tcp::Verdict;
use sluice_packet::{FlowKey, Mask, tcp as flag};

/// What happens, and to which flow.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A UDP packet, perhaps of the answering direction.
    Udp(u16, bool),
    /// A step of a TCP connection, in any order.
    Tcp(u16, Step),
    /// Time goes on, by so many milliseconds.
    Wait(u16),
    /// The hand goes round.
    Sweep,
    /// The flow is ended from outside.
    Remove(u16),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Syn,
    SynAck,
    Ack,
    Reset,
}

fn event(flows: u16) -> impl Strategy<Value = Event> {
    let step = prop_oneof![
        3 => Just(Step::Syn), 3 => Just(Step::SynAck), 3 => Just(Step::Ack), 1 => Just(Step::Reset)
    ];
    prop_oneof![
        8 => (0..flows, any::<bool>()).prop_map(|(flow, reply)| Event::Udp(flow, reply)),
        8 => (0..flows, step).prop_map(|(flow, step)| Event::Tcp(flow, step)),
        4 => (0_u16..20_000).prop_map(Event::Wait),
        1 => Just(Event::Sweep),
        1 => (0..flows).prop_map(Event::Remove),
    ]
}

/// A connection of the model.
struct Known {
    keys: [FlowKey; 2],
    tcp: Tcp,
    seen: [u32; 2],
    counts: [Count; 2],
    /// Which side began.
    original: usize,
    answered: bool,
}

struct Model {
    capacity: usize,
    clock: Clock,
    patience: [u32; Phase::COUNT],
    tick: u32,
    next: u64,
    all: BTreeMap<u64, Known>,
    by_key: HashMap<FlowKey, (u64, usize)>,
    /// Who goes first, by class.
    order: [Vec<u64>; 3],
    evicted: u64,
    full: u64,
}

impl Model {
    fn new(capacity: u32) -> Model {
        let clock = Clock::new(HERTZ);
        Model {
            capacity: capacity as usize,
            clock,
            patience: Timeouts::DEFAULT.ticks(clock),
            tick: 0,
            next: 0,
            all: BTreeMap::new(),
            by_key: HashMap::new(),
            order: Default::default(),
            evicted: 0,
            full: 0,
        }
    }

    fn idle(&self, number: u64) -> u32 {
        self.all[&number].seen.map(|seen| self.tick - seen).into_iter().min().expect("two sides")
    }

    fn is_alive(&self, number: u64) -> bool {
        self.idle(number) <= self.patience[self.all[&number].tcp.phase() as usize]
    }

    fn find(&self, key: &FlowKey) -> Option<(u64, usize)> {
        self.by_key.get(key).copied().filter(|&(number, _)| self.is_alive(number))
    }

    fn forget(&mut self, number: u64) {
        let known = self.all.remove(&number).expect("it is there");
        known.keys.iter().for_each(|key| assert!(self.by_key.remove(key).is_some()));
        self.order.iter_mut().for_each(|order| order.retain(|&other| other != number));
    }

    fn sweep(&mut self) {
        let dead: Vec<u64> = self.all.keys().copied().filter(|&n| !self.is_alive(n)).collect();
        dead.into_iter().for_each(|number| self.forget(number));
    }

    /// The first of the half-open, of the closing, of those idle for half a minute.
    fn evict(&mut self) -> bool {
        let first = self.order[0].first().or(self.order[1].first()).copied();
        let first = first.or_else(|| {
            for _ in 0..8 {
                let oldest = *self.order[2].first()?;
                if self.idle(oldest) >= self.clock.ticks(30) {
                    return Some(oldest);
                }
                self.order[2].rotate_left(1);
            }
            None
        });
        first.inspect(|&number| self.forget(number)).is_some()
    }

    fn insert(&mut self, d: &Descriptor, segment: &TcpSegment) -> bool {
        if let Some(&(dead, _)) = self.by_key.get(&d.key) {
            self.forget(dead);
        }
        if self.all.len() == self.capacity {
            if !self.evict() {
                self.full += 1;
                return false;
            }
            self.evicted += 1;
        }
        let tcp = match d.key.protocol {
            protocol::TCP => Tcp::begin(0, segment),
            _ => Tcp::other(Phase::Udp),
        };
        let keys = [d.key, answer(d).key];
        let first = Count { packets: 1, bytes: d.l3_length.into() };
        let counts = [first, Count::default()];
        let seen = [self.tick; 2];
        let known = Known { keys, tcp, seen, counts, original: 0, answered: false };
        self.all.insert(self.next, known);
        keys.iter().zip([0, 1]).for_each(|(key, side)| {
            self.by_key.insert(*key, (self.next, side));
        });
        self.order[tcp.phase().class() as usize].push(self.next);
        self.next += 1;
        true
    }

    fn track(
        &mut self,
        (number, side): (u64, usize),
        d: &Descriptor,
        segment: &TcpSegment,
    ) -> ConnectionState {
        let known = self.all.get_mut(&number).expect("it is there");
        let before = known.tcp.phase();
        let reply = side != known.original;
        let mut reopened = false;
        if d.key.protocol == protocol::TCP {
            match known.tcp.advance(side, reply, segment, false, Strictness::Strict) {
                Verdict::Invalid => return ConnectionState::Invalid,
                Verdict::Passes => known.answered |= reply,
                Verdict::Reopens => {
                    reopened = true;
                    known.tcp = Tcp::reopen(side, segment);
                    (known.original, known.answered) = (side, false);
                    (known.counts, known.seen) = ([Count::default(); 2], [self.tick; 2]);
                }
            }
        } else if reply {
            known.answered = true;
            known.tcp = Tcp::other(Phase::UdpAnswered);
        }
        known.seen[side] = self.tick;
        known.counts[side].packets += 1;
        known.counts[side].bytes += u64::from(d.l3_length);
        let (class, answered) = (known.tcp.phase().class(), known.answered);
        if before.class() != class {
            self.order.iter_mut().for_each(|order| order.retain(|&other| other != number));
            if let Some(order) = self.order.get_mut(class as usize) {
                order.push(number);
            }
        }
        if answered && !reopened { ConnectionState::Established } else { ConnectionState::New }
    }
}

fn udp(flow: u16) -> Descriptor {
    packet(protocol::UDP, 0x0a00_0000 + u128::from(flow), 2, 5000, 53)
}

/// A segment of a conversation of which all sequence numbers are 0 or 1.
fn tcp(flow: u16, step: Step) -> (Descriptor, TcpSegment) {
    let asks = packet(protocol::TCP, 0x0a01_0000 + u128::from(flow), 2, 5000, 80);
    let (d, sequence, flags) = match step {
        Step::Syn => (asks, 0, flag::SYN),
        Step::SynAck => (answer(&asks), 0, flag::SYN | flag::ACK),
        Step::Ack => (asks, 1, flag::ACK),
        Step::Reset => (asks, 1, flag::RST),
    };
    let acknowledgement = u32::from(flags & flag::ACK != 0);
    let segment =
        TcpSegment { sequence, acknowledgement, flags, window: 1000, ..TcpSegment::default() };
    (Descriptor { tcp_flags: flags, ..d }, segment)
}

fn send(
    table: &mut Table,
    model: &mut Model,
    (d, segment): (Descriptor, TcpSegment),
    now: u64,
) -> Result<(), TestCaseError> {
    let mut found = [HalfId::NONE; 64];
    table.find(Mask::only(63), 0, now, |_| &d, &mut found);
    let expected = model.find(&d.key);
    prop_assert_eq!(found[63].is_some(), expected.is_some());
    if let Some(known) = expected {
        let state = table.track(found[63], &d, Some(&segment), Strictness::Strict, now);
        prop_assert_eq!(state, model.track(known, &d, &segment));
        return Ok(());
    }
    match Table::classify(&d, Strictness::Strict) {
        ConnectionState::New => {
            let inserted = table.insert(&d, 0, Some(&segment), now);
            prop_assert_eq!(
                inserted.map(|inserted| inserted.new),
                model.insert(&d, &segment).then_some(true)
            );
        }
        state => prop_assert_eq!(state, ConnectionState::Invalid),
    }
    Ok(())
}

fn check(table: &Table, model: &Model, now: u64) -> Result<(), TestCaseError> {
    let mut shown = HashMap::new();
    let mut from = Some(0);
    while let Some(next) = from {
        from = table.list(next, 7, now, |c| {
            shown.insert(c.original.key().flow_key(), (c.counts, c.phase));
        });
    }
    let expected = model.all.values().map(|known| {
        let (first, second) = (known.original, known.original ^ 1);
        (known.keys[first], ([known.counts[first], known.counts[second]], known.tcp.phase()))
    });
    prop_assert_eq!(shown, expected.collect::<HashMap<_, _>>());
    let counters = table.counters();
    prop_assert_eq!(counters.half_open as usize, model.order[0].len());
    let evicted = counters.evicted_half_open + counters.evicted_closing + counters.evicted_idle;
    prop_assert_eq!((evicted, counters.full), (model.evicted, model.full));
    Ok(())
}

fn walk(connections: u32, events: &[Event]) -> Result<(), TestCaseError> {
    let limits = Limits { huge_pages: false, ..Limits::connections(connections) };
    let mut table = Table::new(limits, [1, 2], HERTZ).expect("memory");
    let mut model = Model::new(connections);
    let mut now = 0;
    table.tend(now, 0, |_, _| Fate::Keep);
    for (number, event) in events.iter().enumerate() {
        match *event {
            Event::Udp(flow, reply) => {
                let d = if reply { answer(&udp(flow)) } else { udp(flow) };
                send(&mut table, &mut model, (d, TcpSegment::default()), now)?;
            }
            Event::Tcp(flow, step) => send(&mut table, &mut model, tcp(flow, step), now)?,
            Event::Wait(milliseconds) => now += SECOND / 1000 * u64::from(milliseconds),
            Event::Sweep => {
                now += 3 * SECOND;
                model.tick = table.clock.tick(now);
                model.sweep();
                table.tend(now, usize::MAX, |_, _| Fate::Keep);
            }
            Event::Remove(flow) => {
                if let Some((number, side)) = model.find(&udp(flow).key) {
                    let mut found = [HalfId::NONE; 64];
                    let d = udp(flow);
                    table.find(Mask::only(0), 0, now, |_| &d, &mut found);
                    prop_assert_eq!(table.half(found[0]).is_reply(), side != 0);
                    table.remove(found[0]);
                    model.forget(number);
                }
            }
        }
        model.tick = table.clock.tick(now);
        prop_assert_eq!(table.counters().connections as usize, model.all.len());
        if number % 64 == 0 {
            check(&table, &model, now)?;
        }
    }
    check(&table, &model, now)
}

/// The same in every run: with other numbers two full buckets would come up now and then, which the
/// model knows nothing of.
fn beside_the_model(connections: u32, cases: u32, events: usize) {
    let config = Config { cases, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRunner::deterministic().new_rng());
    let flows = (2 * connections + 2) as u16;
    let events = prop::collection::vec(event(flows), 1..events);
    runner.run(&events, |events| walk(connections, &events)).expect("table and model agree");
}

#[test]
fn a_table_of_one() {
    beside_the_model(1, 48, 300);
}

#[test]
fn a_table_of_eight() {
    beside_the_model(8, 32, 600);
}

#[test]
fn a_table_of_64() {
    beside_the_model(64, 12, 1500);
}

#[test]
fn a_table_of_1024() {
    beside_the_model(1024, 2, 16_000);
}

//! One trial: packets at a rate for a time, and what came back of them.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use sluice_dpdk::{BURST, Mbuf, free_bulk, tsc, tsc_hz};

use crate::frame;
use crate::load::Load;
use crate::ports::Ports;
use crate::progress::Counts;
use crate::search::Trial;
use crate::stamp::Stamp;

/// How long packets may be under way after the last was sent.
const DRAIN: Duration = Duration::from_millis(200);
/// Packets that are sent at a time: fewer at low rates, so that they are evenly spaced.
const AT_ONCE: usize = 32;
/// How often the generator leaves its core to others, if it does.
pub const CYCLE: Duration = Duration::from_millis(1);

/// What a trial came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Packets a second that were wanted; `None` for as many as possible.
    pub wanted: Option<f64>,
    /// Packets that the device took.
    pub sent: u64,
    /// Packets that came back.
    pub received: u64,
    /// Packets that came behind a later one of their flow, or twice.
    pub disordered: u64,
    /// Packets that were due and that the device had no room for: they were not sent.
    pub refused: u64,
    /// Seconds from the first to the last packet sent.
    pub seconds: f64,
    /// The longest time, in nanoseconds, in which the generator looked at no port: what arrives
    /// meanwhile waits in a ring, as far as it has room.
    pub still: u64,
    /// Latency in nanoseconds, one way. Empty if packets carry no stamp.
    pub latency: Histogram<u64>,
    /// There and back, if packets were turned round at the far end.
    pub two_way: Option<Histogram<u64>>,
}

impl Outcome {
    /// Packets a second that were sent.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.seconds.max(1e-9)
    }

    /// Packets that did not come back.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// Their part of what was sent.
    pub fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.lost() as f64 / self.sent as f64 }
    }

    /// Whether the generator sent what it was to, to within one per cent.
    pub fn kept_up(&self) -> bool {
        self.wanted.is_none_or(|wanted| self.rate() > wanted * 0.99)
    }
}

/// The trials of one set of ports.
pub struct Trials<'a> {
    ports: &'a mut Ports,
    load: &'a Load,
    /// Whether packets that arrive at the far end are sent home.
    two_way: bool,
    /// How much of each [`CYCLE`] is left to others on the core.
    nap: Duration,
    counts: Arc<Counts>,
    /// Packets sent and received by all trials.
    totals: (u64, u64),
    run: u16,
    /// The next number that is in order, by a flow's place.
    next: Vec<u64>,
    slots: [Option<Mbuf>; BURST],
}

/// When a trial stops sending.
#[derive(Clone, Copy)]
enum Until {
    Time(Duration),
    Packets(u64),
}

impl<'a> Trials<'a> {
    /// Trials of this load.
    pub fn new(
        ports: &'a mut Ports,
        load: &'a Load,
        two_way: bool,
        nap: Duration,
        counts: Arc<Counts>,
    ) -> Trials<'a> {
        let next = vec![0; load.flows()];
        let slots = [const { None }; BURST];
        let two_way = two_way && ports.far.is_some();
        Trials { ports, load, two_way, nap, counts, totals: (0, 0), run: 0, next, slots }
    }

    fn trial(&mut self, rate: Option<f64>, until: Until) -> Outcome {
        self.run = self.run.wrapping_add(1);
        self.next.fill(0);
        let hertz = tsc_hz();
        let cycles = |time: Duration| (time.as_secs_f64() * hertz as f64) as u64;
        let per_packet = rate.map(|rate| hertz as f64 / rate.max(1e-3));
        let histogram = || {
            // Up to a minute, to three figures.
            Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
        };
        let mut outcome = Outcome {
            wanted: rate,
            sent: 0,
            received: 0,
            disordered: 0,
            refused: 0,
            seconds: 0.0,
            still: 0,
            latency: histogram(),
            two_way: self.two_way.then(histogram),
        };
        let start = tsc();
        let (end, most) = match until {
            Until::Time(time) => (start + cycles(time), u64::MAX),
            // What cannot be sent within a minute never can.
            Until::Packets(packets) => (start + cycles(Duration::from_secs(60)), packets),
        };
        // What could not be sent in time is not made up for, as that would be a burst of its own; but
        // for naps, which are short.
        let napped = per_packet.map_or(0.0, |each| 2.0 * cycles(self.nap) as f64 / each) as u64;
        let most_behind = 4 * AT_ONCE as u64 + napped;
        let (mut now, mut awake) = (start, start);
        let mut still = 0;
        let mut given = 0_u64;
        while now < end && outcome.sent < most {
            let due = match per_packet {
                Some(per_packet) => ((now - start) as f64 / per_packet) as u64 + 1,
                None => u64::MAX,
            };
            let behind = due.saturating_sub(given);
            if per_packet.is_some() && behind > most_behind {
                given = due - AT_ONCE as u64;
            }
            let n = behind.min(AT_ONCE as u64).min(most - outcome.sent) as usize;
            if n > 0 {
                let sent = self.send(n, outcome.sent, now - start);
                outcome.sent += sent as u64;
                outcome.refused += (n - sent) as u64;
                given += sent as u64;
            }
            self.receive(&mut outcome, start, hertz);
            self.counts.store(self.totals.0 + outcome.sent, self.totals.1 + outcome.received);
            if !self.nap.is_zero() && now - awake >= cycles(CYCLE - self.nap) {
                std::thread::sleep(self.nap);
                awake = tsc();
            }
            let then = std::mem::replace(&mut now, tsc());
            still = still.max(now - then);
        }
        outcome.still = nanos(still, hertz);
        outcome.seconds = (now - start) as f64 / hertz as f64;
        let until = now + cycles(DRAIN);
        while tsc() < until && outcome.received < outcome.sent {
            self.receive(&mut outcome, start, hertz);
        }
        self.totals = (self.totals.0 + outcome.sent, self.totals.1 + outcome.received);
        outcome
    }

    /// Sends packets with the numbers from `first` on; returns how many the device took.
    fn send(&mut self, n: usize, first: u64, now: u64) -> usize {
        if !self.ports.pool.alloc_bulk(&mut self.slots, n) {
            return 0;
        }
        for (place, slot) in self.slots[..n].iter_mut().enumerate() {
            let sequence = first + place as u64;
            let length = self.load.length(sequence);
            let frame = slot.as_mut().and_then(|mbuf| mbuf.append(length));
            if let Some(frame) = frame {
                self.load.write(frame, Stamp { run: self.run, sequence, sent: now });
            }
        }
        let sent = self.ports.near.tx.tx(&mut self.slots, n);
        free_bulk(&mut self.slots[..n - sent]);
        sent
    }

    fn receive(&mut self, outcome: &mut Outcome, start: u64, hertz: u64) {
        if let Some(far) = &mut self.ports.far {
            let n = far.rx.rx(&mut self.slots);
            let since = tsc().wrapping_sub(start);
            let mut arrived = Arrivals { load: self.load, run: self.run, next: &mut self.next };
            arrived.count(&self.slots[..n], since, hertz, outcome, !self.two_way);
            if self.two_way {
                // What is not ours stays here.
                let mut ours = 0;
                for place in 0..n {
                    let mbuf = self.slots[place].as_mut();
                    if mbuf.is_some_and(|mbuf| frame::turn_round(mbuf.data_mut(), far.mac)) {
                        self.slots.swap(ours, place);
                        ours += 1;
                    }
                }
                free_bulk(&mut self.slots[ours..n]);
                let sent = far.tx.tx(&mut self.slots, ours);
                free_bulk(&mut self.slots[..ours - sent]);
            } else {
                free_bulk(&mut self.slots[..n]);
            }
        }
        let n = self.ports.near.rx.rx(&mut self.slots);
        let since = tsc().wrapping_sub(start);
        if self.ports.far.is_none() {
            let mut arrived = Arrivals { load: self.load, run: self.run, next: &mut self.next };
            arrived.count(&self.slots[..n], since, hertz, outcome, true);
        } else if let Some(two_way) = &mut outcome.two_way {
            for stamp in self.slots[..n].iter().flatten().filter_map(|m| frame::stamp(m.data())) {
                if stamp.run == self.run {
                    outcome.received += 1;
                    two_way.saturating_record(nanos(since.saturating_sub(stamp.sent), hertz));
                }
            }
        }
        // Anything else at the near end is what a router says back to where packets came from.
        free_bulk(&mut self.slots[..n]);
    }
}

impl Trial for Trials<'_> {
    fn run(&mut self, rate: Option<f64>, time: Duration) -> Outcome {
        self.trial(rate, Until::Time(time))
    }

    fn burst(&mut self, packets: u64) -> Outcome {
        self.trial(None, Until::Packets(packets))
    }
}

/// Looks at what has arrived.
struct Arrivals<'a> {
    load: &'a Load,
    run: u16,
    next: &'a mut [u64],
}

impl Arrivals<'_> {
    fn count(
        &mut self,
        packets: &[Option<Mbuf>],
        since: u64,
        hertz: u64,
        outcome: &mut Outcome,
        home: bool,
    ) {
        for mbuf in packets.iter().flatten() {
            match self.load {
                Load::Made(traffic) => {
                    let Some(stamp) = frame::stamp(mbuf.data()) else { continue };
                    if stamp.run != self.run {
                        continue;
                    }
                    outcome.received += u64::from(home);
                    if let Some(place) = traffic.place(traffic.flow(&stamp)) {
                        if stamp.sequence < self.next[place] {
                            outcome.disordered += 1;
                        } else {
                            self.next[place] = stamp.sequence + 1;
                        }
                    }
                    outcome
                        .latency
                        .saturating_record(nanos(since.saturating_sub(stamp.sent), hertz));
                }
                Load::Replayed(_) => {
                    outcome.received += u64::from(home && frame::is_packet(mbuf.data()));
                }
            }
        }
    }
}

fn nanos(cycles: u64, hertz: u64) -> u64 {
    (u128::from(cycles) * 1_000_000_000 / u128::from(hertz)) as u64
}

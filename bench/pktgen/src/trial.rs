//! One trial: packets at a rate for a time, and what came back of them.

use std::time::Duration;

use hdrhistogram::Histogram;
use sluice_dpdk::{BURST, Mbuf, free_bulk, tsc, tsc_hz};

use crate::ports::Ports;
use crate::stamp::{self, Stamp};
use crate::traffic::Traffic;

/// How long packets may be under way after the last was sent.
const DRAIN: Duration = Duration::from_millis(200);
/// Packets that are sent at a time: fewer at low rates, so that they are evenly spaced.
const AT_ONCE: usize = 32;

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
    /// Seconds from the first to the last packet sent.
    pub seconds: f64,
    /// Latency in nanoseconds.
    pub latency: Histogram<u64>,
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
    traffic: &'a Traffic,
    run: u16,
    /// The next number that is in order, by flow.
    next: Vec<u64>,
    slots: [Option<Mbuf>; BURST],
}

impl<'a> Trials<'a> {
    /// Trials of this traffic.
    pub fn new(ports: &'a mut Ports, traffic: &'a Traffic) -> Trials<'a> {
        let next = vec![0; traffic.flows.max(1) as usize];
        Trials { ports, traffic, run: 0, next, slots: [const { None }; BURST] }
    }

    /// Sends at `rate` packets a second (`None`: as fast as the device takes them) for `time`, and
    /// waits for what is under way.
    pub fn run(&mut self, rate: Option<f64>, time: Duration) -> Outcome {
        self.run = self.run.wrapping_add(1);
        self.next.fill(0);
        let hertz = tsc_hz();
        let per_packet = rate.map(|rate| hertz as f64 / rate.max(1.0));
        let cycles = |time: Duration| (time.as_secs_f64() * hertz as f64) as u64;
        let mut outcome = Outcome {
            wanted: rate,
            sent: 0,
            received: 0,
            disordered: 0,
            seconds: 0.0,
            latency: Histogram::new_with_bounds(1, 10_000_000_000, 3)
                .unwrap_or_else(|_| unreachable!()),
        };
        let start = tsc();
        let end = start + cycles(time);
        let mut now = start;
        let mut given = 0_u64;
        while now < end {
            let due = match per_packet {
                Some(per_packet) => ((now - start) as f64 / per_packet) as u64 + 1,
                None => u64::MAX,
            };
            // What could not be sent in time is not made up for: that would be a burst of its own.
            let behind = due.saturating_sub(given);
            if per_packet.is_some() && behind > 4 * AT_ONCE as u64 {
                given = due - AT_ONCE as u64;
            }
            let n = behind.min(AT_ONCE as u64) as usize;
            if n > 0 {
                let sent = self.send(n, outcome.sent, now);
                outcome.sent += sent as u64;
                given += sent as u64;
            }
            self.receive(&mut outcome, hertz);
            now = tsc();
        }
        outcome.seconds = (now - start) as f64 / hertz as f64;
        let until = now + cycles(DRAIN);
        while tsc() < until && outcome.received < outcome.sent {
            self.receive(&mut outcome, hertz);
        }
        outcome
    }

    /// Sends packets with the numbers from `first` on; returns how many the device took.
    fn send(&mut self, n: usize, first: u64, now: u64) -> usize {
        if !self.ports.pool.alloc_bulk(&mut self.slots, n) {
            return 0;
        }
        for (place, slot) in self.slots[..n].iter_mut().enumerate() {
            let sequence = first + place as u64;
            let length = self.traffic.length(sequence);
            let frame = slot.as_mut().and_then(|mbuf| mbuf.append(length));
            if let Some(frame) = frame {
                self.traffic.write(frame, Stamp { run: self.run, sequence, sent: now });
            }
        }
        let sent = self.ports.tx.tx(&mut self.slots, n);
        free_bulk(&mut self.slots[..n - sent]);
        sent
    }

    fn receive(&mut self, outcome: &mut Outcome, hertz: u64) {
        let n = self.ports.rx.rx(&mut self.slots);
        let now = tsc();
        for slot in &mut self.slots[..n] {
            let Some(mbuf) = slot else { continue };
            if let Some(stamp) = payload(mbuf.data()).and_then(Stamp::read)
                && stamp.run == self.run
            {
                outcome.received += 1;
                let flow = self.traffic.flow(stamp.sequence) as usize;
                if stamp.sequence < self.next[flow] {
                    outcome.disordered += 1;
                } else {
                    self.next[flow] = stamp.sequence + 1;
                }
                let cycles = now.saturating_sub(stamp.sent);
                let nanos = u128::from(cycles) * 1_000_000_000 / u128::from(hertz);
                outcome.latency.saturating_record(nanos as u64);
            }
        }
        free_bulk(&mut self.slots[..n]);
        for other in &mut self.ports.others {
            let n = other.rx(&mut self.slots);
            free_bulk(&mut self.slots[..n]);
        }
    }
}

/// The payload of a frame of ours, as it comes back: behind Ethernet, perhaps a VLAN tag, IP and
/// UDP or TCP. `None` for anything else.
fn payload(frame: &[u8]) -> Option<&[u8]> {
    let tagged = frame.get(12..14)? == [0x81, 0x00];
    let l3 = if tagged { 18 } else { 14 };
    let (l4, protocol) = match frame.get(l3 - 2..l3)? {
        [0x08, 0x00] => (l3 + 20, *frame.get(l3 + 9)?),
        [0x86, 0xdd] => (l3 + 40, *frame.get(l3 + 6)?),
        _ => return None,
    };
    let header = match protocol {
        17 => 8,
        6 => 20,
        _ => return None,
    };
    frame.get(l4 + header..).filter(|payload| payload.len() >= stamp::LENGTH)
}

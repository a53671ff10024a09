//! The last stage: packets are collected by port and handed to the device in bursts.
//!
//! A worker that has no transmit queue of its own on a port (the device has fewer queues than
//! there are workers) hands the packet to one that has, over a bounded ring with one writer and
//! one reader. What the device or the ring does not take is dropped by name and freed in bulk:
//! a router that waits for one port stalls all the others.

use rtrb::{Consumer, Producer};
use sluice_channel::statistics::WorkerBlock;
use sluice_dpdk::{BURST, Mbuf, TxQueue, Unsendable, free_bulk};
use sluice_hooks::{Burst, Parts, count_drops};
use sluice_packet::Mask;
use sluice_policy::{DropReason, PortId, Stage};

use crate::pipeline::Stopwatch;

/// Ports that one dataplane can have: one bit each in the set of ports with packets waiting.
pub const MAX_PORTS: usize = 64;

/// A packet on its way to the worker that owns the port's queue.
pub struct HandedOver {
    /// The port it leaves by.
    pub port: PortId,
    /// The packet, ready to be sent.
    pub mbuf: Mbuf,
}

/// How this worker reaches a port.
pub enum Way {
    /// By a transmit queue of its own.
    Queue(TxQueue),
    /// Through the worker of this number.
    Worker(u16),
}

struct PortOutput {
    way: Option<Way>,
    waiting: [Option<Mbuf>; BURST],
    n: usize,
    /// The sum of their lengths.
    bytes: u64,
}

/// The ports as one worker sends to them.
pub struct Output {
    ports: Vec<PortOutput>,
    with_packets: Mask,
    handed_to: Mask,
    bursts: u32,
    to_workers: Vec<Option<Producer<HandedOver>>>,
    from_workers: Vec<Consumer<HandedOver>>,
}

impl Output {
    /// An output without ports. `to_workers` is indexed by worker, `None` for this one.
    pub fn new(
        to_workers: Vec<Option<Producer<HandedOver>>>,
        from_workers: Vec<Consumer<HandedOver>>,
    ) -> Output {
        let port = || PortOutput { way: None, waiting: [const { None }; BURST], n: 0, bytes: 0 };
        let ports = std::iter::repeat_with(port).take(MAX_PORTS).collect();
        Output {
            ports,
            with_packets: Mask::EMPTY,
            handed_to: Mask::EMPTY,
            bursts: 0,
            to_workers,
            from_workers,
        }
    }

    /// Opens the way to a port.
    pub fn attach(&mut self, port: PortId, way: Way) {
        if let Some(output) = self.ports.get_mut(port.index()) {
            output.way = Some(way);
        }
    }

    /// Closes the way to a port and gives its queue back. Packets to it are refused by name from
    /// now on.
    pub fn detach(&mut self, port: PortId) -> Option<Way> {
        self.ports.get_mut(port.index())?.way.take()
    }

    /// Adds a packet to its port's burst.
    pub fn push(&mut self, port: PortId, mbuf: Mbuf, statistics: WorkerBlock<'_>) {
        let output = self.with_room(port, 1, statistics);
        output.bytes += mbuf.pkt_len() as u64;
        output.waiting[output.n] = Some(mbuf);
        output.n += 1;
    }

    /// Takes packets out of `burst` and adds them to their port's, each one finished by `finish`.
    /// Those that it says `false` to stay; yields them.
    #[inline]
    pub fn take(
        &mut self,
        port: PortId,
        burst: &mut Burst,
        packets: Mask,
        statistics: WorkerBlock<'_>,
        mut finish: impl FnMut(usize, Parts<'_>) -> bool,
    ) -> Mask {
        let output = self.with_room(port, packets.len(), statistics);
        let (mut bytes, mut unfinished) = (0, Mask::EMPTY);
        for slot in packets {
            let Some(packet) = burst.parts(slot) else {
                unfinished.insert_rarely(slot);
                continue;
            };
            let length = packet.mbuf.pkt_len() as u64;
            if finish(slot, packet) {
                bytes += length;
            } else {
                unfinished.insert_rarely(slot);
            }
        }
        let finished = packets & !unfinished;
        let end = output.n + finished.len();
        burst.take_all(finished, &mut output.waiting[output.n..end]);
        output.n = end;
        output.bytes += bytes;
        unfinished
    }

    /// The port's burst, with room for `n` packets.
    #[inline]
    fn with_room(
        &mut self,
        port: PortId,
        n: usize,
        statistics: WorkerBlock<'_>,
    ) -> &mut PortOutput {
        let index = port.index() & (MAX_PORTS - 1);
        if self.ports[index].n + n > BURST {
            self.flush_port(index, statistics);
        }
        self.with_packets.insert(index);
        &mut self.ports[index]
    }

    /// The workers that were handed something since the last call: their doorbells are to be rung.
    #[inline]
    pub fn take_handed_to(&mut self) -> Mask {
        std::mem::take(&mut self.handed_to)
    }

    /// Hands everything that was collected to the devices.
    #[inline]
    pub fn flush(&mut self, statistics: WorkerBlock<'_>) {
        for index in self.with_packets {
            self.flush_port(index, statistics);
        }
    }

    #[inline(never)]
    fn flush_port(&mut self, index: usize, statistics: WorkerBlock<'_>) {
        self.bursts = self.bursts.wrapping_add(1);
        let stopwatch = Stopwatch::of(self.bursts);
        let start = stopwatch.start();
        let output = &mut self.ports[index];
        let n = std::mem::take(&mut output.n);
        let bytes = std::mem::take(&mut output.bytes);
        self.with_packets.remove(index);
        let counters = statistics.port(PortId(index as u16));
        let core = statistics.core();
        match &mut output.way {
            Some(Way::Queue(queue)) => {
                let taken = queue.tx(&mut output.waiting, n);
                let Unsendable { packets: unsendable, bytes: not_sent } = queue.take_unsendable();
                let refused = &mut output.waiting[..n - taken];
                let left = refused.iter().flatten().map(|mbuf| mbuf.pkt_len() as u64);
                let bytes = bytes - not_sent - left.sum::<u64>();
                let sent = taken - unsendable;
                core.tx.add(sent as u64);
                counters.tx_packets.add(sent as u64);
                counters.tx_bytes.add(bytes);
                if sent < n {
                    counters.tx_refused.add((n - sent) as u64);
                    count_drops(statistics, n - sent, DropReason::TxRefused);
                    free_bulk(refused);
                }
            }
            Some(Way::Worker(worker)) => {
                let ring = self.to_workers.get_mut(usize::from(*worker)).and_then(Option::as_mut);
                let handed = hand_over(ring, PortId(index as u16), &mut output.waiting, n);
                core.handed_out.add(handed as u64);
                self.handed_to.insert(usize::from(*worker));
                if handed < n {
                    discard(&mut output.waiting, n - handed, DropReason::HandoffFull, statistics);
                }
            }
            None => discard(&mut output.waiting, n, DropReason::TxNoQueue, statistics),
        }
        stopwatch.stop(statistics, Stage::Tx, n, start);
    }

    /// Takes what other workers handed over, at most a burst from each; returns how many.
    pub fn receive(&mut self, statistics: WorkerBlock<'_>) -> usize {
        let mut received = 0;
        for from in 0..self.from_workers.len() {
            for _ in 0..BURST {
                let Ok(HandedOver { port, mbuf }) = self.from_workers[from].pop() else { break };
                received += 1;
                self.push(port, mbuf, statistics);
            }
        }
        if received > 0 {
            statistics.core().handed_in.add(received as u64);
        }
        received
    }

    /// Whether another worker has handed something over.
    pub fn has_received(&self) -> bool {
        self.from_workers.iter().any(|ring| !ring.is_empty())
    }
}

/// Moves the first `n` packets into the ring as far as they fit, in order; the rest is moved to
/// the front.
fn hand_over(
    ring: Option<&mut Producer<HandedOver>>,
    port: PortId,
    waiting: &mut [Option<Mbuf>; BURST],
    n: usize,
) -> usize {
    let Some(ring) = ring else { return 0 };
    let mut handed = 0;
    while handed < n {
        let Some(mbuf) = waiting[handed].take() else { break };
        if let Err(rtrb::PushError::Full(back)) = ring.push(HandedOver { port, mbuf }) {
            waiting[handed] = Some(back.mbuf);
            break;
        }
        handed += 1;
    }
    waiting[..n].rotate_left(handed);
    handed
}

/// Drops the first `n` packets under one reason.
fn discard(
    waiting: &mut [Option<Mbuf>; BURST],
    n: usize,
    reason: DropReason,
    statistics: WorkerBlock<'_>,
) {
    free_bulk(&mut waiting[..n]);
    count_drops(statistics, n, reason);
}

//! The queues of a port. Each exists once.

use std::mem;
use std::sync::Arc;

use sluice_dpdk_sys as sys;
use sluice_dpdk_sys::rte_mbuf;

use crate::BURST;
use crate::mbuf::{Mbuf, forget_all};
use crate::port::Shared;

/// A receive queue. Not `Clone`, and polled through `&mut`: by one thread at a time.
#[derive(Debug)]
pub struct RxQueue {
    port: u16,
    queue: u16,
    shared: Arc<Shared>,
}

impl RxQueue {
    pub(crate) fn new(port: u16, queue: u16, shared: Arc<Shared>) -> RxQueue {
        RxQueue { port, queue, shared }
    }

    /// Takes what has arrived, up to a full burst, into the slots from 0 on, which must be empty.
    /// Returns how many. Nothing arrives before the port is started.
    #[inline]
    #[must_use]
    pub fn rx(&mut self, burst: &mut [Option<Mbuf>; BURST]) -> usize {
        debug_assert!(burst.iter().all(Option::is_none), "a packet would leak");
        if !self.shared.is_started() {
            return 0;
        }
        // SAFETY: the queue is set up and started, and cannot be stopped while this handle is
        // counted; `&mut self` keeps other threads out. The driver writes at most BURST pointers to
        // mbufs that it gives away.
        let received = unsafe {
            sys::sluice_rx_burst(
                self.port,
                self.queue,
                burst.as_mut_ptr().cast::<*mut rte_mbuf>(),
                BURST as u16,
            )
        };
        usize::from(received)
    }

    /// The number of the queue in its port.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.queue
    }
}

/// What a driver does not check in the packets that it is given to send, so that we have to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// It reads a packet as if it were in one segment.
    pub(crate) one_segment: bool,
    /// It copies longer packets past the end of a buffer.
    pub(crate) length: Option<usize>,
}

/// A transmit queue. Not `Clone`, and used through `&mut`: by one thread at a time.
#[derive(Debug)]
pub struct TxQueue {
    port: u16,
    queue: u16,
    limits: Option<Limits>,
    unsendable: Unsendable,
    shared: Arc<Shared>,
}

/// Packets that a driver cannot send at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unsendable {
    /// How many.
    pub packets: usize,
    /// The sum of their lengths.
    pub bytes: u64,
}

impl TxQueue {
    pub(crate) fn new(port: u16, queue: u16, limits: Option<Limits>, shared: Arc<Shared>) -> Self {
        TxQueue { port, queue, limits, unsendable: Unsendable::default(), shared }
    }

    /// Gives the packets in the slots 0 to `n`, all of which must be full, to the driver in that order.
    /// Returns how many it took; those it did not take are moved to the slots from 0 on, in order, and
    /// all behind them are empty.
    ///
    /// A packet that the driver cannot send at all is taken and counted as one of the port's
    /// [`oerrors`](crate::PortStats::oerrors): one longer than the buffers of an af_xdp port, or one in several
    /// segments that do not fit into one, where the driver knows no segments.
    ///
    /// # Panics
    ///
    /// `n` is more than a burst, or one of the slots is empty.
    #[inline]
    #[must_use]
    pub fn tx(&mut self, burst: &mut [Option<Mbuf>; BURST], n: usize) -> usize {
        let packets = &mut burst[..n];
        // A null pointer among them would be the driver's to follow.
        let full = packets.iter().fold(true, |full, packet| full & packet.is_some());
        assert!(full, "an empty slot cannot be sent");
        if n == 0 || !self.shared.is_started() {
            return 0;
        }
        let unsendable = match self.limits {
            None => 0,
            Some(limits) => self.drop_unsendable(packets, limits),
        };
        let sendable = n - unsendable;
        // SAFETY: the queue is set up and started, and cannot be stopped while this handle is
        // counted; `&mut self` keeps other threads out. The first `sendable` pointers are valid and
        // owned, and within the driver's limits.
        let sent = unsafe {
            sys::sluice_tx_burst(
                self.port,
                self.queue,
                packets.as_mut_ptr().cast::<*mut rte_mbuf>(),
                sendable as u16,
            )
        };
        let sent = usize::from(sent).min(sendable);
        // SAFETY: the driver owns these packets now.
        unsafe { forget_all(&mut packets[..sent]) };
        packets.rotate_left(sent);
        sent + unsendable
    }

    /// Those of the packets that [`tx`](Self::tx) took since the last call that were not sent but
    /// freed, because the driver cannot send them at all.
    #[inline]
    pub fn take_unsendable(&mut self) -> Unsendable {
        mem::take(&mut self.unsendable)
    }

    /// Frees what the driver must not see and moves the rest together. Returns how many were freed.
    #[cold]
    fn drop_unsendable(&mut self, packets: &mut [Option<Mbuf>], limits: Limits) -> usize {
        let mut kept = 0;
        for i in 0..packets.len() {
            let sendable = packets[i].as_mut().is_some_and(|packet| {
                limits.length.is_none_or(|most| packet.pkt_len() <= most)
                    && (!limits.one_segment || packet.linearise())
            });
            if sendable {
                packets.swap(kept, i);
                kept += 1;
            } else {
                let dropped = packets[i].take();
                self.unsendable.bytes += dropped.map_or(0, |mbuf| mbuf.pkt_len() as u64);
            }
        }
        let dropped = packets.len() - kept;
        self.unsendable.packets += dropped;
        if dropped > 0 {
            self.shared.count_unsendable(dropped as u64);
        }
        dropped
    }

    /// The number of the queue in its port.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.queue
    }
}

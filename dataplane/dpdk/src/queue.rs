//! The queues of a port. Each exists once.

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

/// A transmit queue. Not `Clone`, and used through `&mut`: by one thread at a time.
#[derive(Debug)]
pub struct TxQueue {
    port: u16,
    queue: u16,
    shared: Arc<Shared>,
}

impl TxQueue {
    pub(crate) fn new(port: u16, queue: u16, shared: Arc<Shared>) -> TxQueue {
        TxQueue { port, queue, shared }
    }

    /// Gives the packets in the slots 0 to `n`, all of which must be full, to the driver in that order.
    /// Returns how many it took; those it did not take are moved to the slots from 0 on, in order, and
    /// all behind them are empty.
    ///
    /// # Panics
    ///
    /// `n` is more than a burst.
    #[inline]
    #[must_use]
    pub fn tx(&mut self, burst: &mut [Option<Mbuf>; BURST], n: usize) -> usize {
        let packets = &mut burst[..n];
        // A null pointer among them would be the driver's to follow.
        assert!(packets.iter().all(Option::is_some), "an empty slot cannot be sent");
        if n == 0 || !self.shared.is_started() {
            return 0;
        }
        // SAFETY: the queue is set up and started, and cannot be stopped while this handle is
        // counted; `&mut self` keeps other threads out. All `n` pointers are valid and owned.
        let sent = unsafe {
            sys::sluice_tx_burst(
                self.port,
                self.queue,
                packets.as_mut_ptr().cast::<*mut rte_mbuf>(),
                n as u16,
            )
        };
        let sent = usize::from(sent).min(n);
        // SAFETY: the driver owns these packets now.
        unsafe { forget_all(&mut packets[..sent]) };
        packets.rotate_left(sent);
        sent
    }

    /// The number of the queue in its port.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.queue
    }
}

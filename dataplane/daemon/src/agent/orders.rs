//! What the agent tells a worker: a ring of orders, and those that have not found room in it yet.
//!
//! A worker that stands still empties no ring. Some orders are left out then, since they are repeated;
//! some fail after a while; and some are *owed*: they are given whenever there is room, since what
//! they ask back is the agent's, however late.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use rtrb::{Producer, PushError};
use sluice_pipelines::neighbour::solicit::Solicit;

use super::{LOOK, STUCK};
use crate::doorbell::Doorbell;
use crate::worker::Order;

/// Orders to a worker that are kept free for what has to arrive.
const RESERVE: usize = 256;

/// The agent's end of a worker's ring of orders.
pub struct Orders {
    ring: Producer<Order>,
    doorbell: Arc<Doorbell>,
    owed: VecDeque<Order>,
}

impl Orders {
    /// Over a ring of which the worker has the other end, and the worker's doorbell.
    pub fn new(ring: Producer<Order>, doorbell: Arc<Doorbell>) -> Orders {
        Orders { ring, doorbell, owed: VecDeque::new() }
    }

    /// Has the worker send something. With too many orders waiting it is left out: solicitations
    /// are repeated, and must not keep out what is not.
    pub fn send(&mut self, solicit: Solicit) {
        if self.ring.slots() > RESERVE {
            let _ = self.ring.push(Order::Solicit(solicit));
        }
        self.doorbell.ring();
    }

    /// Gives the worker an order that has to arrive. `false` when it takes none for too long: it
    /// is stuck.
    pub fn give(&mut self, mut order: Order) -> bool {
        let deadline = Instant::now() + STUCK;
        loop {
            match self.try_give(order) {
                Ok(()) => return true,
                Err(back) if Instant::now() < deadline => order = back,
                Err(_) => return false,
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Gives the worker an order if there is room for it, or gives it back.
    pub fn try_give(&mut self, order: Order) -> Result<(), Order> {
        let given = self.ring.push(order).map_err(|PushError::Full(back)| back);
        self.doorbell.ring();
        given
    }

    /// Gives the worker an order as soon as there is room for it, and never waits.
    pub fn owe(&mut self, order: Order) {
        self.owed.push_back(order);
        self.settle();
    }

    /// Gives the worker what it is owed, as far as there is room.
    pub fn settle(&mut self) {
        while let Some(order) = self.owed.pop_front() {
            if let Err(back) = self.try_give(order) {
                self.owed.push_front(back);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rtrb::RingBuffer;
    use sluice_policy::PortId;

    use super::*;

    #[test]
    fn what_is_owed_arrives_in_order_however_long_the_ring_is_full() {
        let (ring, mut taken) = RingBuffer::new(2);
        let mut orders = Orders::new(ring, Arc::new(Doorbell::new().unwrap()));
        let fill = || Order::Detach(PortId(0));
        assert!(orders.give(fill()) && orders.give(fill()));
        for slot in [5, 6, 7] {
            orders.owe(Order::TakeHook(slot));
        }
        assert!(orders.try_give(fill()).is_err(), "the ring is full");
        let mut slots = Vec::new();
        for _ in 0..6 {
            orders.settle();
            while let Ok(order) = taken.pop() {
                match order {
                    Order::TakeHook(slot) => slots.push(slot),
                    _ => assert!(slots.is_empty(), "what was there before comes first"),
                }
            }
        }
        assert_eq!(slots, [5, 6, 7]);
    }
}

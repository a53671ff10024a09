//! The counters by name.
//!
//! Every type here is a row of [`Counter`]s and nothing else, so that it can lie in memory that
//! another process maps.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one thread writes and anyone reads.
///
/// Adding is a load and a store, not a locked instruction: it is exact because there is a single
/// writer. Two writers would lose counts (and nothing worse).
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, wrapping. For the counter's one writer.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Sets a gauge. For the counter's one writer.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A type that may be laid over shared memory.
///
/// # Safety
///
/// The type is [`Counter`], or `#[repr(C)]` with at least one field and no field but `Counter`s:
/// any bytes are a valid value, shared mutation is allowed, the size is a multiple of eight and
/// the alignment is eight.
pub(super) unsafe trait Row {}

// SAFETY: it is `Counter` itself.
unsafe impl Row for Counter {}

macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($(#[$help:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        #[repr(C)]
        pub struct $name {
            $($(#[$help])* pub $field: Counter,)*
        }

        // SAFETY: `repr(C)` over `Counter`s only, as this macro writes it.
        unsafe impl Row for $name {}

        impl $name {
            /// Sets every counter to 0. For their one writer.
            pub fn reset(&self) {
                $(self.$field.set(0);)*
            }

            /// Every counter with its name, in the order of the fields.
            pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field.get()),)*].into_iter()
            }
        }
    };
}

row! {
    /// A worker's account of its packets, and of itself.
    ///
    /// Whenever the worker is between two bursts,
    /// `rx + generated + handed_in = tx + punted + consumed + dropped + handed_out + held`.
    CoreCounters {
        /// Packets received from ports.
        rx,
        /// Packets made here: answers, requests, fragments.
        generated,
        /// Packets taken over from other workers.
        handed_in,
        /// Packets that a driver accepted.
        tx,
        /// Packets given to the agent or the host.
        punted,
        /// Packets that ended here as they should: answered, learnt from.
        consumed,
        /// Packets dropped, the sum of [`WorkerBlock::drops`](super::WorkerBlock::drops).
        dropped,
        /// Packets given to other workers.
        handed_out,
        /// Gauge: packets that wait, for a neighbour or for the rest of their burst.
        held,
        /// Turns of the poll loop: the worker's heartbeat.
        loops,
        /// Turns of the poll loop that found packets.
        busy_loops,
        /// TSC cycles of the turns that found packets.
        busy_cycles,
        /// Times that the worker went to sleep.
        sleeps,
        /// Gauge: generation of the policy that the worker has adopted.
        generation,
        /// Gauge: the author's hook that the worker is in, its slot and 1; 0 while it is in none.
        in_hook,
    }
}

impl CoreCounters {
    /// Packets that came and did not go, by the account above; 0 whenever the worker is between two
    /// bursts. Right however often a counter has wrapped.
    pub fn unaccounted(&self) -> i64 {
        let came = [&self.rx, &self.generated, &self.handed_in];
        let went =
            [&self.tx, &self.punted, &self.consumed, &self.dropped, &self.handed_out, &self.held];
        let sum = |of: &[&Counter]| of.iter().fold(0, |sum: u64, n| sum.wrapping_add(n.get()));
        sum(&came).wrapping_sub(sum(&went)) as i64
    }
}

row! {
    /// What one worker did at one port.
    PortCounters {
        /// Packets received.
        rx_packets,
        /// Bytes received, from the Ethernet header on.
        rx_bytes,
        /// Packets that the driver accepted.
        tx_packets,
        /// Bytes that the driver accepted.
        tx_bytes,
        /// Packets that the driver did not take.
        tx_refused,
    }
}

row! {
    /// What one worker saw match one rule.
    RuleCounters {
        /// Packets.
        packets,
        /// Bytes, from the IP header on.
        bytes,
    }
}

row! {
    /// One worker's work in one stage.
    StageCounters {
        /// Bursts.
        bursts,
        /// Packets.
        packets,
        /// Packets that the stage dropped.
        dropped,
        /// TSC cycles, estimated from the bursts that were timed.
        cycles,
    }
}

row! {
    /// What one worker did in one hook that does not ship with Sluice.
    HookCounters {
        /// Calls.
        bursts,
        /// Packets that it was shown.
        packets,
        /// Packets that it dropped, those lost to its panics included.
        dropped,
        /// TSC cycles, estimated from the calls that were timed.
        cycles,
        /// Calls that panicked.
        panics,
    }
}

row! {
    /// What one worker did in such a hook with the packets of one instance.
    HookInstanceCounters {
        /// Packets that it was shown.
        packets,
        /// Packets that it dropped, those lost to its panics included.
        dropped,
        /// TSC cycles, estimated from the calls that were timed.
        cycles,
    }
}

row! {
    /// One worker's flow table. A connection counts once, not once a direction.
    FlowCounters {
        /// Gauge: connections that the table has room for.
        capacity,
        /// Gauge: connections in it.
        in_use,
        /// Gauge: those of them that nobody has answered, or whose handshake is not done.
        half_open,
        /// Connections that began.
        inserted,
        /// Connections that were silent for too long.
        aged,
        /// Connections that an operator ended.
        killed,
        /// Half-open connections that made room for new ones.
        evicted_half_open,
        /// Closing and closed ones that did.
        evicted_closing,
        /// Idle ones of protocols without connections that did.
        evicted_idle,
        /// Packets that began no connection because there was no room: they were forwarded all
        /// the same.
        full,
    }
}

row! {
    /// What the agent writes about the appliance.
    AgentCounters {
        /// Gauge: generation of the live policy.
        generation,
        /// Transactions that took effect.
        commits,
        /// Transactions that were refused, for their content or for their generation.
        refusals,
        /// Gauge: replaced policies that some worker may still read.
        retired,
        /// Control processes that attached.
        sessions,
        /// Sessions that ended with a malformed frame or message.
        sessions_malformed,
        /// Notices that found no room.
        notices_lost,
        /// Gauge: entries of the neighbour table.
        neighbours,
        /// Packets that the agent made: requests, probes, announcements.
        generated,
        /// Packets that workers gave to the agent.
        punted,
        /// Gauge: milliseconds of `CLOCK_MONOTONIC` when the agent last began a turn. It turns at
        /// least four times a second unless it is stuck.
        heartbeat,
        /// Gauge: cycles of the time-stamp counter in a second.
        hertz,
        /// Gauge: milliseconds of `CLOCK_MONOTONIC` when the dataplane started.
        started,
    }
}

row! {
    /// What the agent knows of one port.
    PortGauges {
        /// Gauge: 1 while the link is up.
        link,
        /// Packets that the kernel dropped before the port saw them.
        kernel_drops,
        /// Packets that the device had no descriptor for.
        missed,
        /// Packets that the device received or sent with an error.
        device_errors,
        /// Packets that the device had no buffer for.
        no_buffers,
    }
}

//! The flow table of one worker: connections, what was decided about them, and their state.
//!
//! A *connection* has two *halves*, one for each direction. A half is one cache line: its key, what
//! the pipeline decided for packets of this direction ([`Half::path`] and what it was decided with),
//! and small change of its counters. What both halves share, TCP windows above all, is in a further
//! line, which only TCP and changes of state look at. Both keys are stored; neither is derived from
//! the other at lookup.
//!
//! * [`Table::find`] looks a burst up in passes, so that cache misses overlap.
//! * [`Table::track`] says what a packet of a known connection is ([`ConnectionState`]) and moves the
//!   connection; `tcp` holds the rules of TCP.
//! * [`Table::insert`] makes a connection of its first packet. When there is no room, it takes the
//!   oldest that may go: see [`Class`].
//! * [`Table::tend`] is the clock hand, which a worker calls once a turn: it takes out what has been
//!   idle too long and shows the pipeline every half, so that silent connections are judged anew too.
//! * [`Table::allows`] and [`Table::hold`] count what rules limit ([`limits`]).
//!
//! # What must hold
//!
//! * Memory is allocated and written to when the table is made, never later.
//! * No operation walks further than a bound that does not depend on what the table holds: a key has
//!   two buckets of eight, and there are no chains. The hash is keyed ([`key`]), and whoever knows
//!   the key all the same can fill two buckets and no more.
//! * A TCP connection that is open is never evicted.
//! * Time comes from the caller, who reads the time-stamp counter once a turn. Clocks that stand
//!   still or go back end no connection.
//! * One worker owns the table: nothing here is shared, locked or atomic.
//!
//! `unsafe` is in `memory`, `prefetch` and `tags` alone.
//!
//! [`ConnectionState`]: sluice_packet::ConnectionState

mod clock;
mod half;
mod index;
mod key;
pub mod limits;
mod lists;
mod memory;
mod phase;
mod prefetch;
mod state;
mod table;
mod tags;
mod tcp;
mod timeouts;

pub use half::{Half, HalfId, Likeness, NO_PATH};
pub use key::Key;
pub use memory::{AllocationError, Pages};
pub use phase::{Class, Phase};
pub use prefetch::prefetch;
pub use state::Count;
pub use table::{Connection, Counters, Fate, Inserted, Limits, Strictness, Table};
pub use timeouts::Timeouts;

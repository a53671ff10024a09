//! Instances, protocols, events, hooks, hints and verdicts: the interface that hook authors write
//! against, after the model of Solaris' Packet Filtering Hooks.
//!
//! A **hook** is a function over a burst ([`Hook`]) or over one packet ([`PacketHook`], run
//! through the [`PerPacket`] adapter). It is registered in the [`Registry`] at an [`Event`] of a
//! [`Protocol`], for one instance or for all, with a [`Hint`] where in the order it wants to
//! stand. The registry makes one hook object for each worker (its context per core), and
//! resolves each event's order into an immutable [`HookOrder`] that is published with the policy.
//!
//! The stages that ship with Sluice are hooks like any other: `sluice show pipeline` prints them
//! in the order resolved here.
//!
//! What must never be:
//! * a hook that blocks, allocates, locks, logs or calls the kernel on the packet's path;
//! * a packet that leaves a [`Burst`] by any way other than `drop`, `consume`, `take` or transmit:
//!   the accounting equation counts on it;
//! * a reference to the policy kept beyond the call: it is freed when the burst is done.

#![forbid(unsafe_code)]

mod bucket;
mod burst;
mod context;
mod hook;
mod metadata;
mod observer;
mod outbox;
mod packet;
mod ports;
mod registry;

pub use bucket::TokenBucket;
pub use burst::{Burst, Way};
pub use context::{Context, count_drop};
pub use hook::{Hook, PacketHook, PerPacket, Verdict};
pub use metadata::{Metadata, MetadataError, MetadataKey};
pub use observer::{Direction, Observed, Observer, ReadOnly};
pub use outbox::{Originated, Outbox, Report};
pub use packet::{LinkGroup, OwnedPacket, Packet, PacketError, Parts};
pub use ports::{PortFacts, Ports};
pub use registry::{Factory, HookIndex, HookOrder, Registration, Registry, RegistryError};
pub use sluice_policy::order::{ForeignHook, Hint, OrderError};
pub use sluice_policy::{Event, Protocol};

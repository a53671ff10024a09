//! Instances, protocols, events, hooks, hints and verdicts: the interface that hook authors write
//! against, after the model of Solaris' Packet Filtering Hooks.
//!
//! A **hook** is a function over a burst ([`Hook`]) or over one packet ([`PacketHook`], run
//! through the [`PerPacket`] adapter). It stands at an [`Event`] of a [`Protocol`], for one instance
//! or for all, with a [`Hint`] where in the order it wants to stand. Each worker has an object of
//! its own (context per core), so that a hook's state needs no lock.
//!
//! Hooks come and go while packets flow, in two ways: an operator loads a [`Program`] under a name;
//! a [`Module`] registers what it likes in every instance ([`stack`]). Each event's order is
//! resolved into an immutable [`HookOrder`] that is published with the policy.
//!
//! The stages that ship with Sluice ([`Registry`]) are hooks like any other: `sluice show hooks`
//! prints them in the order resolved here.
//!
//! What must never be:
//! * a hook that blocks, allocates, locks, logs or calls the kernel on the packet's path;
//! * a packet that leaves a [`Burst`] by any way other than `drop`, `consume`, `take` or transmit:
//!   the accounting equation counts on it;
//! * a reference to the policy kept beyond the call: it is freed when the burst is done.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod abi;
mod bucket;
mod burst;
mod checksum;
mod choice;
mod context;
mod guard;
mod hook;
pub mod inject;
mod metadata;
mod observer;
mod outbox;
mod packet;
mod ports;
mod program;
mod query;
mod registry;
pub mod sandbox;
pub mod stack;

pub use bucket::TokenBucket;
pub use burst::{Burst, Way};
pub use checksum::{Checksums, PartialChecksum, Validity, decode_ip};
pub use choice::{Candidate, Choice, ChoiceError};
pub use context::{Context, RuleCounters, count_drop, count_drops};
pub use guard::Guard;
pub use hook::{Hook, PacketHook, PerPacket, Verdict};
pub use inject::{InjectError, Injected, Injection};
pub use metadata::{Metadata, MetadataError, MetadataKey};
pub use observer::{Direction, Observed, Observer};
pub use outbox::{Note, Originated, Outbox, Report};
pub use packet::{LinkGroup, OwnedPacket, Packet, PacketError, Parts};
pub use ports::{PortFacts, Ports};
pub use program::{Factory, Loadable, Made, Make, Program, ProgramError, Settings, Wants};
pub use query::{AddressFlags, AddressId, AddressKind, Interfaces, QueryError, RouteTo};
pub use registry::{HookIndex, HookOrder, Registry, RegistryError, Standing};
pub use sluice_policy::order::{ForeignHook, Hint, OrderError};
pub use sluice_policy::{
    ChosenRoute, DropReason, Event, InstanceId, InterfaceId, Protocol, TableId,
};
pub use stack::{Api, HookSpec, Module, Stack};

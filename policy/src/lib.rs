//! What both processes agree on: the desired state, its compiled form, and the code that
//! evaluates a packet against it. No DPDK, so that the control process can run the very code
//! that forwards.
//!
//! * [`config`] reads the YAML file into a [`model::State`], with every mistake named by line.
//! * [`model`] is the desired state and its [`model::Delta`]: what travels over the channel.
//! * [`Policy`] is one immutable compiled value; `apply` makes the next one.
//! * [`arrival`] and [`answer`] are what the router itself makes of a packet, and says about it.
//! * [`evaluate`] asks a policy about packets; its [`evaluate::Recorder`] is how [`explain`] sees
//!   each step, and compiles away in the workers.

#![deny(unsafe_code)]

pub mod answer;
pub mod arrival;
pub mod assertion;
mod classifier;
pub mod config;
pub mod device;
mod difference;
mod digest;
pub mod drop_reason;
pub mod evaluate;
pub mod event;
pub mod explain;
pub mod fib;
mod filter;
mod flows;
pub mod hook;
pub mod ids;
mod instance;
mod interface;
mod mac;
pub mod model;
mod names;
pub mod order;
mod owner;
mod packed;
pub mod policy;
mod route;
#[expect(unsafe_code, reason = "vector instructions")]
mod simd;
mod steering;

pub use digest::{Digests, Table};
pub use drop_reason::DropReason;
pub use evaluate::{FilterDecision, NoRecorder, Recorder, RouteDecision};
pub use event::{Event, Protocol, Stage};
pub use explain::{Explanation, Query};
pub use ids::{InstanceId, InterfaceId, NextHopId, PortId, RuleSlot, TableId};
pub use instance::Instance;
pub use interface::Interface;
pub use names::Names;
pub use packed::{Packed, Packer};
pub use policy::{
    ChosenRoute, Editions, Mistake, Moved, Policy, PolicyError, PolicyRouteInfo, PortEntry,
    RouteInfo, RuleInfo, Subject, TableEntry, Thing,
};
pub use route::ResolvedNextHop;
pub use simd::{Level, TooOld};

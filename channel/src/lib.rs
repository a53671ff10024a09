//! The shared-memory channel between the dataplane and its control process, both ends.
//!
//! The dataplane listens on [`SOCKET`] in its directory as a [`Server`]; a control process
//! attaches as a [`Client`]. Over that socket they greet each other and the dataplane hands over
//! two pieces of shared memory: that session's two rings, for [`Command`]s down and for [`Reply`]s
//! and [`Notice`]s up, and the [`Statistics`], which stay the same for as long as the dataplane
//! lives. After that the socket carries only a bell, and its hang-up ends the session.
//!
//! ```text
//! Client / Server      call and reply, attach and detach
//! link                 one end of a session: socket, memory, a stream each way
//! stream               messages of any size, cut into frames and put together under a bound
//! frame                length, kind, sequence, CRC-32C
//! ring                 words, one producer, one consumer
//! segment, mapping     sealed memory that is accessed by atomics only
//! ```
//!
//! # What must never be
//!
//! * The dataplane never waits for a control process. Every wait of the control process has a
//!   deadline.
//! * Neither end believes the other: indices are checked against the ring on every use, a frame
//!   is copied out once and only the copy is looked at, and its length, checksum, kind, flags and
//!   sequence are checked before its content is. What is wrong ends the session with a
//!   [`Malformed`] that says what was, and nothing else happens.
//! * A command arrives whole or not at all. One that its sender did not finish goes with the
//!   session, and so does an open transaction: that is what [`Incoming::Detached`] is for.
//! * There is one dataplane for a directory (a lock file says which) and one control process
//!   for a dataplane, both of one release and one user, or root.

mod capture;
mod client;
mod error;
mod flows;
mod frame;
mod greeting;
mod hooks;
mod link;
mod lock;
mod mapping;
mod message;
mod ring;
mod segment;
mod server;
mod socket;
pub mod statistics;
mod stream;

#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(feature = "measuring")]
pub mod measuring;
#[cfg(test)]
mod tests;

pub use capture::{
    CAPTURE_PAGE, CaptureDirection, CaptureFilter, CapturePage, CaptureRequest, CapturedPacket,
    MAX_CAPTURE_BUFFER, MAX_CAPTURED, MAX_SNAPLEN,
};
pub use client::Client;
pub use error::ChannelError;
pub use flows::{
    FlowDirection, FlowFilter, FlowPage, FlowPath, FlowPlace, FlowState, FlowStatus, FlowTuple,
    MAX_FLOW_RULES, MAX_FLOWS,
};
pub use frame::Malformed;
pub use hooks::{
    HookInInstance, HookOrigin, HookReport, HookState, HookStatus, ModuleStatus, ProgramStatus,
};
pub use message::{
    Command, CrashReport, Limits, MempoolStatus, Neighbour, NeighbourState, Notice, PortStatus,
    Reply, RuleLog, RuleStatus, Status, WorkerStatus,
};
pub use server::{Busy, Detachment, Incoming, Refusal, Server};
pub use statistics::{Counter, Statistics, WorkerBlock};

/// The socket's name in the dataplane's directory.
pub const SOCKET: &str = "dataplane.sock";

//! The shared-memory channel between the dataplane and its control process, both ends.

mod client;
mod error;
mod frame;
mod mapping;
mod message;
mod server;
pub mod statistics;

pub use client::Client;
pub use error::ChannelError;
pub use frame::Malformed;
pub use message::{
    Command, Limits, MempoolStatus, Neighbour, NeighbourState, Notice, PortStatus, Reply, RuleLog,
    RuleStatus, Status, WorkerStatus,
};
pub use server::{Busy, Detachment, Incoming, Refusal, Server};
pub use statistics::{Counter, Statistics, WorkerBlock};

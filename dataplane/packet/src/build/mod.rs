//! Packets that a router originates, written into a buffer of the caller's: link header, IP
//! header and what is in it, with every checksum right. Nothing is sent from here.
//!
//! Each builder returns the bytes it wrote, or a [`BuildError`] and a buffer whose content means
//! nothing. Frames are not padded to the Ethernet minimum: that is the device's affair.

pub mod arp;
pub mod echo;
pub mod error;
pub mod nd;
pub mod tcp;

mod writer;

pub use writer::LinkHeader;

/// Why a packet was not built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BuildError {
    /// The buffer cannot hold the packet.
    #[error("the packet needs {needed} bytes, the buffer has {available}: pass a larger buffer")]
    BufferTooSmall {
        /// Bytes of the packet.
        needed: usize,
        /// Bytes of the buffer.
        available: usize,
    },
    /// What is to be answered is not in the frame, or is not what the function answers.
    #[error("the frame holds no {0} to answer: check its descriptor first")]
    Unanswerable(&'static str),
}

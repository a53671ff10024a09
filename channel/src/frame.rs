//! Frames.

use thiserror::Error;

/// What is wrong with what the other end sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The indices of a ring contradict each other.
    #[error("the ring says that {used} of its {capacity} bytes are in use")]
    Indices {
        /// Bytes in use.
        used: u64,
        /// Bytes that there are.
        capacity: u64,
    },
}

//! The headers below what a builder is about.

use crate::ethernet::Mac;

/// What to write into the link header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkHeader {
    /// Destination address.
    pub dst: Mac,
    /// Source address.
    pub src: Mac,
    /// VLAN identifier; 0 writes no tag.
    pub vlan: u16,
}

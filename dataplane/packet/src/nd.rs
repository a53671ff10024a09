//! Neighbour discovery messages (RFC 4861).

use core::net::Ipv6Addr;

use crate::descriptor::Descriptor;
use crate::ethernet::Mac;

/// Why a neighbour discovery message is ignored (RFC 4861 sections 7.1.1 and 7.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    /// It is another message, or cut short.
    #[error("no such message")]
    Length,
}

/// A valid neighbour solicitation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Solicitation {
    /// Who asks; unspecified when it probes for a duplicate (RFC 4862).
    pub source: Ipv6Addr,
    /// Whose MAC address is asked for.
    pub target: Ipv6Addr,
    /// MAC address of who asks.
    pub source_mac: Option<Mac>,
}

/// A valid neighbour advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advertisement {
    /// Whose MAC address is told.
    pub target: Ipv6Addr,
    /// The MAC address.
    pub target_mac: Option<Mac>,
    /// The target is a router.
    pub router: bool,
    /// It answers a solicitation.
    pub solicited: bool,
    /// It replaces what is known.
    pub replaces: bool,
}

/// Reads and checks a neighbour solicitation.
pub fn solicitation(frame: &[u8], d: &Descriptor) -> Result<Solicitation, Invalid> {
    let _ = (frame, d);
    Err(Invalid::Length)
}

/// Reads and checks a neighbour advertisement.
pub fn advertisement(frame: &[u8], d: &Descriptor) -> Result<Advertisement, Invalid> {
    let _ = (frame, d);
    Err(Invalid::Length)
}

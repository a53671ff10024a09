//! One direction of a connection.

use sluice_packet::{ConnectionState, protocol};

use crate::key::Key;

/// [`Half::path`] of a half about which nothing was decided yet.
pub const NO_PATH: u32 = u32::MAX;

/// Names a half. Connection `c` has the halves `2c` and `2c + 1`; which of them was first to send,
/// [`Half::is_reply`] says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct HalfId(pub(crate) u32);

impl HalfId {
    /// No half.
    pub const NONE: HalfId = HalfId(u32::MAX);

    /// Whether it is no half.
    #[inline(always)]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Whether it is a half.
    #[inline(always)]
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }

    /// The other direction of the same connection.
    #[inline(always)]
    pub fn other(self) -> HalfId {
        debug_assert!(self.is_some());
        HalfId(self.0 ^ 1)
    }

    /// Number of the connection.
    #[inline(always)]
    pub fn connection(self) -> u32 {
        self.0 >> 1
    }

    /// Which of the two halves it is.
    #[inline(always)]
    pub(crate) fn side(self) -> usize {
        (self.0 & 1) as usize
    }

    #[inline(always)]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The half is of the direction that answers.
pub(crate) const REPLY: u8 = 1 << 0;
/// Packets of both directions were seen.
pub(crate) const ANSWERED: u8 = 1 << 1;

/// Its earlier packets are counted in the connection's totals.
pub(crate) const TOTALS: u8 = 1 << 2;
/// Packets of this direction move nothing but counters: it is of a protocol other than TCP, and it
/// began or has answered.
pub(crate) const STEADY: u8 = 1 << 3;

/// One direction of a connection: a cache line.
///
/// The public fields are the pipeline's: what it decided for packets of this direction, and with what
/// it did. The table sets them to [`NO_PATH`] and zeros when a connection begins, and when a closed
/// one is reopened; otherwise it never looks at them.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Half {
    pub(crate) key: Key,
    /// What becomes of packets of this direction, as the pipeline numbers it.
    pub path: u32,
    /// The edition of policy at which the path was decided.
    pub edition: u32,
    /// The interface of the packet with which it was decided.
    pub ingress: u16,
    /// Its traffic class.
    pub traffic_class: u8,
    /// Its TCP flags.
    pub tcp_flags: u8,
    /// Its state.
    pub state: ConnectionState,
    pub(crate) flags: u8,
    /// Packets that are not in the connection's totals yet.
    pub(crate) packets: u16,
    /// Their bytes: 65,535 packets of 65,535 bytes fit.
    pub(crate) bytes: u32,
    /// The tick at which the last packet came.
    pub(crate) seen: u32,
}

const _: () = assert!(size_of::<Half>() == 64, "a half is one cache line");

impl Half {
    pub(crate) const EMPTY: Half = Half {
        key: Key::EMPTY,
        path: NO_PATH,
        edition: 0,
        ingress: 0,
        traffic_class: 0,
        tcp_flags: 0,
        state: ConnectionState::Untracked,
        flags: 0,
        packets: 0,
        bytes: 0,
        seen: 0,
    };

    pub(crate) fn new(key: Key, flags: u8, seen: u32) -> Half {
        let steady = key.protocol() != protocol::TCP && flags & REPLY == 0;
        Half { key, flags: if steady { flags | STEADY } else { flags }, seen, ..Half::EMPTY }
    }

    /// The key of packets of this direction.
    #[inline]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Whether this is the direction that answers.
    #[inline(always)]
    pub fn is_reply(&self) -> bool {
        self.flags & REPLY != 0
    }

    /// Whether packets of both directions were seen.
    #[inline(always)]
    pub fn is_answered(&self) -> bool {
        self.flags & ANSWERED != 0
    }

    /// Whether packets of this direction move nothing but counters.
    #[inline(always)]
    pub fn is_steady(&self) -> bool {
        self.flags & STEADY != 0
    }

    /// What packets of the direction are: New until somebody has answered.
    #[inline(always)]
    pub(crate) fn state_of_packets(&self) -> ConnectionState {
        match self.flags & (REPLY | ANSWERED) {
            0 => ConnectionState::New,
            _ => ConnectionState::Established,
        }
    }

    #[inline(always)]
    pub(crate) fn has_totals(&self) -> bool {
        self.flags & TOTALS != 0
    }

    /// What stands beside the key.
    #[inline(always)]
    pub fn likeness(&self) -> Likeness {
        Likeness {
            decided: u64::from(self.path) | u64::from(self.edition) << 32,
            about: u32::from(self.ingress)
                | (self.state as u32) << 16
                | u32::from(self.flags & !TOTALS) << 24,
        }
    }

    /// Counts a packet. Says whether the counters have to be brought to the connection's totals.
    #[inline(always)]
    pub(crate) fn note(&mut self, length: u16, tick: u32) -> bool {
        self.seen = tick;
        self.packets += 1;
        self.bytes += u32::from(length);
        self.packets == u16::MAX
    }
}

/// What was decided about packets of a direction and by which interface and in which state they
/// came, in words that are quick to compare: what is like a direction of which it is known that it
/// still holds, holds as well. Traffic class and TCP flags are no part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Likeness {
    decided: u64,
    about: u32,
}

impl Likeness {
    /// Like none about which something was decided.
    pub const NONE: Likeness = Likeness { decided: u64::MAX, about: u32::MAX };

    /// [`Half::path`].
    #[inline(always)]
    pub fn path(self) -> u32 {
        self.decided as u32
    }

    /// [`Half::edition`].
    #[inline(always)]
    pub fn edition(self) -> u32 {
        (self.decided >> 32) as u32
    }

    /// [`Half::ingress`].
    #[inline(always)]
    pub fn ingress(self) -> u16 {
        self.about as u16
    }

    /// [`Half::state`].
    pub fn state(self) -> ConnectionState {
        match self.about >> 24 & u32::from(REPLY | ANSWERED) {
            0 => ConnectionState::New,
            _ => ConnectionState::Established,
        }
    }
}

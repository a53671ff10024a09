//! What the two halves of a connection share.

use crate::phase::Phase;
use crate::tcp::Tcp;

/// No connection: the end of a list.
pub(crate) const NOBODY: u32 = u32::MAX;
/// A place of [`State::sources`] that no rule has taken.
pub(crate) const UNCOUNTED: u32 = u32::MAX;

/// A cache line beside the two halves. Packets of UDP and the like do not touch it, unless they
/// change the connection's phase.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct State {
    pub(crate) tcp: Tcp,
    /// Its neighbours in the list of its class.
    pub(crate) next: u32,
    pub(crate) previous: u32,
    /// The tick at which it began.
    pub(crate) created: u32,
    /// Where it is counted among the flows of its source: by two rules at the most.
    pub(crate) sources: [u32; 2],
}

const _: () = assert!(size_of::<State>() == 64, "a state is one cache line");

impl State {
    pub(crate) const EMPTY: State = State::new(Tcp::other(Phase::Other), 0);

    pub(crate) const fn new(tcp: Tcp, created: u32) -> State {
        State { tcp, next: NOBODY, previous: NOBODY, created, sources: [UNCOUNTED; 2] }
    }
}

/// Packets and bytes of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of IP packets.
    pub bytes: u64,
}

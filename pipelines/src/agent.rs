//! What a worker tells the agent: over a bounded ring, without ever waiting.

use rtrb::Producer;

use crate::neighbour::resolver::Heard;
use crate::neighbour::table::NeighbourKey;

/// Something that the agent should know.
#[derive(Clone, Copy, Debug)]
pub enum Report {
    /// A packet waits for a neighbour that nothing is known of.
    Wanted(NeighbourKey),
    /// A neighbour spoke.
    Heard(Heard),
    /// A rule that says `log: true` matched.
    Rule(sluice_hooks::Report),
}

/// The worker's end of the ring.
pub struct AgentLink {
    ring: Producer<Report>,
    unread: bool,
}

impl AgentLink {
    /// A link that writes to `ring`.
    pub fn new(ring: Producer<Report>) -> AgentLink {
        AgentLink { ring, unread: false }
    }

    /// Reports something. With a full ring the report is lost: what matters is reported again by
    /// the next packet.
    pub fn report(&mut self, report: Report) {
        self.unread = true;
        let _ = self.ring.push(report);
    }

    /// Whether something was reported since the last call: before the worker sleeps it wakes the
    /// agent, which otherwise looks every millisecond.
    pub fn take_unread(&mut self) -> bool {
        std::mem::take(&mut self.unread)
    }
}

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
    /// A hook logs a packet.
    Hook(sluice_hooks::Note),
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
        let half = self.ring.buffer().capacity() / 2;
        if matches!(report, Report::Rule(_) | Report::Hook(_)) && self.ring.slots() < half {
            // What is logged under flood must not keep out what neighbours say.
            return;
        }
        self.unread = true;
        let _ = self.ring.push(report);
    }

    /// Whether something was reported since the last call. The worker then rings the agent, at
    /// most once a millisecond and always before it sleeps.
    pub fn take_unread(&mut self) -> bool {
        std::mem::take(&mut self.unread)
    }
}

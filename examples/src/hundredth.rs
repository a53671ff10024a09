//! Every hundredth packet is logged and dropped: the example of the article on Solaris' Packet
//! Filtering Hooks (2009).

use sluice_hooks::{Context, Made, Packet, PacketHook, PerPacket, Program, Verdict};
use sluice_policy::DropReason;

use crate::ON_THE_WAY;

/// Counts packets, on one worker.
pub struct Hundredth {
    every: u64,
    seen: u64,
}

impl Hundredth {
    /// Drops one packet of so many; at least 1.
    pub fn new(every: u64) -> Hundredth {
        Hundredth { every, seen: 0 }
    }
}

impl PacketHook for Hundredth {
    fn packet(&mut self, cx: &mut Context<'_>, packet: Packet<'_>) -> Verdict {
        self.seen += 1;
        if self.seen < self.every {
            return Verdict::Continue;
        }
        self.seen = 0;
        // The agent writes the line, so that the packet's path never waits for a log.
        cx.log(packet.descriptor());
        Verdict::Drop(DropReason::HookDropped)
    }
}

/// `sluice hook load hundredth --event physical-in`
pub const PROGRAM: Program = Program {
    name: "hundredth",
    summary: "logs and drops every hundredth packet of each worker",
    settings: &[("every", "which one is dropped; 1 drops all of them. 100 unless given")],
    events: ON_THE_WAY,
    make: |settings| {
        let within = |every: &u64| match every {
            0 => Err("1 or more is possible".to_owned()),
            _ => Ok(()),
        };
        let every = settings.get("every", 100, within)?;
        Ok(Made::new(move || PerPacket(Hundredth::new(every))))
    },
};

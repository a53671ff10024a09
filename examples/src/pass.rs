//! Hooks that do nothing: what a hook costs before it does something (`bench/hooks.py`).

use sluice_hooks::{Burst, Context, Hook, Made, Packet, PacketHook, PerPacket, Program, Verdict};
use sluice_packet::Mask;

use crate::ON_THE_WAY;

/// Lets everything pass.
pub struct Pass;

impl Hook for Pass {
    fn process(&mut self, _: &mut Context<'_>, _: &mut Burst, _: Mask) {}
}

impl PacketHook for Pass {
    fn packet(&mut self, _: &mut Context<'_>, _: Packet<'_>) -> Verdict {
        Verdict::Continue
    }
}

/// `sluice hook load pass-burst --event forwarding`
pub const BURST: Program = Program {
    name: "pass-burst",
    summary: "lets everything pass, a burst at a time: for measuring",
    settings: &[],
    events: ON_THE_WAY,
    make: |_| Ok(Made::new(|| Pass)),
};

/// `sluice hook load pass-packet --event forwarding`
pub const PACKET: Program = Program {
    name: "pass-packet",
    summary: "lets everything pass, a packet at a time: for measuring",
    settings: &[],
    events: ON_THE_WAY,
    make: |_| Ok(Made::new(|| PerPacket(Pass))),
};

//! Where everything lies in the statistics segment.
//!
//! ```text
//! header    LINE     the words of Layout::header: magic, version, sizes, offsets
//! agent              AgentCounters
//! gauges             PortGauges for each port
//! worker 0           CoreCounters, FlowCounters, drops by reason, StageCounters, PortCounters,
//!                    RuleCounters, HookCounters, hooks' own counters, HookInstanceCounters
//! worker 1 ...       at equal strides
//! ```
//!
//! Everything starts on a [`LINE`] of its own, so that no two writers share one.

use sluice_policy::{DropReason, Stage};

use super::counters::{
    AgentCounters, CoreCounters, Counter, FlowCounters, HookCounters, HookInstanceCounters,
    PortCounters, PortGauges, RuleCounters, StageCounters,
};
use crate::message::Limits;

/// What writers are kept apart by: two cache lines, because the processor fetches them in pairs.
const LINE: usize = 128;

/// Hooks that do not ship with Sluice, at one time.
pub const MAX_HOOKS: usize = 64;

/// Counters that one such hook can have of its own.
pub const OWN_COUNTERS: usize = 8;

/// Instances whose packets a hook counts one by one: those of the lowest numbers.
pub const HOOK_INSTANCES: usize = 64;

/// First word of a statistics segment: `sluicest`.
const MAGIC: u64 = u64::from_le_bytes(*b"sluicest");

/// Changes whenever a counter is added, removed or moved.
const VERSION: u64 = 6;

/// Where everything lies, in bytes. Follows from [`Limits`] alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// What the segment was sized for.
    pub limits: Limits,
    /// Offset of the agent's counters.
    pub agent: usize,
    /// Offset of the ports' gauges.
    pub gauges: usize,
    /// Offset of the first worker's block.
    pub workers: usize,
    /// Distance between workers' blocks, and the size of one.
    pub stride: usize,
    /// Offset of the flow table's counters in a block; the block begins with its core's.
    pub flows: usize,
    /// Offset of the drops in a block.
    pub drops: usize,
    /// Offset of the stages' counters in a block.
    pub stages: usize,
    /// Offset of the ports' counters in a block.
    pub ports: usize,
    /// Offset of the rules' counters in a block.
    pub rules: usize,
    /// Offset of the hooks' counters in a block.
    pub hooks: usize,
    /// Offset of the counters of the hooks' own in a block.
    pub own: usize,
    /// Offset of the hooks' counters by instance in a block.
    pub by_instance: usize,
    /// Size of the segment.
    pub bytes: usize,
}

impl Layout {
    /// Words of the header.
    const HEADER: usize = 20;

    /// The layout for an appliance of this size.
    pub const fn new(limits: Limits) -> Layout {
        const fn lines<T>(n: usize) -> usize {
            (n * size_of::<T>()).next_multiple_of(LINE)
        }
        let agent = lines::<u64>(Self::HEADER);
        let gauges = agent + lines::<AgentCounters>(1);
        let workers = gauges + lines::<PortGauges>(limits.ports as usize);
        let flows = lines::<CoreCounters>(1);
        let drops = flows + lines::<FlowCounters>(1);
        let stages = drops + lines::<Counter>(DropReason::COUNT);
        let ports = stages + lines::<StageCounters>(Stage::ALL.len());
        let rules = ports + lines::<PortCounters>(limits.ports as usize);
        let hooks = rules + lines::<RuleCounters>(limits.rules as usize);
        let own = hooks + lines::<HookCounters>(MAX_HOOKS);
        let by_instance = own + lines::<Counter>(MAX_HOOKS * OWN_COUNTERS);
        let stride = by_instance + lines::<HookInstanceCounters>(MAX_HOOKS * HOOK_INSTANCES);
        let bytes = workers + stride * limits.workers as usize;
        Layout {
            limits,
            agent,
            gauges,
            workers,
            stride,
            flows,
            drops,
            stages,
            ports,
            rules,
            hooks,
            own,
            by_instance,
            bytes,
        }
    }

    /// The words at the start of the segment.
    pub(super) fn header(&self) -> [u64; Self::HEADER] {
        [
            MAGIC,
            VERSION,
            self.bytes as u64,
            u64::from(self.limits.workers),
            u64::from(self.limits.ports),
            u64::from(self.limits.rules),
            DropReason::COUNT as u64,
            Stage::ALL.len() as u64,
            self.agent as u64,
            self.gauges as u64,
            self.workers as u64,
            self.stride as u64,
            self.flows as u64,
            self.drops as u64,
            self.stages as u64,
            self.ports as u64,
            self.rules as u64,
            self.hooks as u64,
            self.own as u64,
            self.by_instance as u64,
        ]
    }

    /// The layout that a segment's first words describe, if this program would lay it out in
    /// just that way.
    pub(crate) fn describe(words: impl Iterator<Item = u64>) -> Option<Layout> {
        let mut header = [0; Self::HEADER];
        let mut found = 0;
        for (place, word) in header.iter_mut().zip(words) {
            *place = word;
            found += 1;
        }
        let limits = Limits {
            workers: u16::try_from(header[3]).ok()?,
            ports: u16::try_from(header[4]).ok()?,
            rules: u32::try_from(header[5]).ok()?,
        };
        let layout = Layout::new(limits);
        (found == Self::HEADER && layout.header() == header).then_some(layout)
    }
}

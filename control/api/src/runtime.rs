//! What the workers' time goes into.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_policy::event::Event;
use sluice_policy::model::Name;

use crate::Origin;

/// What the workers' time went into: since the dataplane started, or over an interval.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Runtime {
    /// How long that is, in seconds.
    pub seconds: f64,
    /// Cycles of the time-stamp counter in a second.
    pub hertz: u64,
    /// All workers together.
    pub total: WorkerRuntime,
    /// Each worker.
    pub workers: Vec<WorkerRuntime>,
}

/// What one worker's time went into, or that of all.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkerRuntime {
    /// Its number; none for all together.
    pub worker: Option<u16>,
    /// Percent of the time that went into turns which found packets.
    pub load_percent: f64,
    /// Bursts that were handled, their packets, and the cycles of the turns that found packets:
    /// all that was spent on a packet.
    #[serde(flatten)]
    pub work: Work,
    /// Its stages and hooks, in the order of a packet's way.
    pub places: Vec<PlaceRuntime>,
}

/// What one stage or hook did.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlaceRuntime {
    /// Its name.
    pub name: Name,
    /// The event that it stands at; none for a stage with a place of its own.
    pub event: Option<Event>,
    /// The instance whose packets it sees, for a hook of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Name>,
    /// Who put it there.
    pub origin: Origin,
    /// What it did.
    #[serde(flatten)]
    pub work: Work,
}

/// Calls, packets, and time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Work {
    /// Calls, each with a burst of packets.
    pub calls: u64,
    /// Packets.
    pub packets: u64,
    /// Packets in a call; none before the first.
    pub packets_per_call: Option<f64>,
    /// Cycles of the time-stamp counter. Those of stages and hooks are estimated from one burst
    /// in 16.
    pub cycles: u64,
    /// Cycles for a packet; none before the first that was timed.
    pub cycles_per_packet: Option<f64>,
}

impl Work {
    /// Works the ratios out.
    pub fn new(calls: u64, packets: u64, cycles: u64) -> Work {
        let ratio = |of: u64, to: u64| {
            let tenths = (of as f64 / to as f64 * 10.0).round();
            (of > 0 && to > 0).then_some(tenths / 10.0)
        };
        Work {
            calls,
            packets,
            packets_per_call: ratio(packets, calls),
            cycles,
            cycles_per_packet: ratio(cycles, packets),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_what_there_was() {
        let work = Work::new(3, 64, 6400);
        assert_eq!((work.packets_per_call, work.cycles_per_packet), (Some(21.3), Some(100.0)));
        let few = Work::new(1, 1, 0);
        assert_eq!((few.packets_per_call, few.cycles_per_packet), (Some(1.0), None), "not timed");
        assert_eq!(Work::new(0, 0, 0).packets_per_call, None);
    }
}

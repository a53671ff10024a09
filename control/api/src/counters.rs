//! Counters of the dataplane, summed over its workers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_policy::event::{Event, Stage};
use sluice_policy::model::{Action, FilterPoint, Name, Position};

use crate::Hook;

/// Where every packet went: `rx + generated + handed_in = tx + punted + consumed + dropped +
/// handed_out + held`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Received from ports.
    pub rx: u64,
    /// Made here: answers, requests.
    pub generated: u64,
    /// Taken over from another worker.
    pub handed_in: u64,
    /// Accepted by a driver.
    pub tx: u64,
    /// Given to the kernel.
    pub punted: u64,
    /// Ended here on purpose: answered, learnt from.
    pub consumed: u64,
    /// Dropped; `GET /v1/drops` says why.
    pub dropped: u64,
    /// Given to another worker.
    pub handed_out: u64,
    /// Waiting here now, for a neighbour to answer or for a queue.
    pub held: u64,
    /// Left side of the equation less the right; 0 when it holds. Counters of a busy worker are
    /// read while it writes them, so that a burst in flight may show here.
    pub difference: i64,
    /// Whether the equation holds.
    pub balanced: bool,
}

impl Account {
    /// Works `difference` and `balanced` out of the other fields.
    #[must_use]
    pub fn settled(mut self) -> Self {
        let came = self.rx.wrapping_add(self.generated).wrapping_add(self.handed_in);
        let went = [self.tx, self.punted, self.consumed, self.dropped, self.handed_out, self.held]
            .into_iter()
            .fold(0, u64::wrapping_add);
        self.difference = came.wrapping_sub(went).cast_signed();
        self.balanced = self.difference == 0;
        self
    }

    /// The account of both together.
    #[must_use]
    pub fn plus(self, other: &Account) -> Self {
        Account {
            rx: self.rx.wrapping_add(other.rx),
            generated: self.generated.wrapping_add(other.generated),
            handed_in: self.handed_in.wrapping_add(other.handed_in),
            tx: self.tx.wrapping_add(other.tx),
            punted: self.punted.wrapping_add(other.punted),
            consumed: self.consumed.wrapping_add(other.consumed),
            dropped: self.dropped.wrapping_add(other.dropped),
            handed_out: self.handed_out.wrapping_add(other.handed_out),
            held: self.held.wrapping_add(other.held),
            ..self
        }
        .settled()
    }
}

/// Counters of packets, workers and ports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// All workers together.
    pub total: Account,
    /// Each worker.
    pub workers: Vec<WorkerStats>,
    /// Each port.
    pub ports: Vec<PortStats>,
}

/// A worker's counters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkerStats {
    /// Number.
    pub worker: u16,
    /// Its packets.
    #[serde(flatten)]
    pub account: Account,
    /// Rounds of its poll loop.
    pub loops: u64,
    /// Rounds that found packets.
    pub busy_loops: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// The generation it runs.
    pub generation: u64,
    /// Its flow table.
    #[serde(default)]
    pub flows: FlowTable,
}

/// A worker's flow table. A connection counts once, not once a direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct FlowTable {
    /// Connections that it has room for.
    pub capacity: u64,
    /// Connections in it.
    pub in_use: u64,
    /// Those of them that nobody has answered, or whose handshake is not done.
    pub half_open: u64,
    /// Connections that began.
    pub inserted: u64,
    /// Connections that were silent for too long.
    pub aged: u64,
    /// Connections that an operator ended.
    pub killed: u64,
    /// Half-open connections that made room for new ones.
    pub evicted_half_open: u64,
    /// Closing and closed ones that did.
    pub evicted_closing: u64,
    /// Idle ones of protocols without connections that did.
    pub evicted_idle: u64,
    /// Packets that began no connection because there was no room: they were forwarded all the
    /// same.
    pub full: u64,
}

/// A port's counters, summed over workers, and what stands beside the account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PortStats {
    /// Name.
    pub port: Name,
    /// Whether the link is up.
    pub link: bool,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets that the driver accepted.
    pub tx_packets: u64,
    /// Bytes that the driver accepted.
    pub tx_bytes: u64,
    /// Packets that the driver did not take.
    pub tx_refused: u64,
    /// Packets that the kernel dropped before Sluice saw them (af_packet).
    pub kernel_drops: u64,
    /// Packets that the device dropped for want of a descriptor.
    pub missed: u64,
    /// Errors that the device counted.
    pub device_errors: u64,
}

/// Packets dropped for one reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DropCount {
    /// The reason's name.
    pub reason: String,
    /// The stage that drops for it.
    pub stage: Stage,
    /// Packets.
    pub packets: u64,
    /// What it means and the cure.
    pub help: String,
    /// The rules that did it, where rules do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleDrops>,
}

/// A rule, or a default action, that dropped or rejected packets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RuleDrops {
    /// The instance.
    pub instance: Name,
    /// The filter.
    pub point: FilterPoint,
    /// Name; `default` for the default action.
    pub name: Name,
    /// Drop or reject.
    pub action: Action,
    /// Packets.
    pub packets: u64,
    /// Where it was configured; none for the default action.
    pub position: Option<Position>,
}

/// The resolved pipelines.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Pipeline {
    /// The generation.
    pub generation: u64,
    /// Each instance's order of stages.
    pub instances: Vec<InstancePipeline>,
    /// Each stage's counters, which are of all instances together, in the order of a packet's
    /// way.
    pub stages: Vec<PipelineStage>,
    /// The hooks that do not ship as stages.
    #[serde(default)]
    pub hooks: Vec<Hook>,
}

/// One instance's pipeline.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InstancePipeline {
    /// The instance.
    pub instance: Name,
    /// Its interfaces.
    pub interfaces: Vec<Name>,
    /// The events at which stages can stand, in the order in which a packet meets them.
    pub events: Vec<PipelineEvent>,
}

/// What runs at an event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PipelineEvent {
    /// The event.
    pub event: Event,
    /// Its stages in order.
    pub stages: Vec<Stage>,
    /// The names of its stages and hooks in order, whatever the protocol.
    #[serde(default)]
    pub order: Vec<Name>,
}

/// A stage's counters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PipelineStage {
    /// The stage.
    pub stage: Stage,
    /// Bursts.
    pub bursts: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that it dropped.
    pub dropped: u64,
    /// Mean cycles for a packet; none before the first.
    pub cycles_per_packet: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_equation_is_checked() {
        let account = Account { rx: 10, generated: 2, tx: 9, dropped: 3, ..Account::default() };
        assert!(account.settled().balanced);
        let short = Account { dropped: 2, ..account }.settled();
        assert_eq!((short.difference, short.balanced), (1, false));
        assert_eq!(account.plus(&short).difference, 1);
    }
}

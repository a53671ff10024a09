//! The things of an appliance, one row each.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_policy::model::{
    self, Action, ChecksumMode, FilterPoint, MacAddress, Name, Owner, PolicyAction, Position,
    Target, Unreachable,
};

/// A port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Port {
    /// Name.
    pub name: Name,
    /// DPDK device string.
    pub device: String,
    /// Poll mode driver.
    pub driver: String,
    /// Link address.
    pub mac: MacAddress,
    /// Whether the link is up.
    pub link: bool,
    /// Link speed, where the device knows one.
    pub speed_mbps: Option<u32>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Workers that poll it.
    pub workers: Vec<u16>,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// A layer-3 interface.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Interface {
    /// Name.
    pub name: Name,
    /// Its port.
    pub port: Name,
    /// VLAN identifier.
    pub vlan: Option<u16>,
    /// The instance it belongs to.
    pub instance: Name,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// What is done about layer-4 checksums of received packets.
    pub checksum: Option<ChecksumMode>,
    /// Own addresses.
    pub addresses: Vec<IpNet>,
}

/// A route.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// The instance whose table it is in.
    pub instance: Name,
    /// Which of the instance's tables.
    pub table: Name,
    /// The destinations it covers.
    pub prefix: IpNet,
    /// Who put it there.
    pub owner: Owner,
    /// Of the routes of one prefix the lowest is used.
    pub preference: u32,
    /// Between routes of equal preference the lowest is used.
    pub metric: u32,
    /// A number that means something to its owner alone.
    pub tag: u32,
    /// The commit that last set it; 0 for a connected network.
    pub generation: u64,
    /// Where it leads.
    pub target: Target,
    /// Whether none of its next hops leads anywhere, whether ports work or not: it waits for what
    /// it resolves through.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unresolved: bool,
    /// The prefixes of the main table that next hops resolve through which are on no link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<IpNet>,
    /// Whether packets use it: it has a way out, and none that comes first has.
    pub active: bool,
    /// Whether its owner was marked stale since it was set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Where it was configured; none for a connected network.
    pub position: Option<Position>,
}

/// A neighbour.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Neighbour {
    /// The interface it is on.
    pub interface: Name,
    /// Its address.
    pub address: IpAddr,
    /// Its link address, once it is known.
    pub mac: Option<MacAddress>,
    /// `incomplete`, `reachable`, `stale`, `probe`, `failed` or `static`.
    pub state: String,
    /// Seconds since it was last confirmed.
    pub age_seconds: u64,
}

/// A rule, or a filter's default action, with its counters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// The instance.
    pub instance: Name,
    /// The filter.
    pub point: FilterPoint,
    /// Place in the filter, from 1; the default action comes last. What a stateful filter does ahead
    /// of its rules is at 0.
    pub place: u32,
    /// Name; `default` for the default action.
    pub name: Name,
    /// What it matches, in words.
    pub matches: String,
    /// What it does.
    pub action: Action,
    /// Whether matches are logged.
    pub log: bool,
    /// Packets that matched.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Where it was configured; none for the default action.
    pub position: Option<Position>,
}

/// A policy route with its counters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PolicyRoute {
    /// The instance.
    pub instance: Name,
    /// Place among the instance's, from 1: the first that matches and has a way out decides.
    pub place: u32,
    /// Name.
    pub name: Name,
    /// What it matches, in words.
    pub matches: String,
    /// What it does.
    pub action: PolicyAction,
    /// What happens where it has no way out.
    pub unreachable: Unreachable,
    /// Whether it has a way out now. One that leads to a table has; whether that has a route
    /// depends on the packet.
    pub reachable: bool,
    /// Packets that matched.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Where it was configured.
    pub position: Option<Position>,
}

/// A worker.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Worker {
    /// Number.
    pub worker: u16,
    /// The core it is pinned to.
    pub core: u16,
    /// The generation it runs.
    pub generation: u64,
    /// Whether it sleeps for want of packets.
    pub sleeping: bool,
    /// The queues it polls.
    pub queues: Vec<WorkerQueue>,
    /// For how long it has neither gone round nor slept; none while it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_ms: Option<u64>,
    /// Rounds of its poll loop since it started.
    #[serde(default)]
    pub loops: u64,
    /// Share of its rounds over the last second that found packets; none before a second passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_percent: Option<u8>,
    /// Percent of the last second that went into rounds which found packets; none before a second
    /// passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_percent: Option<f64>,
    /// Packets in a burst over the last second; none when there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets_per_burst: Option<f64>,
    /// Cycles of the time-stamp counter for a packet over the last second, with all that it takes;
    /// none when there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycles_per_packet: Option<f64>,
}

/// A receive queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkerQueue {
    /// The port.
    pub port: Name,
    /// Number on the port.
    pub queue: u16,
}

/// The state that the dataplane confirmed, as the configuration model has it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Config {
    /// The generation.
    pub generation: u64,
    /// Ports by name.
    pub ports: BTreeMap<Name, model::Port>,
    /// Interfaces by name.
    pub interfaces: BTreeMap<Name, model::Interface>,
    /// Instances by name.
    pub instances: BTreeMap<Name, model::Instance>,
    /// Routes, without connected networks.
    pub routes: Vec<Route>,
    /// Filters.
    pub filters: Vec<ConfigFilter>,
    /// Static neighbours.
    pub neighbours: Vec<ConfigNeighbour>,
    /// Policy routes in order, by instance.
    pub policy_routes: BTreeMap<Name, Vec<model::PolicyRoute>>,
    /// Hooks that are loaded, by name.
    #[serde(default)]
    pub hooks: BTreeMap<Name, model::LoadedHook>,
    /// For how many seconds connections that are silent are remembered, where it was set.
    #[serde(default)]
    pub timeouts: BTreeMap<model::Timeout, u32>,
}

/// A filter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfigFilter {
    /// The instance.
    pub instance: Name,
    /// Where it stands.
    pub point: FilterPoint,
    /// Its default action and rules.
    #[serde(flatten)]
    pub filter: model::Filter,
}

/// A static neighbour.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfigNeighbour {
    /// The interface.
    pub interface: Name,
    /// Its address.
    pub address: IpAddr,
    /// Its link address.
    pub mac: MacAddress,
}

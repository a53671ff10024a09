//! The desired state of an appliance, and the difference between two of them.
//!
//! A [`State`] is what the configuration file and the live commands ask for, by name and in no
//! particular form; [`crate::Policy`] is the same thing compiled. A [`Delta`] is what travels
//! over the channel.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::drop_reason::DropReason;
use crate::event::{Event, Stage};
use crate::filter::Stateful;
pub use crate::flows::{FlowLimit, MAX_TIMEOUT, Rate, Standing, Timeout};
pub use crate::hook::LoadedHook;
pub use crate::mac::MacAddress;
pub use crate::owner::{NoOwner, Owner};

/// A name that the operator gave: of a port, an interface, an instance, a rule.
pub type Name = Arc<str>;

/// The instance that everything belongs to unless it says otherwise.
pub const DEFAULT_INSTANCE: &str = "default";

/// The table that an instance routes by where no policy says otherwise.
pub const MAIN_TABLE: &str = "main";

/// Where in a configuration file something was written; both counted from 1.
#[derive(
    Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema,
)]
pub struct Position {
    /// The file as the operator named it; `cli` for a live command.
    pub file: Name,
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl fmt::Display for Position {
    /// `FILE:LINE:COLUMN`, and the file alone where there is no line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position { file, line: 0, .. } => f.write_str(file),
            Position { file, line, column } => write!(f, "{file}:{line}:{column}"),
        }
    }
}

/// What to do about layer-4 checksums of received packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChecksumMode {
    /// Check every TCP, UDP and ICMP checksum; drop what is wrong.
    Verify,
    /// Recognise a checksum that the sender left to its hardware (it holds only the pseudo-header
    /// sum) and complete it. Right for af_packet, af_xdp, tap and virtio ports.
    Complete,
    /// Leave layer-4 checksums alone. Right for a real NIC.
    Trust,
}

/// A port: one DPDK device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ConfiguredPort")]
pub struct Port {
    /// DPDK device string: a PCI address, or a virtual device with its arguments.
    pub device: String,
    /// Link address; `None` takes the device's own.
    pub mac: Option<MacAddress>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Receive queues.
    pub queues: u16,
    /// Which workers poll the queues, as places in `dataplane.cores`, one per queue in turn;
    /// empty spreads them over all workers.
    pub workers: Vec<u16>,
    /// Whether packets are handed to the worker that their flow belongs to; if not, they stay with
    /// the one that polls them.
    #[serde(default = "yes")]
    pub spread: bool,
    /// Layer-4 checksums of received packets.
    pub checksum: ChecksumMode,
    /// Whether a kernel interface that has addresses may be taken.
    pub steal: bool,
    /// Where it was configured.
    pub position: Position,
}

/// What a port does that says nothing of it.
const fn yes() -> bool {
    true
}

/// A layer-3 interface: a port itself (it has the port's name), or a VLAN on one (`port.vlan`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ConfiguredInterface")]
pub struct Interface {
    /// The port it is on.
    pub port: Name,
    /// 802.1Q VLAN identifier, 1 to 4094.
    pub vlan: Option<u16>,
    /// The instance it belongs to.
    pub instance: Name,
    /// Largest IP packet in bytes; at most the port's.
    pub mtu: u16,
    /// Own addresses, each with the length of its connected network.
    pub addresses: Vec<IpNet>,
    /// Where it was configured.
    pub position: Position,
}

/// The order of hooks at each event of an instance.
pub type Pipeline = BTreeMap<Event, Vec<Stage>>;

/// The order of stages that holds where the configuration gives none.
pub fn default_pipeline() -> Pipeline {
    let mut pipeline = Pipeline::new();
    for stage in Stage::ALL {
        if let Some(event) = stage.event().filter(|_| stage.placed()) {
            pipeline.entry(event).or_default().push(stage);
        }
    }
    pipeline
}

/// A network stack of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// Built-in stages by event, complete and checked.
    pub pipeline: Pipeline,
    /// Tables of routes beside [`MAIN_TABLE`], which is always there and never listed.
    #[serde(default)]
    pub tables: BTreeSet<Name>,
}

impl Default for Instance {
    fn default() -> Self {
        Instance { pipeline: default_pipeline(), tables: BTreeSet::new() }
    }
}

/// One way out of a route.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NextHop {
    /// The neighbour to hand packets to; `None` means the destination itself, on the link.
    pub via: Option<IpAddr>,
    /// The interface to leave by; `None` means the one whose network holds `via`.
    pub interface: Option<Name>,
    /// Share of the flows, 1 to 256.
    pub weight: u16,
}

/// Where a route leads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    // Nearly all routes share few such lists, which `Names` keeps once.
    /// Out by one of these, by flow.
    NextHops(Arc<[NextHop]>),
    /// Dropped in silence.
    Blackhole,
    /// Dropped, and the sender told that the destination is unreachable.
    Reject,
    /// Dropped, and the sender told that it is administratively prohibited.
    Prohibit,
    /// Looked up in another table: one of the same instance, or of another.
    Table {
        /// The instance that the table belongs to.
        instance: Name,
        /// Which of the instance's tables.
        table: Name,
    },
}

/// What identifies a route.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RouteKey {
    /// The instance whose table it is in.
    pub instance: Name,
    /// Which of the instance's tables; [`MAIN_TABLE`] is the one that it routes by.
    pub table: Name,
    /// The destinations it covers; no host bits set.
    #[schemars(with = "String")]
    pub prefix: IpNet,
    /// Who put it there.
    pub owner: Owner,
}

/// A route.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// Where it leads.
    pub target: Target,
    /// Of the routes of one prefix the lowest is in use; [`Owner::preference`] unless its owner
    /// says otherwise.
    pub preference: u32,
    /// Between routes of equal preference the lowest is in use; of equal metric, that of the owner
    /// that comes first.
    pub metric: u32,
    /// A number that means something to its owner alone.
    pub tag: u32,
    /// The commit that last set it; 0 while it is not committed.
    pub generation: u64,
    /// Where it was configured.
    pub position: Position,
}

/// Whether both are the same; names that nearly all share need not be read.
fn same_name(one: &Name, other: &Name) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

impl Ord for RouteKey {
    /// By instance, table, prefix and owner, in this order. Nearly all keys share their names, which
    /// need not be read then: a million keys are compared twenty times each.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_name = |one: &Name, other: &Name| match Arc::ptr_eq(one, other) {
            true => Ordering::Equal,
            false => one.cmp(other),
        };
        by_name(&self.instance, &other.instance)
            .then_with(|| by_name(&self.table, &other.table))
            .then_with(|| self.prefix.cmp(&other.prefix))
            .then_with(|| self.owner.cmp(&other.owner))
    }
}

impl PartialOrd for RouteKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl RouteKey {
    /// Whether the other is in the same table of the same instance.
    pub(crate) fn stands_with(&self, other: &RouteKey) -> bool {
        same_name(&self.instance, &other.instance) && same_name(&self.table, &other.table)
    }

    /// The place of a route in an instance's main table.
    pub fn main(instance: impl Into<Name>, prefix: IpNet, owner: Owner) -> RouteKey {
        RouteKey { instance: instance.into(), table: MAIN_TABLE.into(), prefix, owner }
    }
}

impl Route {
    /// A route as its owner sets it when it says nothing but where it leads.
    pub fn new(target: Target, owner: &Owner, position: Position) -> Route {
        Route { target, preference: owner.preference(), metric: 0, tag: 0, generation: 0, position }
    }

    /// Whether both ask for the same, whoever committed them when.
    pub fn asks_as(&self, other: &Route) -> bool {
        let Route { target, preference, metric, tag, generation: _, position } = self;
        *target == other.target
            && (*preference, *metric, *tag) == (other.preference, other.metric, other.tag)
            && *position == other.position
    }
}

/// What a rule, or a filter's default, does with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Let it pass; no later rule is asked.
    Accept,
    /// Drop it in silence.
    Drop,
    /// Drop it and tell the sender: TCP reset, or ICMP administratively prohibited.
    Reject,
    /// Count it and go on to the next rule.
    Count,
}

impl Action {
    /// The action's name in the configuration and in every report.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Accept => "accept",
            Action::Drop => "drop",
            Action::Reject => "reject",
            Action::Count => "count",
        }
    }
}

/// TCP flags that must be set and that must be clear, as bits of the TCP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TcpFlags {
    /// These bits must be 1.
    pub set: u8,
    /// These bits must be 0.
    pub clear: u8,
}

/// ICMP or ICMPv6 type and, optionally, code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct IcmpMatch {
    /// Type.
    pub kind: u8,
    /// Code; `None` matches any.
    pub code: Option<u8>,
}

/// A named set that rules refer to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    /// Networks.
    Prefixes(Arc<[IpNet]>),
    /// Ports and ranges of ports.
    Ports(Arc<[RangeInclusive<u16>]>),
}

/// The named sets that a rule refers to, by field: they are as if their items stood there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RuleSets {
    /// Among the source networks.
    pub source: Vec<Name>,
    /// Among the destination networks.
    pub destination: Vec<Name>,
    /// Among the source ports.
    pub source_port: Vec<Name>,
    /// Among the destination ports.
    pub destination_port: Vec<Name>,
}

impl RuleSets {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == RuleSets::default()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        let RuleSets { source, destination, source_port, destination_port } = self;
        source.iter().chain(destination).chain(source_port).chain(destination_port)
    }
}

/// One rule of a filter. A field that is empty or `None` matches everything.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ConfiguredRule")]
pub struct Rule {
    /// Its name: the operator's, or made from its content so that it survives other edits.
    pub name: Name,
    /// Interface the packet came in by.
    pub input: Vec<Name>,
    /// Interface the packet is to leave by (forward and egress filters).
    pub output: Vec<Name>,
    /// Source networks, any of which may match.
    pub source: Vec<IpNet>,
    /// Destination networks, any of which may match.
    pub destination: Vec<IpNet>,
    /// IP protocol numbers, any of which may match.
    pub protocol: Vec<u8>,
    /// Source ports.
    pub source_port: Vec<RangeInclusive<u16>>,
    /// Destination ports.
    pub destination_port: Vec<RangeInclusive<u16>>,
    /// TCP flags.
    pub tcp_flags: Option<TcpFlags>,
    /// ICMP type and code, any of which may match.
    pub icmp: Vec<IcmpMatch>,
    /// How the packet stands to its connection, any of which may match.
    #[serde(default)]
    pub state: Vec<Standing>,
    /// Named sets of the filter, which stand beside the networks and ports above.
    #[serde(default)]
    pub sets: RuleSets,
    /// What to do.
    pub action: Action,
    /// What it allows of the connections that it accepts.
    #[serde(default)]
    pub limit: Option<FlowLimit>,
    /// Whether matches are logged (rate limited, off the packet's path).
    pub log: bool,
    /// Where it was configured.
    pub position: Position,
}

/// The first-match filter at one event of an instance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Filter {
    /// What happens to a packet that no rule decides: accept, drop or reject.
    pub default: Action,
    /// Where it says that it is stateful, if it does: packets of connections pass ahead of the
    /// rules, what cannot be of any is dropped.
    #[serde(default)]
    pub stateful: Option<Position>,
    /// Rules in order.
    pub rules: Vec<Rule>,
    /// The named sets that the rules refer to, and no others.
    #[serde(default)]
    pub sets: BTreeMap<Name, Set>,
}

/// The three built-in filters.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum FilterPoint {
    /// At PHYSICAL_IN.
    Ingress,
    /// At FORWARDING.
    Forward,
    /// At PHYSICAL_OUT.
    Egress,
}

impl FilterPoint {
    /// All points, in the order in which a forwarded packet meets them.
    pub const ALL: [FilterPoint; 3] =
        [FilterPoint::Ingress, FilterPoint::Forward, FilterPoint::Egress];

    /// The point's name in the configuration and in every report.
    pub const fn name(self) -> &'static str {
        match self {
            FilterPoint::Ingress => "ingress",
            FilterPoint::Forward => "forward",
            FilterPoint::Egress => "egress",
        }
    }

    /// The stage that asks the filter.
    pub const fn stage(self) -> Stage {
        match self {
            FilterPoint::Ingress => Stage::IngressFilter,
            FilterPoint::Forward => Stage::ForwardFilter,
            FilterPoint::Egress => Stage::EgressFilter,
        }
    }

    /// Why a packet that the filter denies is dropped.
    pub const fn drop_reason(self) -> DropReason {
        match self {
            FilterPoint::Ingress => DropReason::IngressFilter,
            FilterPoint::Forward => DropReason::ForwardFilter,
            FilterPoint::Egress => DropReason::EgressFilter,
        }
    }

    /// Why a packet is dropped that the rule of this name denies.
    pub fn drop_reason_of(self, rule: &str) -> DropReason {
        match rule == Stateful::Invalid.name() {
            true => DropReason::InvalidState,
            false => self.drop_reason(),
        }
    }
}

/// What identifies a filter.
#[derive(
    Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema,
)]
pub struct FilterKey {
    /// The instance it belongs to.
    pub instance: Name,
    /// Where it stands.
    pub point: FilterPoint,
}

/// What identifies a static neighbour.
#[derive(
    Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema,
)]
pub struct NeighbourKey {
    /// The interface it is on.
    pub interface: Name,
    /// Its address.
    pub address: IpAddr,
}

/// What a policy route does with the packets that it matches.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyAction {
    /// Routes them by this table of the instance.
    Table(Name),
    /// Sends them out by one of these, by flow; each IP version by its own.
    NextHops(Vec<NextHop>),
    /// Drops them in silence.
    Drop,
    /// Drops them and tells the sender: administratively prohibited.
    Reject,
}

/// What becomes of a packet whose policy route has no way out for it: its ports are down, its next
/// hops unresolved, or its table has no route.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unreachable {
    /// The policy routes that follow are asked, and at last the main table.
    #[default]
    Next,
    /// It is dropped in silence.
    Drop,
    /// It is dropped and the sender told: network unreachable.
    Reject,
}

impl Unreachable {
    /// The name in the configuration and in every report.
    pub const fn name(self) -> &'static str {
        match self {
            Unreachable::Next => "next",
            Unreachable::Drop => "drop",
            Unreachable::Reject => "reject",
        }
    }
}

/// One rule of an instance's policy routes, which are asked in order before its main table. A
/// field that is empty or `None` matches everything.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ConfiguredPolicyRoute")]
pub struct PolicyRoute {
    /// Its name: the operator's, or made from its content so that it survives other edits.
    pub name: Name,
    /// Interface the packet came in by; what the router itself sends came in by none.
    pub input: Vec<Name>,
    /// Source networks, any of which may match.
    pub source: Vec<IpNet>,
    /// Destination networks, any of which may match.
    pub destination: Vec<IpNet>,
    /// IP protocol numbers, any of which may match.
    pub protocol: Vec<u8>,
    /// Source ports; later fragments have those of their first.
    pub source_port: Vec<RangeInclusive<u16>>,
    /// Destination ports; later fragments have those of their first.
    pub destination_port: Vec<RangeInclusive<u16>>,
    /// Differentiated services code points, 0 to 63.
    pub dscp: Vec<u8>,
    /// Whether it must be a fragment, the first or a later one, or must be whole.
    pub fragment: Option<bool>,
    /// What to do.
    pub action: PolicyAction,
    /// What to do where there is no way out.
    pub unreachable: Unreachable,
    /// Where it was configured.
    pub position: Position,
}

impl PolicyRoute {
    /// The filter rule that matches the same packets, but for DSCP and fragments.
    pub fn as_rule(&self) -> Rule {
        Rule {
            name: self.name.clone(),
            input: self.input.clone(),
            output: Vec::new(),
            source: self.source.clone(),
            destination: self.destination.clone(),
            protocol: self.protocol.clone(),
            source_port: self.source_port.clone(),
            destination_port: self.destination_port.clone(),
            tcp_flags: None,
            icmp: Vec::new(),
            state: Vec::new(),
            sets: RuleSets::default(),
            action: Action::Accept,
            limit: None,
            log: false,
            position: self.position.clone(),
        }
    }
}

/// A table of a [`State`], in order of keys. It is persistent: a copy costs nothing and shares all
/// that it has with the original; to change one entry of a million copies the few nodes on its way.
pub type Entries<K, V> = imbl::OrdMap<K, V>;

/// Everything an appliance should be, by name. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct State {
    /// Ports by name.
    #[schemars(with = "BTreeMap<Name, Port>")]
    pub ports: Entries<Name, Port>,
    /// Interfaces by name.
    #[schemars(with = "BTreeMap<Name, Interface>")]
    pub interfaces: Entries<Name, Interface>,
    /// Instances by name.
    #[schemars(with = "BTreeMap<Name, Instance>")]
    pub instances: Entries<Name, Instance>,
    /// Routes; those of [`Owner::Connected`] are derived from addresses and never stand here.
    #[schemars(with = "BTreeMap<RouteKey, Route>")]
    pub routes: Entries<RouteKey, Route>,
    /// Filters; one that is absent accepts everything.
    #[schemars(with = "BTreeMap<FilterKey, Filter>")]
    pub filters: Entries<FilterKey, Filter>,
    /// Static neighbours.
    #[schemars(with = "BTreeMap<NeighbourKey, MacAddress>")]
    pub neighbours: Entries<NeighbourKey, MacAddress>,
    /// Policy routes in order, by instance.
    #[schemars(with = "BTreeMap<Name, Vec<PolicyRoute>>")]
    pub policy_routes: Entries<Name, Vec<PolicyRoute>>,
    /// Hooks that are loaded, by name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, LoadedHook>")]
    pub hooks: Entries<Name, LoadedHook>,
    /// For how many seconds connections that are silent are remembered, where it is not
    /// [as usual](sluice_flow::Timeouts::DEFAULT).
    #[serde(default)]
    #[schemars(with = "BTreeMap<Timeout, u32>")]
    pub timeouts: Entries<Timeout, u32>,
}

/// One step from one [`State`] to another. `None` removes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum Operation {
    /// Sets or removes a port.
    Port(Name, Option<Port>),
    /// Sets or removes an interface.
    Interface(Name, Option<Interface>),
    /// Sets or removes an instance.
    Instance(Name, Option<Instance>),
    /// Sets or removes a route.
    Route(RouteKey, Option<Route>),
    /// Sets or removes a filter.
    Filter(FilterKey, Option<Filter>),
    /// Sets or removes a static neighbour.
    Neighbour(NeighbourKey, Option<MacAddress>),
    /// Sets or removes the policy routes of an instance.
    PolicyRoutes(Name, Option<Vec<PolicyRoute>>),
    /// Loads or unloads a hook.
    Hook(Name, Option<LoadedHook>),
    /// Sets a timeout in seconds, or removes what was set.
    Timeout(Timeout, Option<u32>),
}

impl Delta {
    /// Says of every route that is set, and of every hook that is new, that commit `generation`
    /// did it. A hook that stays, or comes back, brings its number along.
    pub fn stamp(&mut self, generation: u64) {
        for operation in &mut self.operations {
            match operation {
                Operation::Route(_, Some(route)) => route.generation = generation,
                Operation::Hook(_, Some(hook)) if hook.generation == 0 => {
                    hook.generation = generation;
                }
                _ => {}
            }
        }
    }
}

/// What leads from one [`State`] to another; the order of the steps does not matter.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Delta {
    /// The steps.
    pub operations: Vec<Operation>,
}

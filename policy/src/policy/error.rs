//! What can be wrong with a desired state as a whole.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::device::{MAX_MTU, MIN_MTU, MIN_MTU_INET6};
use crate::event::{Event, Protocol, Stage};
use crate::model::{
    Action, FilterKey, MAIN_TABLE, MacAddress, Name, NeighbourKey, Position, RouteKey, Timeout,
};
use crate::order::OrderError;

/// The named thing that a mistake is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Thing {
    /// A port.
    Port(Name),
    /// An interface.
    Interface(Name),
    /// An instance.
    Instance(Name),
    /// A route.
    Route(RouteKey),
    /// A filter.
    Filter(FilterKey),
    /// A rule: its filter, its place in it, its name.
    Rule(FilterKey, usize, Name),
    /// A static neighbour.
    Neighbour(NeighbourKey),
    /// The policy routes of an instance.
    PolicyRoutes(Name),
    /// A policy route: its instance, its place, its name.
    PolicyRoute(Name, usize, Name),
    /// A hook that is loaded.
    Hook(Name),
    /// How connections are kept.
    Flows,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Thing::Port(name) => write!(f, "port {name}"),
            Thing::Interface(name) => write!(f, "interface {name}"),
            Thing::Instance(name) => write!(f, "instance {name}"),
            Thing::Route(RouteKey { instance, table, prefix, owner: _ }) => {
                write!(f, "route {prefix} of ")?;
                if &**table != MAIN_TABLE {
                    write!(f, "table {table} of ")?;
                }
                write!(f, "instance {instance}")
            }
            Thing::Filter(key) => {
                write!(f, "{} filter of instance {}", key.point.name(), key.instance)
            }
            Thing::Rule(key, _, name) => {
                let point = key.point.name();
                write!(f, "rule {name} of the {point} filter of instance {}", key.instance)
            }
            Thing::Neighbour(key) => write!(f, "neighbour {} on {}", key.address, key.interface),
            Thing::PolicyRoutes(instance) => write!(f, "policy routes of instance {instance}"),
            Thing::PolicyRoute(instance, _, name) => {
                write!(f, "policy route {name} of instance {instance}")
            }
            Thing::Hook(name) => write!(f, "hook {name}"),
            Thing::Flows => f.write_str("flows"),
        }
    }
}

/// What exactly a mistake is about: a thing, one of its fields, one item of that field.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Subject {
    /// The thing.
    pub thing: Thing,
    /// The field as the configuration file calls it; empty for the thing as a whole.
    pub field: &'static str,
    /// Place in the field's list.
    pub item: usize,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            "" => self.thing.fmt(f),
            field => write!(f, "{}: {field}", self.thing),
        }
    }
}

/// One mistake in a desired state.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{subject}: {mistake}", Prefix(.position))]
pub struct PolicyError {
    /// What it is about.
    pub subject: Subject,
    /// Where the thing was configured.
    pub position: Option<Position>,
    /// What is wrong, with the value and the cure.
    pub mistake: Mistake,
}

struct Prefix<'a>(&'a Option<Position>);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(position) => write!(f, "{position}: "),
            None => Ok(()),
        }
    }
}

/// What is wrong, with the value that is and what is allowed instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message says it")]
pub enum Mistake {
    #[error("`{0}` is not a name: use a letter and then up to 62 letters, digits, - and _")]
    BadName(Name),
    #[error("there is no port `{name}`; there are: {known}")]
    UnknownPort { name: Name, known: String },
    #[error("there is no interface `{name}`; there are: {known}")]
    UnknownInterface { name: Name, known: String },
    #[error("there is no interface `{name}` in instance {instance}; there are: {known}")]
    InterfaceNotMember { name: Name, instance: Name, known: String },
    #[error("there is no instance `{name}`; there are: {known}")]
    UnknownInstance { name: Name, known: String },

    #[error(
        "`{0}` is not a device: give a PCI address (0000:03:00.0) or a virtual device; for the kernel interface eth0 write net_af_packet0,iface=eth0"
    )]
    NotADevice(String),
    #[error("`{0}` works on a kernel interface: name it with `iface=`, such as {0},iface=eth0")]
    NoKernelInterface(String),
    #[error(
        "device `{device}` is port `{other}` already: give a virtual device another number, or leave one port out"
    )]
    DeviceTwice { device: String, other: Name },
    #[error("kernel interface `{iface}` is port `{other}` already")]
    KernelInterfaceTwice { iface: String, other: Name },
    #[error("{0} queues: at least 1 and at most 64")]
    Queues(u16),
    #[error(
        "{0} is a group's address or none: a port needs a station's, such as 02:00:00:00:00:01"
    )]
    NotAStation(MacAddress),

    #[error("MTU {0} is out of range: {MIN_MTU} to {MAX_MTU}")]
    MtuRange(u16),
    #[error("MTU {mtu} is more than `{device}` can carry, {most}: {why}")]
    MtuOverDevice { mtu: u16, device: String, most: u16, why: String },
    #[error(
        "MTU {0} is too small for the interface's IPv6 addresses: at least {MIN_MTU_INET6} (RFC 8200)"
    )]
    MtuInet6(u16),
    #[error("MTU {mtu} is over the port's, {port}: lower it, or raise the port's")]
    MtuOverPort { mtu: u16, port: u16 },
    #[error("VLAN {0} is out of range: 1 to 4094")]
    VlanRange(u16),
    #[error("port `{port}` has {} already: interface `{other}`", Vlan(*.vlan))]
    VlanTwice { port: Name, vlan: u16, other: Name },

    #[error("{address} cannot be an interface's address: {why}")]
    BadAddress { address: IpNet, why: &'static str },
    #[error("{address} is an address of interface `{other}` already")]
    AddressTwice { address: IpAddr, other: Name },
    #[error(
        "{address} overlaps {other_address} of interface `{other}`: two interfaces of one instance cannot share a network"
    )]
    Overlap { address: IpNet, other: Name, other_address: IpNet },

    #[error("stage `{}` must stand at {}", .0.name(), .1.name())]
    StageMissing(Stage, Event),
    #[error("stage `{}` cannot stand at {}: {}", .stage.name(), .event.name(), Belongs(*.stage))]
    StageMisplaced { stage: Stage, event: Event },
    #[error("stage `{}` stands twice at {}", .0.name(), .1.name())]
    StageTwice(Stage, Event),

    #[error("{prefix} has host bits set: write {right}")]
    HostBits { prefix: IpNet, right: IpNet },
    #[error("instance {instance} has no table `{name}`; it has: {known}")]
    UnknownTable { name: Name, instance: Name, known: String },
    #[error("table `main` is always there: leave it out")]
    MainTable,
    #[error("the route leads back to its own table: name another")]
    OwnTable,
    #[error("packets to {address} would be looked up round and round: {round}")]
    TableLoop { address: IpAddr, round: String },
    #[error("routes of this owner are made from the interfaces' addresses, not set")]
    ConnectedRoute,
    #[error("{prefix} is not routed: {why}")]
    UnroutablePrefix { prefix: IpNet, why: &'static str },
    #[error(
        "the route leads nowhere: give `via`, an interface, `blackhole: true`, `reject: true`, `prohibit: true` or `lookup`"
    )]
    NoNextHop,
    #[error("weight {0} is out of range: 1 to 256")]
    Weight(u16),
    #[error("next hop {via} is of another IP version than {prefix}")]
    NextHopFamily { via: IpAddr, prefix: IpNet },
    #[error(
        "next hop {0} is in nobody's network: no interface of the instance has an address in a network that holds it, and no route of table `main` leads there (default routes and the route itself aside)"
    )]
    NobodysNetwork(IpAddr),
    #[error("next hop {via} is not in a network of interface `{interface}`")]
    NextHopOffLink { via: IpAddr, interface: Name },
    #[error("next hop {0} is link-local: say by which interface (`interface: NAME`)")]
    LinkLocalNextHop(IpAddr),
    #[error("next hop {via} is the router's own address, on `{interface}`")]
    NextHopOwn { via: IpAddr, interface: Name },
    #[error("next hop {0} is no station's address: {1}")]
    NextHopNoStation(IpAddr, &'static str),
    #[error("next hop {0} stands twice: use its weight instead")]
    NextHopTwice(String),

    #[error("there is no set `{name}` in the filter; there are: {known}")]
    UnknownSet { name: Name, known: String },
    #[error("set `{name}` is one of {is}; the field takes sets of {takes}")]
    SetKind { name: Name, is: &'static str, takes: &'static str },
    #[error("set `{0}` is not a name: use a letter and then up to 62 letters, digits, - and _")]
    SetName(Name),
    #[error("set `{0}` is empty: give it an item, or take it out with the rules that use it")]
    EmptySet(Name),
    #[error("no rule of the filter uses set `{0}`: take it out")]
    UnusedSet(Name),
    #[error("a filter's default is accept, drop or reject, not count")]
    DefaultCounts,
    #[error("rule name `{0}` stands twice in this filter: its counters could not be told apart")]
    RuleTwice(Name),
    #[error(
        "`default` is what the filter's default action is called in reports: name the rule otherwise"
    )]
    RuleNamedDefault,
    #[error("`out` is not known yet at the ingress filter: use the forward filter")]
    OutputAtIngress,
    #[error("ports are for TCP, UDP, SCTP and DCCP: add `protocol: tcp` or such")]
    PortsWithoutProtocol,
    #[error("ports are for TCP, UDP, SCTP and DCCP, not for protocol {0}: split the rule")]
    PortsOfProtocol(u8),
    #[error("the range ends before it begins: {0}-{1}")]
    EmptyRange(u16, u16),
    #[error("TCP flags are for TCP alone: `protocol: tcp`")]
    FlagsWithoutTcp,
    #[error("a TCP flag cannot be both set and clear")]
    FlagsContradict,
    #[error("ICMP types are for ICMP alone: `protocol: icmp` or `protocol: icmpv6`")]
    IcmpWithoutProtocol,
    #[error("the rule can match nothing: {0}")]
    MatchesNothing(&'static str),
    #[error(
        "a limit is of connections that a rule accepts, and this one says {}: leave the limit out", .0.name()
    )]
    LimitOfAction(Action),
    #[error("only a new connection is limited: add `new` to `state`, or leave `state` out")]
    LimitWithoutNew,
    #[error("the limit says nothing: give `new-flows`, `flows-per-source` or both")]
    EmptyLimit,
    #[error("{count} in {seconds} s, {burst} at once is out of range: each must be at least 1")]
    RateRange { count: u32, seconds: u32, burst: u32 },
    #[error("at least 1 connection from a source, or write a rule that drops them")]
    PerSourceRange,
    #[error("{seconds} s is out of range for `{}`: 1 s to 7 days", .timeout.name())]
    TimeoutRange { timeout: Timeout, seconds: u32 },

    #[error("policy route `{0}` stands twice: its counters could not be told apart")]
    PolicyRouteTwice(Name),
    #[error(
        "the policy route leads nowhere: give `table`, `via`, an interface, `drop: true` or `reject: true`"
    )]
    PolicyRouteNowhere,
    #[error("DSCP {0} is out of range: 0 to 63")]
    DscpRange(u8),

    #[error("`{0}` is a stage of Sluice's own: give the hook another name")]
    HookNamedStage(Name),
    #[error("the hook sees no protocol: give one of inet, inet6, arp, or leave the key out")]
    NoProtocol,
    #[error("protocol {} stands twice", .0.name())]
    ProtocolTwice(Protocol),
    #[error(
        "protocol {} has no event {}; it has: {}", .protocol.name(), .event.name(), events(*.protocol)
    )]
    NoSuchEvent { protocol: Protocol, event: Event },
    #[error("a hook cannot stand against itself: name another")]
    HintItself,
    #[error("`{0}` is not the absolute path of a file: begin it with `/`, 1,024 bytes at most")]
    BadPath(Name),
    #[error("a module, which stands at no event, has no `{0}`: give `event`, or leave `{0}` out")]
    NeedsEvent(&'static str),
    #[error("instance {instance}, event {}: {error}", .event.name())]
    HookOrder { instance: Name, event: Event, error: OrderError },

    #[error("{address} is in no network of interface `{interface}`")]
    NeighbourOffLink { address: IpAddr, interface: Name },
    #[error("{0} is the router's own address")]
    NeighbourOwn(IpAddr),
    #[error("{0} is no station's address: {1}")]
    NeighbourNoStation(IpAddr, &'static str),

    #[error("there are too many {what}: {count}, at most {most}")]
    TooMany { what: &'static str, count: usize, most: usize },
}

impl Mistake {
    /// Whether this may be but the consequence of another part of the same thing that could not
    /// be read.
    pub(crate) fn may_follow_within(&self) -> bool {
        matches!(
            self,
            Mistake::PortsWithoutProtocol
                | Mistake::NoProtocol
                | Mistake::FlagsWithoutTcp
                | Mistake::IcmpWithoutProtocol
                | Mistake::MatchesNothing(_)
        )
    }

    /// Whether this may be but the consequence of something else that could not be read.
    pub(crate) fn may_follow(&self) -> bool {
        matches!(
            self,
            Mistake::UnknownPort { .. }
                | Mistake::UnknownInterface { .. }
                | Mistake::InterfaceNotMember { .. }
                | Mistake::UnknownInstance { .. }
                | Mistake::UnknownTable { .. }
                | Mistake::NobodysNetwork(_)
                | Mistake::NextHopOffLink { .. }
                | Mistake::NeighbourOffLink { .. }
                | Mistake::StageMissing(..)
        )
    }
}

fn events(protocol: Protocol) -> String {
    let events = Event::ALL.into_iter().filter(|&event| protocol.has(event));
    events.map(Event::name).collect::<Vec<_>>().join(", ")
}

struct Vlan(u16);

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("an untagged interface"),
            vlan => write!(f, "VLAN {vlan}"),
        }
    }
}

struct Belongs(Stage);

impl fmt::Display for Belongs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.event().filter(|_| self.0.placed()) {
            Some(event) => write!(f, "it belongs at {}", event.name()),
            None => f.write_str("its place is fixed"),
        }
    }
}

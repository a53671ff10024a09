//! The shape of the configuration file. The JSON Schema is made from these types, and their
//! documentation is what an editor shows.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IntoDeserializer, MapAccess, Visitor};

use super::flows::FlowsDocument;
use super::kinds::{
    Action, Address, Checksum, Core, Count, DefaultAction, Device, Dscp, End, EventName, HookName,
    HookPath, HookProtocol, Icmp, InstanceName, Interface, IpAddress, KernelTable, Mac, Memory,
    Mtu, Networks, NewFlows, PortRange, Ports, Prefix, Protocol, Queues, RouteProtocol, RuleName,
    Setting, StageName, State, TableName, TcpFlagList, Unreachable, Weight, Worker, YesNo,
};
use super::node::{At, Entries, Many, One, Text};

/// A Sluice appliance: its ports, and what happens to packets between them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "Sluice configuration")]
pub(super) struct Document {
    /// What the dataplane is started with. Changes take a restart.
    pub(super) dataplane: Option<DataplaneDocument>,
    /// Ports by name. A port is one DPDK device, and also the layer-3 interface of its untagged
    /// frames.
    pub(super) ports: Option<Entries<PortDocument>>,
    /// Sets by name: networks or ports that filters' rules and policy routes can refer to as
    /// `$NAME`.
    pub(super) sets: Option<Entries<SetDocument>>,
    /// Further instances by name: network stacks with routes and filters of their own.
    pub(super) instances: Option<Entries<InstanceDocument>>,
    /// Tables of routes of the instance `default` beside `main`, which is always there.
    pub(super) tables: Option<Many<Text<TableName>>>,
    /// Which stages run at which event in the instance `default`, in order.
    pub(super) pipeline: Option<At<PipelineDocument>>,
    /// Routes of the instance `default`.
    pub(super) routes: Option<Vec<At<RouteDocument>>>,
    /// Policy routes of the instance `default`, asked in order before its routes.
    pub(super) policy_routes: Option<Vec<At<PolicyRouteDocument>>>,
    /// Filters of the instance `default`.
    pub(super) filters: Option<FiltersDocument>,
    /// Neighbours whose link address is not asked for.
    pub(super) neighbours: Option<Vec<At<NeighbourDocument>>>,
    /// Hooks by name: programs of the dataplane that see packets at an event.
    pub(super) hooks: Option<Entries<HookDocument>>,
    /// How connections are kept.
    pub(super) flows: Option<FlowsDocument>,
    /// Tables of the kernel whose routes are followed: what routing daemons write there.
    pub(super) kernel_routes: Option<Vec<At<KernelRoutesDocument>>>,
}

/// A table of the kernel whose routes become routes of the owners `kernel`, `bgp`, `ospf` and `dhcp`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KernelRoutes")]
pub(super) struct KernelRoutesDocument {
    /// The kernel's table, by number or `main`; `main` if left out.
    pub(super) table: Option<One<KernelTable>>,
    /// The instance that gets the routes; `default` if left out.
    pub(super) instance: Option<One<InstanceName>>,
    /// The instance's table that gets them; `main` if left out.
    pub(super) into: Option<One<TableName>>,
    /// Only those of these routing protocols, by number or by the name that `ip route` has for them;
    /// all but `kernel`, `redirect` and `ra` if left out.
    pub(super) protocols: Option<Many<Text<RouteProtocol>>>,
}

/// What the dataplane is started with.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Dataplane")]
pub(super) struct DataplaneDocument {
    /// CPU cores, one worker on each; 0 alone if left out.
    pub(super) cores: Option<Many<Text<Core>>>,
    /// Memory for packets and tables in MiB; 256 if left out.
    pub(super) memory: Option<One<Memory>>,
    /// Sizes that are fixed at start.
    pub(super) limits: Option<LimitsDocument>,
}

/// Sizes that are fixed when the dataplane starts.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub(super) struct LimitsDocument {
    /// Ports; 32 if left out.
    pub(super) ports: Option<One<Count<1, 64>>>,
    /// Filter rules, default actions included; 16384 if left out.
    pub(super) rules: Option<One<Count<16, 65_535>>>,
    /// Neighbours of all interfaces; 4096 if left out.
    pub(super) neighbours: Option<One<Count<16, 1_048_576>>>,
    /// Connections that each worker remembers, some 250 bytes each; 131072 if left out.
    pub(super) flows: Option<One<Count<16, 67_108_864>>>,
}

/// A port: one DPDK device.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Port")]
pub(super) struct PortDocument {
    /// DPDK device: a PCI address, or a virtual device with its arguments.
    #[schemars(required)]
    pub(super) device: Option<One<Device>>,
    /// Link address; the device's own if left out.
    pub(super) mac: Option<One<Mac>>,
    /// Largest IP packet in bytes; 1500 if left out.
    pub(super) mtu: Option<One<Mtu>>,
    /// Receive queues; 1 if left out.
    pub(super) queues: Option<One<Queues>>,
    /// Which workers poll the queues, as places in `dataplane.cores`, one a queue in turn; all if
    /// left out.
    pub(super) workers: Option<Many<Text<Worker>>>,
    /// Hand packets to the worker that their flow belongs to, so that both directions and all
    /// fragments of a flow meet, whichever port and queue they come by; `true` if left out. With
    /// `false` they stay with the worker that polls them: rules on the state of connections need
    /// one worker then, or receive queues that keep flows together.
    pub(super) spread: Option<One<YesNo>>,
    /// What to do about layer-4 checksums of received packets. If left out: `complete` for
    /// af_packet, af_xdp, tap and virtio devices, else `trust`.
    pub(super) checksum: Option<One<Checksum>>,
    /// Take the kernel's interface even if it has addresses; `false` if left out.
    pub(super) steal: Option<One<YesNo>>,
    /// The instance that untagged packets belong to; `default` if left out.
    pub(super) instance: Option<One<InstanceName>>,
    /// Own addresses, each with the length of its network. A port that has VLANs and no addresses
    /// drops untagged packets.
    pub(super) addresses: Option<Many<Text<Address>>>,
    /// VLANs by 802.1Q identifier, 1 to 4094; each is an interface of its own, named `port.vlan`.
    pub(super) vlans: Option<Entries<VlanDocument>>,
}

/// A VLAN on a port.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Vlan")]
pub(super) struct VlanDocument {
    /// Largest IP packet in bytes; the port's if left out, and at most that.
    pub(super) mtu: Option<One<Mtu>>,
    /// The instance that the VLAN's packets belong to; `default` if left out.
    pub(super) instance: Option<One<InstanceName>>,
    /// Own addresses, each with the length of its network.
    pub(super) addresses: Option<Many<Text<Address>>>,
}

/// A network stack of its own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Instance")]
pub(super) struct InstanceDocument {
    /// Which stages run at which event, in order.
    pub(super) pipeline: Option<At<PipelineDocument>>,
    /// Tables of routes beside `main`, which is always there.
    pub(super) tables: Option<Many<Text<TableName>>>,
    /// Routes.
    pub(super) routes: Option<Vec<At<RouteDocument>>>,
    /// Policy routes, asked in order before the routes.
    pub(super) policy_routes: Option<Vec<At<PolicyRouteDocument>>>,
    /// Filters.
    pub(super) filters: Option<FiltersDocument>,
}

/// Stages by event. An event that is left out has its default; filters may be left out of a list,
/// the other stages may not.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Pipeline")]
pub(super) struct PipelineDocument {
    /// Every valid packet received: `ingress-filter`.
    pub(super) physical_in: Option<Many<Text<StageName>>>,
    /// Where the next hop is chosen: `route`.
    pub(super) route_decision: Option<Many<Text<StageName>>>,
    /// Packets between two interfaces: `forward-filter`, `hop-limit`, `mtu`.
    pub(super) forwarding: Option<Many<Text<StageName>>>,
    /// Every packet just before the port: `egress-filter`.
    pub(super) physical_out: Option<Many<Text<StageName>>>,
}

/// A route. It has exactly one of: next hops (`via`, `interface`), `blackhole`, `reject`,
/// `prohibit`, `lookup`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Route")]
pub(super) struct RouteDocument {
    /// The destinations it covers, such as 10.1.0.0/16 or ::/0.
    #[schemars(required)]
    pub(super) to: Option<One<Prefix>>,
    /// The table that it is in; `main` if left out.
    pub(super) table: Option<One<TableName>>,
    /// The neighbours to hand packets to; several share the flows. One that is in no connected
    /// network is reached as the routes of `main` say.
    pub(super) via: Option<Many<HopDocument>>,
    /// The interface to leave by. Alone: every destination is on that link.
    pub(super) interface: Option<One<Interface>>,
    /// Drop in silence.
    pub(super) blackhole: Option<One<YesNo>>,
    /// Drop and tell the sender that the destination is unreachable.
    pub(super) reject: Option<One<YesNo>>,
    /// Drop and tell the sender that it is administratively prohibited.
    pub(super) prohibit: Option<One<YesNo>>,
    /// Look the destination up in another table, also of another instance.
    pub(super) lookup: Option<At<LookupDocument>>,
    /// Of the routes of one prefix the one with the lowest preference is in use; 5 if left out.
    pub(super) preference: Option<One<Count<0, { u32::MAX }>>>,
    /// Between routes of equal preference the lowest metric is in use; 0 if left out.
    pub(super) metric: Option<One<Count<0, { u32::MAX }>>>,
    /// A number that is kept with the route and means nothing to Sluice; 0 if left out.
    pub(super) tag: Option<One<Count<0, { u32::MAX }>>>,
}

/// The table to look on in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Lookup")]
pub(super) struct LookupDocument {
    /// The instance that the table belongs to; the route's own if left out.
    pub(super) instance: Option<One<InstanceName>>,
    /// The table; `main` if left out.
    pub(super) table: Option<One<TableName>>,
}

/// One next hop.
pub(super) enum HopDocument {
    Address(Text<IpAddress>),
    Full(Box<HopFields>),
}

/// One next hop of several.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NextHop")]
pub(super) struct HopFields {
    /// The neighbour's address.
    #[schemars(required)]
    pub(super) address: Option<One<IpAddress>>,
    /// The interface it is on; needed for a link-local address.
    pub(super) interface: Option<One<Interface>>,
    /// Share of the flows, 1 to 256; 1 if left out.
    pub(super) weight: Option<One<Weight>>,
}

impl<'de> Deserialize<'de> for HopDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HopVisitor;

        impl<'de> Visitor<'de> for HopVisitor {
            type Value = HopDocument;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an address, or a mapping with `address`, `interface` and `weight`")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HopDocument, A::Error> {
                let fields = HopFields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(HopDocument::Full(Box::new(fields)))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<HopDocument, E> {
                Text::deserialize(value.into_deserializer()).map(HopDocument::Address)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<HopDocument, E> {
                Text::deserialize(value.into_deserializer()).map(HopDocument::Address)
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<HopDocument, E> {
                Text::deserialize(value.into_deserializer()).map(HopDocument::Address)
            }
        }

        deserializer.deserialize_any(HopVisitor)
    }
}

impl JsonSchema for HopDocument {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hop".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let address = generator.subschema_for::<Text<IpAddress>>();
        let full = generator.subschema_for::<HopFields>();
        json_schema!({ "anyOf": [address, full] })
    }
}

/// A set. It has exactly one of `prefixes` and `ports`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Set")]
pub(super) struct SetDocument {
    /// Networks, for `source` and `destination`.
    pub(super) prefixes: Option<Many<Text<Prefix>>>,
    /// Ports, for `source-port` and `destination-port`.
    pub(super) ports: Option<Many<Text<PortRange>>>,
}

/// The built-in filters. One that is left out accepts everything.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Filters")]
pub(super) struct FiltersDocument {
    /// Every packet received, also to the router itself.
    pub(super) ingress: Option<FilterDocument>,
    /// Packets between two interfaces.
    pub(super) forward: Option<FilterDocument>,
    /// Every packet sent, also the router's own.
    pub(super) egress: Option<FilterDocument>,
}

/// A filter: the first rule that matches decides.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Filter")]
pub(super) struct FilterDocument {
    /// What happens to a packet that no rule decides; `accept` if left out.
    pub(super) default: Option<One<DefaultAction>>,
    /// Packets of established connections, and ICMP errors about them, pass ahead of the rules; what
    /// cannot be of any connection is dropped. `false` if left out.
    pub(super) stateful: Option<One<YesNo>>,
    /// Rules in order.
    pub(super) rules: Option<Vec<At<RuleDocument>>>,
}

/// A rule. It matches a packet that every given key matches; a list matches if one of its items
/// does.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Rule")]
pub(super) struct RuleDocument {
    /// Its name in counters, logs and reports; made from the rule if left out.
    pub(super) name: Option<One<RuleName>>,
    /// Interfaces that the packet came in by. The router's own packets came in by none.
    #[serde(rename = "in")]
    pub(super) input: Option<Many<Text<Interface>>>,
    /// Interfaces that the packet is to leave by (forward and egress).
    #[serde(rename = "out")]
    pub(super) output: Option<Many<Text<Interface>>>,
    /// Source networks, and sets of them as `$NAME`.
    pub(super) source: Option<Many<Text<Networks>>>,
    /// Destination networks, and sets of them as `$NAME`.
    pub(super) destination: Option<Many<Text<Networks>>>,
    /// Protocols by name or number.
    pub(super) protocol: Option<Many<Text<Protocol>>>,
    /// Source ports of TCP, UDP, SCTP and DCCP, and sets of them as `$NAME`. Later fragments have
    /// none, and do not match.
    pub(super) source_port: Option<Many<Text<Ports>>>,
    /// Destination ports of TCP, UDP, SCTP and DCCP, and sets of them as `$NAME`. Later fragments
    /// have none, and do not match.
    pub(super) destination_port: Option<Many<Text<Ports>>>,
    /// TCP flags that must be set, and after `!` clear: "syn,!ack".
    pub(super) tcp_flags: Option<Many<Text<TcpFlagList>>>,
    /// ICMP types by name or number, with "/" and the code if that matters: "3/4".
    pub(super) icmp_type: Option<Many<Text<Icmp>>>,
    /// How the packet stands to its connection.
    pub(super) state: Option<Many<Text<State>>>,
    /// What to do with the packet.
    #[schemars(required)]
    pub(super) action: Option<One<Action>>,
    /// What the rule allows of the connections that it accepts. What is over it is dropped.
    pub(super) limit: Option<At<LimitDocument>>,
    /// Log the match (rate limited); `false` if left out.
    pub(super) log: Option<One<YesNo>>,
}

/// What a rule allows of the connections that it accepts.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Limit")]
pub(super) struct LimitDocument {
    /// How many connections may begin: 100/s, 30/m, 1000/h.
    pub(super) new_flows: Option<One<NewFlows>>,
    /// How many of them at once, after a pause; as many as `new-flows` says if left out.
    pub(super) burst: Option<One<Count<1, { u32::MAX }>>>,
    /// How many connections one source address may have at a time.
    pub(super) flows_per_source: Option<One<Count<1, { u32::MAX }>>>,
}

/// A policy route. It matches a packet that every given key matches; a list matches if one of its
/// items does. The first that matches and has a way out decides. It has exactly one of: `table`,
/// next hops (`via`, `interface`), `drop`, `reject`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "PolicyRoute")]
pub(super) struct PolicyRouteDocument {
    /// Its name in counters and reports; made from the policy route if left out.
    pub(super) name: Option<One<RuleName>>,
    /// Interfaces that the packet came in by. The router's own packets came in by none.
    #[serde(rename = "in")]
    pub(super) input: Option<Many<Text<Interface>>>,
    /// Source networks, or sets of them as `$NAME`.
    pub(super) source: Option<Many<Text<Networks>>>,
    /// Destination networks, or sets of them as `$NAME`.
    pub(super) destination: Option<Many<Text<Networks>>>,
    /// Protocols by name or number.
    pub(super) protocol: Option<Many<Text<Protocol>>>,
    /// Source ports of TCP, UDP, SCTP and DCCP, or sets of ports as `$NAME`. Later fragments have those
    /// of their first.
    pub(super) source_port: Option<Many<Text<Ports>>>,
    /// Destination ports of TCP, UDP, SCTP and DCCP, or sets of ports as `$NAME`. Later fragments have
    /// those of their first.
    pub(super) destination_port: Option<Many<Text<Ports>>>,
    /// Differentiated services code points by name or number.
    pub(super) dscp: Option<Many<Text<Dscp>>>,
    /// `true`: fragments alone; `false`: whole packets alone.
    pub(super) fragment: Option<One<YesNo>>,
    /// The table to route by.
    pub(super) table: Option<One<TableName>>,
    /// The neighbours to hand packets to; several share the flows. Packets of an IP version of
    /// which none is given are not matched.
    pub(super) via: Option<Many<HopDocument>>,
    /// The interface to leave by. Alone: every destination is on that link.
    pub(super) interface: Option<One<Interface>>,
    /// Drop in silence.
    pub(super) drop: Option<One<YesNo>>,
    /// Drop and tell the sender.
    pub(super) reject: Option<One<YesNo>>,
    /// What happens where there is no way out, because the port is down or the table has no
    /// route: `next` goes on with the policy routes that follow and at last the table `main`,
    /// `drop` is silent, `reject` tells the sender. `next` if left out.
    pub(super) unreachable: Option<One<Unreachable>>,
}

/// A neighbour whose link address is not asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Neighbour")]
pub(super) struct NeighbourDocument {
    /// The interface it is on.
    #[schemars(required)]
    pub(super) interface: Option<One<Interface>>,
    /// Its address.
    #[schemars(required)]
    pub(super) address: Option<One<IpAddress>>,
    /// Its link address.
    #[schemars(required)]
    pub(super) mac: Option<One<Mac>>,
}

/// A hook: one of the dataplane's programs, or a file, at an event. It has exactly one of `program`
/// and `file`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Hook")]
pub(super) struct HookDocument {
    /// The program; `sluice hook programs` lists what the dataplane has.
    pub(super) program: Option<One<HookName>>,
    /// The absolute path of the file: a shared object. The dataplane reads it, and a commit
    /// remembers what was in it.
    pub(super) file: Option<One<HookPath>>,
    /// The event that it runs at. A module has none: it registers hooks of its own.
    pub(super) event: Option<One<EventName>>,
    /// Where in the event's order it stands: `first`, `last`, `{ before: HOOK }` or
    /// `{ after: HOOK }`, where HOOK is a hook or a stage. If left out, behind what is there.
    pub(super) order: Option<At<OrderDocument>>,
    /// The instance whose packets it sees; every instance if left out.
    pub(super) instance: Option<One<InstanceName>>,
    /// The protocols whose packets it sees; `inet` and `inet6` if left out. `arp` has the events
    /// `physical-in`, `physical-out` and `nic-events` only.
    pub(super) protocols: Option<Many<Text<HookProtocol>>>,
    /// What the program is told, each key one value.
    pub(super) settings: Option<At<Entries<One<Setting>>>>,
}

/// A place in an event's order.
pub(super) enum OrderDocument {
    End(Text<End>),
    Against(OrderFields),
}

/// A place against another hook. It has exactly one of `before` and `after`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Order")]
pub(super) struct OrderFields {
    /// Ahead of this hook or stage.
    pub(super) before: Option<One<HookName>>,
    /// Behind this hook or stage.
    pub(super) after: Option<One<HookName>>,
}

impl<'de> Deserialize<'de> for OrderDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OrderVisitor;

        impl<'de> Visitor<'de> for OrderVisitor {
            type Value = OrderDocument;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`first`, `last`, or a mapping with `before` or `after`")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OrderDocument, A::Error> {
                OrderFields::deserialize(MapAccessDeserializer::new(map))
                    .map(OrderDocument::Against)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<OrderDocument, E> {
                Text::deserialize(value.into_deserializer()).map(OrderDocument::End)
            }
        }

        deserializer.deserialize_any(OrderVisitor)
    }
}

impl JsonSchema for OrderDocument {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OrderOrEnd".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let end = generator.subschema_for::<Text<End>>();
        let against = generator.subschema_for::<OrderFields>();
        json_schema!({ "anyOf": [end, against] })
    }
}

//! Checks and compiles what packets come in and leave by: ports, interfaces, instances.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use sluice_packet::Family;
use sluice_packet::descriptor::number_of;

use super::error::{Mistake, Thing};
use super::hops::Recursive;
use super::report::{Naming, Report, is_name, known};
use super::{PortEntry, TableEntry};
use crate::device::{Device, MAX_MTU, MIN_MTU, MIN_MTU_INET6};
use crate::event::{Event, Stage};
use crate::fib::Fib;
use crate::ids::{InstanceId, InterfaceId, PortId, TableId};
use crate::instance::{Connected, Instance, OwnAddresses};
use crate::interface::{Interface, is_link_local};
use crate::model::{self, DEFAULT_INSTANCE, MAIN_TABLE, Name};

/// Ports, interfaces and instances of a generation; the instances are without filters and routes
/// other than connected ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    /// By number.
    pub(super) ports: Vec<Option<PortEntry>>,
    /// By number.
    pub(super) interfaces: Vec<Option<Interface>>,
    /// By port, then by VLAN up to the highest in use.
    pub(super) by_vlan: Vec<Box<[InterfaceId]>>,
    pub(super) by_name: HashMap<Name, InterfaceId>,
    pub(super) instances: Vec<Option<Instance>>,
    /// By number.
    pub(super) tables: Vec<Option<TableEntry>>,
    /// Ports that do not work: routes by them are not used.
    pub(super) down: BTreeSet<PortId>,
    /// What the next hops that are on no link resolve to.
    pub(super) recursive: Arc<Recursive>,
    /// The smallest MTU of an interface.
    pub(super) least_mtu: u16,
}

/// Compiles the links of `report.state`; names that `old` knows keep their numbers.
pub(super) fn compile(old: &Links, report: &mut Report<'_>) -> Links {
    let state = report.state;
    let (old_ports, old_interfaces) = (old.ports.iter(), old.interfaces.iter());
    let old_instances = old.instances.iter().flatten().map(|i| (&i.name, i.id.0));
    let old_ports = old_ports.flatten().map(|port| (&port.name, port.id.0));
    let old_interfaces = old_interfaces.flatten().map(|i| (&i.name, i.id.0));
    let ports = numbers(old_ports, state.ports.keys(), 0);
    let interfaces = numbers(old_interfaces, state.interfaces.keys(), 1);
    let default: Name = DEFAULT_INSTANCE.into();
    let names = std::iter::once(&default).chain(state.instances.keys());
    let instances = numbers(old_instances, names, 0);
    let tables = declared_tables(old, &instances, report);

    check_ports(report);
    let counts = [("ports", ports.len()), ("interfaces", interfaces.len())];
    for (what, count) in counts.into_iter().chain([("tables", tables.len())]) {
        if count > usize::from(u16::MAX) {
            let thing = Thing::Instance(default.clone());
            report.add(&thing, "", Mistake::TooMany { what, count, most: usize::from(u16::MAX) });
        }
    }

    let mut links = Links {
        ports: table(&ports),
        interfaces: table(&interfaces),
        by_vlan: vec![Box::default(); ports.len()],
        by_name: HashMap::new(),
        instances: table(&instances),
        tables: table(&tables),
        down: old.down.iter().copied().filter(|id| stays(*id, old, &ports)).collect(),
        recursive: Arc::default(),
        least_mtu: state.interfaces.values().map(|i| i.mtu).min().unwrap_or_default(),
    };
    for (name, &id) in &ports {
        let spec = state.ports[name].clone();
        let entry = PortEntry { id: PortId(id), name: name.clone(), spec };
        links.ports[usize::from(id)] = Some(entry);
    }
    for (name, &id) in &instances {
        let pipeline = state.instances.get(name).cloned().unwrap_or_default().pipeline;
        check_pipeline(name, &pipeline, report);
        links.instances[usize::from(id)] = Some(Instance {
            id: InstanceId(id),
            name: name.clone(),
            stages: Event::ALL.map(|event| {
                let placed = pipeline.get(&event).into_iter().flatten().copied();
                let flow = (event == Event::PhysicalIn).then_some(Stage::Flow);
                flow.into_iter().chain(placed).collect()
            }),
            filters: Default::default(),
            steering: None,
            own: OwnAddresses::default(),
            connected: Default::default(),
            connected_fib: Fib::default(),
            table_ids: BTreeMap::new(),
            main: TableId::default(),
            fib: Fib::default(),
            tables: Default::default(),
        });
    }
    for ((of, name), &id) in &tables {
        let Some(instance) = links.instances[usize::from(instances[of])].as_mut() else { continue };
        let (id, name) = (TableId(id), name.clone());
        instance.table_ids.insert(name.clone(), id);
        if &*name == MAIN_TABLE {
            instance.main = id;
        }
        links.tables[id.index()] = Some(TableEntry { id, instance: instance.id, name });
    }
    for (name, spec) in &state.interfaces {
        check_interface(name, spec, report);
        let (Some(&port), Some(&instance)) = (ports.get(&spec.port), instances.get(&spec.instance))
        else {
            continue;
        };
        let id = InterfaceId(interfaces[name]);
        links.by_name.insert(name.clone(), id);
        links.interfaces[id.index()] = Some(Interface {
            id,
            name: name.clone(),
            port: PortId(port),
            vlan: spec.vlan.unwrap_or(0),
            instance: InstanceId(instance),
            mtu: spec.mtu,
            checksum: state.ports[&spec.port].checksum,
            addresses: spec.addresses.clone(),
        });
    }
    links.index_vlans(report);
    links.connect(report);
    links
}

/// The tables of all instances, by instance and name, numbered.
fn declared_tables(
    old: &Links,
    instances: &BTreeMap<Name, u16>,
    report: &mut Report<'_>,
) -> BTreeMap<(Name, Name), u16> {
    let of = |entry: &TableEntry| old.instances.get(entry.instance.index())?.as_ref();
    let old: Vec<((Name, Name), u16)> = old
        .tables
        .iter()
        .flatten()
        .filter_map(|entry| Some(((of(entry)?.name.clone(), entry.name.clone()), entry.id.0)))
        .collect();
    let mut names = Vec::new();
    for instance in instances.keys() {
        names.push((instance.clone(), MAIN_TABLE.into()));
        let further = report.state.instances.get(instance).map(|spec| &spec.tables);
        for name in further.into_iter().flatten() {
            let thing = Thing::Instance(instance.clone());
            if !is_name(name, Naming::Plain) {
                report.add(&thing, "tables", Mistake::BadName(name.clone()));
            } else if &**name == MAIN_TABLE {
                report.add(&thing, "tables", Mistake::MainTable);
            }
            names.push((instance.clone(), name.clone()));
        }
    }
    numbers(old.iter().map(|(name, id)| (name, *id)), names.iter(), 0)
}

/// Numbers for names: those that `old` has stay, new ones get the lowest free.
fn numbers<'a, Key: Ord + Hash + Clone + 'a>(
    old: impl Iterator<Item = (&'a Key, u16)>,
    names: impl Iterator<Item = &'a Key>,
    first: u16,
) -> BTreeMap<Key, u16> {
    let old: HashMap<&Key, u16> = old.collect();
    let names: Vec<&Key> = names.collect();
    let mut taken: HashSet<u16> = names.iter().filter_map(|name| old.get(name).copied()).collect();
    let mut next = first;
    let mut numbers = BTreeMap::new();
    for name in names {
        let number = old.get(name).copied().or_else(|| numbers.get(name).copied());
        let number = number.unwrap_or_else(|| {
            while taken.contains(&next) && next < u16::MAX {
                next += 1;
            }
            taken.insert(next);
            next
        });
        numbers.insert(name.clone(), number);
    }
    numbers
}

/// Whether the port of this number is still there.
fn stays(id: PortId, old: &Links, ports: &BTreeMap<Name, u16>) -> bool {
    let port = old.ports.get(id.index()).and_then(Option::as_ref);
    port.is_some_and(|port| ports.get(&port.name) == Some(&id.0))
}

/// An empty table with a place for each number.
fn table<Key, T>(numbers: &BTreeMap<Key, u16>) -> Vec<Option<T>> {
    let places = numbers.values().max().map_or(0, |&highest| usize::from(highest) + 1);
    std::iter::repeat_with(|| None).take(places).collect()
}

fn check_ports(report: &mut Report<'_>) {
    let mut devices: HashMap<String, &Name> = HashMap::new();
    let mut kernel: HashMap<&str, &Name> = HashMap::new();
    for (name, port) in &report.state.ports {
        let thing = Thing::Port(name.clone());
        if !is_name(name, Naming::Plain) {
            report.add(&thing, "", Mistake::BadName(name.clone()));
        }
        let device = Device::parse(&port.device);
        if !device.is_plausible() {
            report.add(&thing, "device", Mistake::NotADevice(port.device.clone()));
        } else if let Some(&other) = devices.get(&*device.identity()) {
            let (device, other) = (device.name.to_owned(), other.clone());
            report.add(&thing, "device", Mistake::DeviceTwice { device, other });
        } else {
            devices.insert(device.identity().into_owned(), name);
        }
        match device.kernel_interface() {
            Some(None) => {
                report.add(&thing, "device", Mistake::NoKernelInterface(port.device.clone()));
            }
            Some(Some(iface)) => match kernel.get(iface) {
                Some(&other) => {
                    let (iface, other) = (iface.to_owned(), other.clone());
                    report.add(&thing, "device", Mistake::KernelInterfaceTwice { iface, other });
                }
                None => drop(kernel.insert(iface, name)),
            },
            None => {}
        }
        let (most, why) = device.max_mtu();
        if !(MIN_MTU..=MAX_MTU).contains(&port.mtu) {
            report.add(&thing, "mtu", Mistake::MtuRange(port.mtu));
        } else if port.mtu > most {
            let (device, why) = (device.name.to_owned(), why.into_owned());
            report.add(&thing, "mtu", Mistake::MtuOverDevice { mtu: port.mtu, device, most, why });
        }
        if !(1..=64).contains(&port.queues) {
            report.add(&thing, "queues", Mistake::Queues(port.queues));
        }
        if let Some(mac) = port.mac.filter(|mac| !mac.is_station()) {
            report.add(&thing, "mac", Mistake::NotAStation(mac));
        }
    }
}

fn check_pipeline(name: &Name, pipeline: &model::Pipeline, report: &mut Report<'_>) {
    let thing = Thing::Instance(name.clone());
    if !is_name(name, Naming::Plain) {
        report.add(&thing, "", Mistake::BadName(name.clone()));
    }
    for (&event, stages) in pipeline {
        for (i, &stage) in stages.iter().enumerate() {
            if stage.event() != Some(event) || !stage.placed() {
                let mistake = Mistake::StageMisplaced { stage, event };
                report.add_item(&thing, pipeline_field(event), i, mistake);
            } else if stages[..i].contains(&stage) {
                let mistake = Mistake::StageTwice(stage, event);
                report.add_item(&thing, pipeline_field(event), i, mistake);
            }
        }
    }
    for stage in Stage::ALL {
        let required = stage.placed() && !stage.optional();
        let Some(event) = stage.event().filter(|_| required) else { continue };
        if !pipeline.get(&event).is_some_and(|stages| stages.contains(&stage)) {
            report.add(&thing, pipeline_field(event), Mistake::StageMissing(stage, event));
        }
    }
}

/// The configuration file's key for the stages of an event.
pub(crate) fn pipeline_field(event: Event) -> &'static str {
    match event {
        Event::PhysicalIn => "physical-in",
        Event::RouteDecision => "route-decision",
        Event::Forwarding => "forwarding",
        Event::PhysicalOut => "physical-out",
        _ => "pipeline",
    }
}

fn check_interface(name: &Name, spec: &model::Interface, report: &mut Report<'_>) {
    let state = report.state;
    let thing = Thing::Interface(name.clone());
    if !is_name(name, Naming::Interface) {
        report.add(&thing, "", Mistake::BadName(name.clone()));
    }
    let port = state.ports.get(&spec.port);
    if port.is_none() {
        let (name, known) = (spec.port.clone(), known(state.ports.keys()));
        report.add(&thing, "", Mistake::UnknownPort { name, known });
    }
    if &*spec.instance != DEFAULT_INSTANCE && !state.instances.contains_key(&spec.instance) {
        report.add(&thing, "instance", unknown_instance(state, &spec.instance));
    }
    if let Some(vlan) = spec.vlan.filter(|vlan| !(1..=4094).contains(vlan)) {
        report.add(&thing, "vlans", Mistake::VlanRange(vlan));
    }
    let inet6 = spec.addresses.iter().any(|net| net.addr().is_ipv6());
    if !(MIN_MTU..=MAX_MTU).contains(&spec.mtu) {
        // An untagged interface has its port's MTU, which has been complained about.
        if spec.vlan.is_some() || port.is_none_or(|port| port.mtu != spec.mtu) {
            report.add(&thing, "mtu", Mistake::MtuRange(spec.mtu));
        }
    } else if inet6 && spec.mtu < MIN_MTU_INET6 {
        report.add(&thing, "mtu", Mistake::MtuInet6(spec.mtu));
    }
    if let Some(port) = port.filter(|port| port.mtu < spec.mtu) {
        report.add(&thing, "mtu", Mistake::MtuOverPort { mtu: spec.mtu, port: port.mtu });
    }
    for (i, &address) in spec.addresses.iter().enumerate() {
        if let Some(why) = not_an_interface_address(address) {
            report.add_item(&thing, "addresses", i, Mistake::BadAddress { address, why });
        }
    }
}

/// What is wrong with a reference to an instance.
pub(super) fn unknown_instance(state: &model::State, name: &Name) -> Mistake {
    let default: Name = DEFAULT_INSTANCE.into();
    let names: BTreeSet<&Name> = state.instances.keys().chain([&default]).collect();
    Mistake::UnknownInstance { name: name.clone(), known: known(names.into_iter()) }
}

/// Why an interface cannot have this address, if so.
fn not_an_interface_address(net: IpNet) -> Option<&'static str> {
    if let Some(why) = not_a_station(net.addr()) {
        return Some(why);
    }
    if net.prefix_len() == 0 {
        return Some(
            "a network of all addresses: give the length of the connected network, such as /24",
        );
    }
    match net {
        IpNet::V6(v6) if is_link_local(v6.addr().to_bits()) => {
            Some("link-local addresses are made from the MAC address: leave it out")
        }
        _ => no_host(net, net.addr()),
    }
}

/// Why the address is no host's in this network, if so. /31, /127 and host networks have no
/// such addresses (RFC 3021, RFC 6164).
pub(super) fn no_host(net: IpNet, address: IpAddr) -> Option<&'static str> {
    if net.max_prefix_len() - net.prefix_len() < 2 {
        return None;
    }
    match net {
        IpNet::V4(v4) if v4.broadcast() == address => Some("the broadcast address of its network"),
        IpNet::V4(v4) if v4.network() == address => Some("the address of the network itself"),
        IpNet::V6(v6) if v6.network() == address => {
            Some("the subnet-router anycast address (RFC 4291 section 2.6.1)")
        }
        _ => None,
    }
}

/// Why no station can have the address, if so.
pub(super) fn not_a_station(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if let IpAddr::V4(v4) = address {
        match v4.octets()[0] {
            0 => Some("an address of \"this\" network (RFC 1122)"),
            240.. => Some("a reserved or broadcast address (240.0.0.0/4)"),
            _ => None,
        }
    } else {
        None
    }
}

impl Links {
    fn index_vlans(&mut self, report: &mut Report<'_>) {
        let mut by_vlan: Vec<Vec<InterfaceId>> = vec![Vec::new(); self.ports.len()];
        for interface in self.interfaces.iter().flatten() {
            let vlans = &mut by_vlan[interface.port.index()];
            let vlan = usize::from(interface.vlan);
            if vlans.len() <= vlan && vlan < 4096 {
                vlans.resize(vlan + 1, InterfaceId(0));
            }
            let Some(place) = vlans.get_mut(vlan) else { continue };
            match self.interfaces.get(place.index()).and_then(Option::as_ref) {
                Some(other) => {
                    let port = self.ports[interface.port.index()].as_ref();
                    let mistake = Mistake::VlanTwice {
                        port: port.map_or_else(|| "".into(), |port| port.name.clone()),
                        vlan: interface.vlan,
                        other: other.name.clone(),
                    };
                    report.add(&Thing::Interface(interface.name.clone()), "", mistake);
                }
                None => *place = interface.id,
            }
        }
        self.by_vlan = by_vlan.into_iter().map(Into::into).collect();
    }

    /// Derives the connected networks and own addresses of every instance.
    fn connect(&mut self, report: &mut Report<'_>) {
        for instance in self.instances.iter_mut().flatten() {
            let mut connected = BTreeMap::new();
            let id = instance.id;
            let members = self.interfaces.iter().flatten().filter(|i| i.instance == id);
            for interface in members {
                let thing = Thing::Interface(interface.name.clone());
                for (i, &net) in interface.addresses.iter().enumerate() {
                    if not_an_interface_address(net).is_some() {
                        continue;
                    }
                    match clash(&self.interfaces, instance, &connected, interface, net) {
                        Some(mistake) => report.add_item(&thing, "addresses", i, mistake),
                        None => connect(instance, &mut connected, interface.id, net),
                    }
                }
            }
            instance.connected = connected.into();
        }
    }
}

/// What is wrong with one more address of an instance, if anything: two interfaces cannot share
/// a network, nor anyone an address.
fn clash(
    interfaces: &[Option<Interface>],
    instance: &Instance,
    connected: &BTreeMap<IpNet, Connected>,
    interface: &Interface,
    net: IpNet,
) -> Option<Mistake> {
    let of = |id: InterfaceId| interfaces.get(id.index()).and_then(Option::as_ref);
    let address = net.addr();
    let family = family_of(address);
    if let Some(on) = instance.own.find(family, number_of(address)).and_then(of) {
        return Some(Mistake::AddressTwice { address, other: on.name.clone() });
    }
    let covering = instance.connected_fib.lookup(family, number_of(net.network()));
    let covering = covering.map(|leaf| InterfaceId(leaf as u16));
    let within = connected.range(net.trunc()..=IpNet::from(net.broadcast()));
    let within = within.filter_map(|(_, what)| match what {
        Connected::Network(id) => Some(*id),
        Connected::Own(_) | Connected::Broadcast => None,
    });
    let other = covering.into_iter().chain(within).find(|id| *id != interface.id).and_then(of)?;
    let other_address = *other.addresses.iter().find(|other| overlap(**other, net))?;
    Some(Mistake::Overlap { address: net, other: other.name.clone(), other_address })
}

/// Takes an address in.
fn connect(
    instance: &mut Instance,
    connected: &mut BTreeMap<IpNet, Connected>,
    interface: InterfaceId,
    net: IpNet,
) {
    let address = net.addr();
    instance.own.insert(family_of(address), number_of(address), interface);
    instance.connected_fib.insert(net.trunc(), u32::from(interface.0));
    connected.entry(net.trunc()).or_insert(Connected::Network(interface));
    if let IpNet::V4(v4) = net
        && v4.prefix_len() < 31
    {
        let broadcast = IpNet::from(IpAddr::V4(v4.broadcast()));
        connected.entry(broadcast).or_insert(Connected::Broadcast);
    }
    connected.insert(IpNet::from(address), Connected::Own(interface));
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

pub(super) fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::Inet } else { Family::Inet6 }
}

//! From the document to the desired state: ports, interfaces, instances, neighbours.

use super::document::{
    DataplaneDocument, Document, FiltersDocument, InstanceDocument, NeighbourDocument,
    PipelineDocument, PolicyRouteDocument, PortDocument, RouteDocument, VlanDocument,
};
use super::kinds::{TableName, Vlan};
use super::node::{At, Entries, Kind, Many, Place, Text};
use super::reader::{Reader, Site, key_of};
use super::sets::Sets;
use super::{
    Configuration, Dataplane, Limits, filters, flows, hooks, kernel, policy_routes, routes,
};
use crate::device::Device;
use crate::event::Event;
use crate::model::{
    DEFAULT_INSTANCE, Instance, Interface, MAIN_TABLE, Name, NeighbourKey, Port, State,
};
use crate::policy::{Mistake, Policy, Thing};

const DEFAULT_MTU: u16 = 1500;
const DEFAULT_MEMORY: u32 = 256;

/// Converts a document; every mistake goes to `reader`.
pub(super) fn configuration(document: &Document, reader: &mut Reader) -> Configuration {
    let dataplane = dataplane(document.dataplane.as_ref(), reader);
    let mut state = State::default();
    for (name, port) in document.ports.iter().flat_map(|ports| &ports.0) {
        convert_port(name, port, &dataplane, &mut state, reader);
    }
    let mut sets = Sets::read(document.sets.as_ref(), reader);
    let none = Entries::default();
    let default: Name = DEFAULT_INSTANCE.into();
    let top = Place { line: 1, column: 1 };
    let parts = Parts {
        pipeline: &document.pipeline,
        tables: &document.tables,
        routes: &document.routes,
        policy_routes: &document.policy_routes,
        filters: &document.filters,
    };
    convert_instance("", &default, top, &parts, &mut sets, &mut state, reader);
    for (name, instance) in &document.instances.as_ref().unwrap_or(&none).0 {
        let path = format!("instances.{}", name.value);
        if name.value == DEFAULT_INSTANCE {
            let message = "the keys of the instance `default` stand at the top of the file";
            reader.add(name.place, path, message);
            continue;
        }
        let InstanceDocument { pipeline, tables, routes, policy_routes, filters } = instance;
        let parts = Parts { pipeline, tables, routes, policy_routes, filters };
        let shared = name.value.as_str().into();
        convert_instance(&path, &shared, name.place, &parts, &mut sets, &mut state, reader);
    }
    sets.finish(reader);
    for (i, neighbour) in document.neighbours.iter().flatten().enumerate() {
        convert_neighbour(i, neighbour, &mut state, reader);
    }
    for (name, hook) in document.hooks.iter().flat_map(|hooks| &hooks.0) {
        hooks::convert(name, hook, &mut state, reader);
    }

    if let Some(document) = &document.flows {
        flows::convert(document, &mut state, reader);
    }

    let delta = State::default().difference(&state);
    let policy = match Policy::empty().apply(&delta) {
        Ok(policy) => {
            check_limits(document, &dataplane, &policy, reader);
            Some(policy)
        }
        Err(errors) => {
            reader.add_policy_errors(errors);
            None
        }
    };
    let followed = document.kernel_routes.as_deref().unwrap_or_default();
    let kernel_routes = kernel::convert(followed, policy.as_ref(), reader);
    Configuration { dataplane, state, kernel_routes }
}

fn dataplane(document: Option<&DataplaneDocument>, reader: &mut Reader) -> Dataplane {
    let default = Dataplane { cores: vec![0], memory: DEFAULT_MEMORY, limits: Limits::default() };
    let Some(document) = document else { return default };
    let path = "dataplane";
    let cores = reader.many(path, "cores", &document.cores);
    if let Some(list) = &document.cores {
        if list.items.is_empty() {
            reader.add(list.place, "dataplane.cores", "no core: the dataplane needs at least one");
        }
        for (i, core) in cores.iter().enumerate().filter(|(i, core)| cores[..*i].contains(core)) {
            let place = list.items.get(i).map_or(list.place, |item| item.place);
            let message = format!("core {core} stands twice: each worker needs its own");
            reader.add(place, format!("dataplane.cores[{i}]"), message);
        }
    }
    let mut limits = Limits::default();
    if let Some(given) = &document.limits {
        let path = "dataplane.limits";
        let ports = reader.one(path, "ports", &given.ports).and_then(|n| u16::try_from(n).ok());
        limits.ports = ports.unwrap_or(limits.ports);
        limits.rules = reader.one(path, "rules", &given.rules).unwrap_or(limits.rules);
        let neighbours = reader.one(path, "neighbours", &given.neighbours);
        limits.neighbours = neighbours.unwrap_or(limits.neighbours);
        limits.flows = reader.one(path, "flows", &given.flows).unwrap_or(limits.flows);
    }
    Dataplane {
        cores: if cores.is_empty() { default.cores } else { cores },
        memory: reader.one(path, "memory", &document.memory).unwrap_or(default.memory),
        limits,
    }
}

fn check_limits(document: &Document, dataplane: &Dataplane, policy: &Policy, reader: &mut Reader) {
    let given = document.dataplane.as_ref().and_then(|dataplane| dataplane.limits.as_ref());
    let ports = policy.ports().count();
    if ports > usize::from(dataplane.limits.ports) {
        let first = document.ports.as_ref().and_then(|ports| ports.0.first());
        let place = first.map(|(name, _)| name.place).unwrap_or_default();
        let place = given.and_then(|limits| limits.ports.as_ref()).map_or(place, |at| at.place);
        let message =
            format!("{ports} ports are more than the limit, {}: raise it", dataplane.limits.ports);
        reader.add(place, "dataplane.limits.ports", message);
    }
    let slots = policy.rule_slots();
    if slots > dataplane.limits.rules {
        let at = given.and_then(|limits| limits.rules.as_ref()).map(|at| at.place);
        let message = format!(
            "{} rules and default actions are more than the limit, {}: raise it",
            slots - 1,
            dataplane.limits.rules - 1
        );
        let place = at.unwrap_or(Place { line: 1, column: 1 });
        reader.add(place, "dataplane.limits.rules", message);
    }
}

fn convert_port(
    name: &At<String>,
    document: &PortDocument,
    dataplane: &Dataplane,
    state: &mut State,
    reader: &mut Reader,
) {
    let path = format!("ports.{}", name.value);
    let shared: Name = name.value.as_str().into();
    let site = Site::new(path.clone(), name.place)
        .one("device", &document.device)
        .one("mac", &document.mac)
        .one("mtu", &document.mtu)
        .one("queues", &document.queues);
    reader.site(Thing::Port(shared.clone()), site);

    let device = reader.required(&path, "device", &document.device, name.place);
    let mtu = reader.one(&path, "mtu", &document.mtu).unwrap_or(DEFAULT_MTU);
    let checksum = reader.one(&path, "checksum", &document.checksum);
    let workers = reader.many(&path, "workers", &document.workers);
    if let Some(list) = &document.workers {
        let count = dataplane.cores.len();
        for (worker, item) in workers.iter().zip(&list.items) {
            if usize::from(*worker) >= count {
                let message = format!(
                    "there is no worker {worker}: `dataplane.cores` has {count}, counted from 0"
                );
                reader.add(item.place, key_of(&path, "workers"), message);
            }
        }
    }
    let queues = reader.one(&path, "queues", &document.queues).unwrap_or(1);
    let spread = reader.one(&path, "spread", &document.spread).unwrap_or(true);
    let mac = reader.one(&path, "mac", &document.mac);
    let steal = reader.one(&path, "steal", &document.steal).unwrap_or(false);

    // VLANs alone make a trunk: its untagged frames belong to nobody.
    let vlans = document.vlans.as_ref().map_or(&[][..], |vlans| &vlans.0);
    let untagged = document.addresses.is_some() || document.instance.is_some() || vlans.is_empty();
    if untagged {
        let site = Site::new(path.clone(), name.place)
            .one("mtu", &document.mtu)
            .one("instance", &document.instance)
            .many("addresses", &document.addresses);
        reader.site(Thing::Interface(shared.clone()), site);
        let given = document.addresses.as_ref().map_or(0, |list| list.items.len());
        let addresses = reader.many(&path, "addresses", &document.addresses);
        reader.lost |= addresses.len() < given;
        let instance = reader.one(&path, "instance", &document.instance);
        let interface = Interface {
            port: shared.clone(),
            vlan: None,
            instance: instance.unwrap_or_else(|| DEFAULT_INSTANCE.into()),
            mtu,
            addresses,
            position: reader.position(name.place),
        };
        state.interfaces.insert(shared.clone(), interface);
    }
    for (vlan, document) in vlans {
        convert_vlan(&path, &shared, mtu, vlan, document, state, reader);
    }

    let Some(device) = device else {
        reader.lost = true;
        return;
    };
    let checksum = checksum.unwrap_or_else(|| Device::parse(&device).default_checksum());
    let position = reader.position(name.place);
    let port = Port { device, mac, mtu, queues, workers, spread, checksum, steal, position };
    state.ports.insert(shared, port);
}

fn convert_vlan(
    port_path: &str,
    port: &Name,
    port_mtu: u16,
    vlan: &At<String>,
    document: &VlanDocument,
    state: &mut State,
    reader: &mut Reader,
) {
    let path = format!("{port_path}.vlans.{}", vlan.value);
    let number = match Vlan::parse(&vlan.value) {
        Ok(number) => number,
        Err(message) => {
            reader.lost = true;
            return reader.add(vlan.place, path, message);
        }
    };
    let name: Name = format!("{port}.{number}").into();
    let site = Site::new(path.clone(), vlan.place)
        .one("mtu", &document.mtu)
        .one("instance", &document.instance)
        .many("addresses", &document.addresses);
    reader.site(Thing::Interface(name.clone()), site);
    let given = document.addresses.as_ref().map_or(0, |list| list.items.len());
    let addresses = reader.many(&path, "addresses", &document.addresses);
    reader.lost |= addresses.len() < given;
    let instance = reader.one(&path, "instance", &document.instance);
    let interface = Interface {
        port: port.clone(),
        vlan: Some(number),
        instance: instance.unwrap_or_else(|| DEFAULT_INSTANCE.into()),
        mtu: reader.one(&path, "mtu", &document.mtu).unwrap_or(port_mtu),
        addresses,
        position: reader.position(vlan.place),
    };
    if state.interfaces.insert(name, interface).is_some() {
        reader.add(vlan.place, path, format!("VLAN {number} stands twice on port `{port}`"));
    }
}

/// What the file says about an instance; for `default` it stands at the top.
struct Parts<'a> {
    pipeline: &'a Option<At<PipelineDocument>>,
    tables: &'a Option<Many<Text<TableName>>>,
    routes: &'a Option<Vec<At<RouteDocument>>>,
    policy_routes: &'a Option<Vec<At<PolicyRouteDocument>>>,
    filters: &'a Option<FiltersDocument>,
}

fn convert_instance(
    path: &str,
    name: &Name,
    place: Place,
    parts: &Parts<'_>,
    sets: &mut Sets,
    state: &mut State,
    reader: &mut Reader,
) {
    let mut instance = Instance::default();
    let tables = reader.many(path, "tables", parts.tables);
    for (i, table) in tables.iter().enumerate() {
        let message = match &**table {
            MAIN_TABLE => Mistake::MainTable.to_string(),
            _ if tables[..i].contains(table) => format!("table `{table}` stands twice"),
            _ => continue,
        };
        let item = parts.tables.as_ref().and_then(|list| list.items.get(i));
        reader.add(item.map_or(place, |item| item.place), key_of(path, "tables"), message);
    }
    reader.lost |= tables.len() < parts.tables.as_ref().map_or(0, |list| list.items.len());
    instance.tables = tables.into_iter().filter(|table| &**table != MAIN_TABLE).collect();
    let mut site = Site::new(path.to_owned(), place);
    if let Some(document) = parts.pipeline {
        let path = key_of(path, "pipeline");
        site = Site::new(path.clone(), document.place);
        let PipelineDocument { physical_in, route_decision, forwarding, physical_out } =
            &document.value;
        let events = [
            (Event::PhysicalIn, physical_in),
            (Event::RouteDecision, route_decision),
            (Event::Forwarding, forwarding),
            (Event::PhysicalOut, physical_out),
        ];
        for (event, given) in events {
            let field = crate::policy::pipeline_field(event);
            if let Some(list) = given {
                let stages = reader.many(&path, field, given);
                reader.lost |= stages.len() < list.items.len();
                instance.pipeline.insert(event, stages);
            }
            site = site.many(field, given);
        }
    }
    reader.site(Thing::Instance(name.clone()), site);
    state.instances.insert(name.clone(), instance);
    for (i, route) in parts.routes.iter().flatten().enumerate() {
        routes::convert(key_of(path, &format!("routes[{i}]")), name, route, state, reader);
    }
    if let Some(documents) = parts.policy_routes {
        let path = key_of(path, "policy-routes");
        policy_routes::convert(&path, name, documents, sets, state, reader);
    }
    if let Some(document) = parts.filters {
        filters::convert(&key_of(path, "filters"), name, document, sets, state, reader);
    }
}

fn convert_neighbour(
    i: usize,
    document: &At<NeighbourDocument>,
    state: &mut State,
    reader: &mut Reader,
) {
    let path = format!("neighbours[{i}]");
    let At { value: neighbour, place } = document;
    let interface = reader.required(&path, "interface", &neighbour.interface, *place);
    let address = reader.required(&path, "address", &neighbour.address, *place);
    let mac = reader.required(&path, "mac", &neighbour.mac, *place);
    let (Some(interface), Some(address), Some(mac)) = (interface, address, mac) else { return };
    let key = NeighbourKey { interface, address };
    let site = Site::new(path.clone(), *place)
        .one("interface", &neighbour.interface)
        .one("address", &neighbour.address)
        .one("mac", &neighbour.mac);
    reader.site(Thing::Neighbour(key.clone()), site);
    if state.neighbours.insert(key, mac).is_some() {
        reader.add(*place, path, format!("{address} stands twice on this interface"));
    }
}

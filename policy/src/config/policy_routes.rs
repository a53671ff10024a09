//! From the document to the desired state: policy routes.

use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::document::PolicyRouteDocument;
use super::filters::Names;
use super::node::At;
use super::reader::{Reader, Site, key_of};
use super::routes::next_hops;
use super::sets::{Of, Sets};
use crate::model::{Name, PolicyAction, PolicyRoute, RuleSets, Set, State};
use crate::policy::Thing;

/// Converts the policy routes of an instance.
pub(super) fn convert(
    path: &str,
    instance: &Name,
    documents: &[At<PolicyRouteDocument>],
    sets: &mut Sets,
    state: &mut State,
    reader: &mut Reader,
) {
    let mut routes = Vec::with_capacity(documents.len());
    let mut sites = Vec::with_capacity(documents.len());
    let mut contents = Vec::with_capacity(documents.len());
    for (i, document) in documents.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let before = reader.mistakes();
        // What leads nowhere that can be read has been complained about.
        let Some((route, said)) = convert_one(&path, document, sets, reader) else { continue };
        sites.push(site(path, document, reader.mistakes() > before));
        routes.push(route);
        contents.push(said);
    }
    name_the_unnamed(&mut routes, contents);
    for (place, (route, site)) in routes.iter().zip(sites).enumerate() {
        reader.site(Thing::PolicyRoute(instance.clone(), place, route.name.clone()), site);
    }
    if !routes.is_empty() {
        state.policy_routes.insert(instance.clone(), routes);
    }
}

fn site(path: String, document: &At<PolicyRouteDocument>, garbled: bool) -> Site {
    let At { value, place } = document;
    Site::new(path, *place)
        .garbled(garbled)
        .one("name", &value.name)
        .many("in", &value.input)
        .mixed("source", &value.source)
        .mixed("destination", &value.destination)
        .many("protocol", &value.protocol)
        .mixed("source-port", &value.source_port)
        .mixed("destination-port", &value.destination_port)
        .many("dscp", &value.dscp)
        .one("table", &value.table)
        .many("via", &value.via)
        .one("interface", &value.interface)
}

/// What a policy route says of networks and ports, and the sets that it names.
struct Said {
    source: Vec<IpNet>,
    destination: Vec<IpNet>,
    source_port: Vec<RangeInclusive<u16>>,
    destination_port: Vec<RangeInclusive<u16>>,
    sets: RuleSets,
}

impl Said {
    fn read(path: &str, route: &PolicyRouteDocument, sets: &mut Sets, reader: &mut Reader) -> Said {
        let mut named = RuleSets::default();
        let (source, destination, source_port, destination_port);
        (source, named.source) = sets.part(Of::Prefixes, path, "source", &route.source, reader);
        (destination, named.destination) =
            sets.part(Of::Prefixes, path, "destination", &route.destination, reader);
        (source_port, named.source_port) =
            sets.part(Of::Ports, path, "source-port", &route.source_port, reader);
        (destination_port, named.destination_port) =
            sets.part(Of::Ports, path, "destination-port", &route.destination_port, reader);
        Said { source, destination, source_port, destination_port, sets: named }
    }

    /// The networks that stand there and those of the sets.
    fn networks(own: &[IpNet], names: &[Name], sets: &Sets) -> Vec<IpNet> {
        let of_sets = names.iter().filter_map(|name| match sets.get(name)? {
            Set::Prefixes(prefixes) => Some(&prefixes[..]),
            Set::Ports(_) => None,
        });
        own.iter().chain(of_sets.flatten()).copied().collect()
    }

    /// The ports that stand there and those of the sets.
    fn ports(own: &[RangeInclusive<u16>], names: &[Name], sets: &Sets) -> Vec<RangeInclusive<u16>> {
        let of_sets = names.iter().filter_map(|name| match sets.get(name)? {
            Set::Ports(ports) => Some(&ports[..]),
            Set::Prefixes(_) => None,
        });
        own.iter().chain(of_sets.flatten()).cloned().collect()
    }
}

fn convert_one(
    path: &str,
    document: &At<PolicyRouteDocument>,
    sets: &mut Sets,
    reader: &mut Reader,
) -> Option<(PolicyRoute, Said)> {
    let At { value: route, place } = document;
    let name = reader.one(path, "name", &route.name);
    if let Some(given) = route.name.as_ref().filter(|given| given.value.text.is_empty()) {
        reader.add(given.place, key_of(path, "name"), "is empty: leave it out to have one made");
    }
    let table = reader.one(path, "table", &route.table);
    let drop = reader.one(path, "drop", &route.drop).unwrap_or(false);
    let reject = reader.one(path, "reject", &route.reject).unwrap_or(false);
    let hops = route.via.is_some() || route.interface.is_some();
    let ways = [route.table.is_some(), hops, drop, reject];
    if ways.iter().filter(|way| **way).count() > 1 {
        let message = "leads two ways: give one of `table`, `via` or `interface`, `drop: true`, `reject: true`";
        reader.add(*place, path, message);
    }
    if let Some(given) = route.unreachable.as_ref().filter(|_| (drop || reject) && !hops) {
        let message = "`drop` and `reject` need no way out: leave `unreachable` out";
        reader.add(given.place, key_of(path, "unreachable"), message);
    }
    let next_hops = next_hops(path, &route.via, &route.interface, reader);
    let action = match (table, drop, reject) {
        (Some(table), ..) => Some(PolicyAction::Table(table)),
        (_, true, _) => Some(PolicyAction::Drop),
        (_, _, true) => Some(PolicyAction::Reject),
        _ => next_hops.map(PolicyAction::NextHops),
    };
    let said = Said::read(path, route, sets, reader);
    let policy_route = PolicyRoute {
        name: name.unwrap_or_else(|| "".into()),
        input: reader.any_of(path, "in", &route.input),
        source: Said::networks(&said.source, &said.sets.source, sets),
        destination: Said::networks(&said.destination, &said.sets.destination, sets),
        protocol: reader.any_of(path, "protocol", &route.protocol),
        source_port: Said::ports(&said.source_port, &said.sets.source_port, sets),
        destination_port: Said::ports(&said.destination_port, &said.sets.destination_port, sets),
        dscp: reader.any_of(path, "dscp", &route.dscp),
        fragment: reader.one(path, "fragment", &route.fragment),
        action: PolicyAction::Drop,
        unreachable: reader.one(path, "unreachable", &route.unreachable).unwrap_or_default(),
        position: reader.position(*place),
    };
    Some((PolicyRoute { action: action?, ..policy_route }, said))
}

/// Makes names for those that have none out of what they say, so that they keep their counters
/// when others come and go, and when a set that they name changes; equal ones are told apart by an
/// ordinal.
fn name_the_unnamed(routes: &mut [PolicyRoute], said: Vec<Said>) {
    let mut taken = Names::new(routes.iter().map(|route| &route.name));
    for (route, said) in routes.iter_mut().zip(said).filter(|(route, _)| route.name.is_empty()) {
        let Said { source, destination, source_port, destination_port, sets } = said;
        let PolicyRoute { input, protocol, .. } = &*route;
        let rest = (destination_port, &route.dscp, route.fragment);
        let ways = (&route.action, route.unreachable);
        let content = (input, source, destination, protocol, source_port, rest, ways);
        route.name = match sets.is_empty() {
            true => taken.make("policy", &content),
            false => taken.make("policy", &(content, sets)),
        };
    }
}

#[cfg(test)]
mod tests;

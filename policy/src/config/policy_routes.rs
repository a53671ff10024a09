//! From the document to the desired state: policy routes.

use super::document::PolicyRouteDocument;
use super::filters::Names;
use super::node::At;
use super::reader::{Reader, Site, key_of};
use super::routes::next_hops;
use crate::model::{Name, PolicyAction, PolicyRoute, State};
use crate::policy::Thing;

/// Converts the policy routes of an instance.
pub(super) fn convert(
    path: &str,
    instance: &Name,
    documents: &[At<PolicyRouteDocument>],
    state: &mut State,
    reader: &mut Reader,
) {
    let mut routes = Vec::with_capacity(documents.len());
    let mut sites = Vec::with_capacity(documents.len());
    for (i, document) in documents.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let before = reader.mistakes();
        // What leads nowhere that can be read has been complained about.
        let Some(route) = convert_one(&path, document, reader) else { continue };
        sites.push(site(path, document, reader.mistakes() > before));
        routes.push(route);
    }
    name_the_unnamed(&mut routes);
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
        .many("source", &value.source)
        .many("destination", &value.destination)
        .many("protocol", &value.protocol)
        .many("source-port", &value.source_port)
        .many("destination-port", &value.destination_port)
        .many("dscp", &value.dscp)
        .one("table", &value.table)
        .many("via", &value.via)
        .one("interface", &value.interface)
}

fn convert_one(
    path: &str,
    document: &At<PolicyRouteDocument>,
    reader: &mut Reader,
) -> Option<PolicyRoute> {
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
    let policy_route = PolicyRoute {
        name: name.unwrap_or_else(|| "".into()),
        input: reader.any_of(path, "in", &route.input),
        source: reader.any_of(path, "source", &route.source),
        destination: reader.any_of(path, "destination", &route.destination),
        protocol: reader.any_of(path, "protocol", &route.protocol),
        source_port: reader.any_of(path, "source-port", &route.source_port),
        destination_port: reader.any_of(path, "destination-port", &route.destination_port),
        dscp: reader.any_of(path, "dscp", &route.dscp),
        fragment: reader.one(path, "fragment", &route.fragment),
        action: PolicyAction::Drop,
        unreachable: reader.one(path, "unreachable", &route.unreachable).unwrap_or_default(),
        position: reader.position(*place),
    };
    Some(PolicyRoute { action: action?, ..policy_route })
}

/// Makes names for those that have none out of what they say, so that they keep their counters
/// when others come and go; equal ones are told apart by an ordinal.
fn name_the_unnamed(routes: &mut [PolicyRoute]) {
    let mut taken = Names::new(routes.iter().map(|route| &route.name));
    for route in routes.iter_mut().filter(|route| route.name.is_empty()) {
        let PolicyRoute { input, source, destination, protocol, source_port, .. } = &*route;
        let rest = (&route.destination_port, &route.dscp, route.fragment);
        let ways = (&route.action, route.unreachable);
        let content = (input, source, destination, protocol, source_port, rest, ways);
        let name = taken.make("policy", &content);
        route.name = name;
    }
}

#[cfg(test)]
mod tests;

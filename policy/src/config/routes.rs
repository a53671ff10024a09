//! From the document to the desired state: routes.

use std::sync::Arc;

use super::document::{HopDocument, RouteDocument};
use super::kinds::{Interface, IpAddress};
use super::node::{At, Kind, Many, One};
use super::reader::{Reader, Site, key_of};
use crate::model::{MAIN_TABLE, Name, NextHop, Owner, Route, RouteKey, State, Target};
use crate::policy::Thing;

/// Converts a route of an instance.
pub(super) fn convert(
    path: String,
    instance: &Name,
    document: &At<RouteDocument>,
    state: &mut State,
    reader: &mut Reader,
) {
    let At { value: route, place } = document;
    let prefix = reader.required(&path, "to", &route.to, *place);
    let blackhole = reader.one(&path, "blackhole", &route.blackhole).unwrap_or(false);
    let reject = reader.one(&path, "reject", &route.reject).unwrap_or(false);
    let prohibit = reader.one(&path, "prohibit", &route.prohibit).unwrap_or(false);
    let next_hops = next_hops(&path, &route.via, &route.interface, reader);
    let mut unreadable = next_hops.is_none();
    let lookup = route.lookup.as_ref().map(|lookup| {
        let path = key_of(&path, "lookup");
        let to = reader.one(&path, "instance", &lookup.value.instance);
        let table = reader.one(&path, "table", &lookup.value.table);
        unreadable |= table.is_none() && lookup.value.table.is_some();
        let instance = to.unwrap_or_else(|| instance.clone());
        Target::Table { instance, table: table.unwrap_or_else(|| MAIN_TABLE.into()) }
    });
    let hopping = route.via.is_some() || route.interface.is_some();
    let ways = [hopping, blackhole, reject, prohibit, lookup.is_some()];
    if ways.iter().filter(|way| **way).count() > 1 {
        let message = "leads two ways: give one of `via` or `interface`, `blackhole: true`, \
                       `reject: true`, `prohibit: true`, `lookup`";
        reader.add(*place, path.clone(), message);
    }
    let target = match (blackhole, reject, prohibit, lookup) {
        (true, ..) => Target::Blackhole,
        (_, true, ..) => Target::Reject,
        (_, _, true, _) => Target::Prohibit,
        (.., Some(table)) => table,
        _ => Target::NextHops(next_hops.unwrap_or_default().into()),
    };
    let table = reader.one(&path, "table", &route.table);
    unreadable |= table.is_none() && route.table.is_some();
    let preference = reader.one(&path, "preference", &route.preference);
    let metric = reader.one(&path, "metric", &route.metric);
    let tag = reader.one(&path, "tag", &route.tag);
    let Some(prefix) = prefix else { return };
    if unreadable {
        return;
    }
    let (instance, table) = (instance.clone(), table.unwrap_or_else(|| MAIN_TABLE.into()));
    let key = RouteKey { instance, table, prefix, owner: Owner::Static };
    if let Some(other) = state.routes.get(&key) {
        let message =
            format!("there is a route for {prefix} already, in line {}", other.position.line);
        return reader.add(*place, path, message);
    }
    let site = Site::new(path, *place)
        .one("to", &route.to)
        .one("table", &route.table)
        .one("interface", &route.interface)
        .one("lookup", &route.lookup)
        .many("via", &route.via);
    reader.site(Thing::Route(key.clone()), site);
    let mut route = Route::new(target, &key.owner, reader.position(*place));
    route.preference = preference.unwrap_or(route.preference);
    route.metric = metric.unwrap_or_default();
    route.tag = tag.unwrap_or_default();
    state.routes.insert(key, route);
}

/// The next hops of a route; `None` if one of them could not be read.
pub(super) fn next_hops(
    path: &str,
    via: &Option<Many<HopDocument>>,
    interface: &Option<One<Interface>>,
    reader: &mut Reader,
) -> Option<Vec<NextHop>> {
    let name = reader.one(path, "interface", interface);
    let Some(list) = via else {
        let hop = |name| NextHop { via: None, interface: Some(name), weight: 1 };
        let unreadable = interface.is_some() && name.is_none();
        return (!unreadable).then(|| name.map(hop).into_iter().collect());
    };
    let several = list.items.len() > 1;
    let mut hops = Vec::with_capacity(list.items.len());
    for (i, hop) in list.items.iter().enumerate() {
        let key = if several { format!("{path}.via[{i}]") } else { format!("{path}.via") };
        hops.extend(convert_hop(&key, hop, name.as_ref(), reader));
    }
    (hops.len() == list.items.len()).then_some(hops)
}

/// Converts one next hop; `common` is the interface of all that name none.
fn convert_hop(
    key: &str,
    hop: &At<HopDocument>,
    common: Option<&Name>,
    reader: &mut Reader,
) -> Option<NextHop> {
    match &hop.value {
        HopDocument::Address(text) => {
            let via =
                IpAddress::parse(&text.text).map_err(|message| reader.add(hop.place, key, message));
            Some(NextHop { via: Some(via.ok()?), interface: common.map(Arc::clone), weight: 1 })
        }
        HopDocument::Full(fields) => {
            let via = reader.required(key, "address", &fields.address, hop.place);
            let interface = reader.one(key, "interface", &fields.interface);
            let weight = reader.one(key, "weight", &fields.weight);
            let weight = if fields.weight.is_none() { Some(1) } else { weight };
            let interface = interface.or_else(|| common.map(Arc::clone));
            Some(NextHop { via: Some(via?), interface, weight: weight? })
        }
    }
}

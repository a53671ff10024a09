//! The things of the appliance, as the live generation and the dataplane have them.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_channel::RuleStatus;
use sluice_control_api::{
    Config, ConfigFilter, ConfigNeighbour, Interface, Neighbour, PolicyRoute, Port, Route, Rule,
};
use sluice_policy::model::{Entries, FilterPoint, Name};
use sluice_policy::{Policy, RuleInfo};

use super::Answer;
use super::explain;
use super::extract::Params;
use crate::app::App;
use crate::error::ControlError;
use crate::head::Head;
use crate::text;
pub(super) use crate::text::state_name;
use crate::view;

/// Which part of a table is wanted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OfInstance {
    instance: Option<Name>,
}

impl OfInstance {
    /// Whether a thing of `instance` is wanted.
    fn wants(&self, instance: &Name) -> bool {
        self.instance.as_ref().is_none_or(|wanted| wanted == instance)
    }

    /// An error if the instance does not exist.
    fn check(&self, policy: &Policy) -> Result<(), ControlError> {
        known_instance(self.instance.as_ref(), policy)
    }
}

/// An error if the instance is named and does not exist.
pub(super) fn known_instance(instance: Option<&Name>, policy: &Policy) -> Result<(), ControlError> {
    match instance {
        Some(name) if policy.instance_named(name).is_none() => {
            let known: Vec<&str> = policy.instances().map(|known| &*known.name).collect();
            Err(ControlError::Request(format!(
                "there is no instance `{name}`; there are: {}",
                known.join(", ")
            )))
        }
        _ => Ok(()),
    }
}

pub(super) async fn ports(State(app): State<App>) -> Answer<Vec<Port>> {
    let ports = app.ports().await?.into_iter().map(|port| Port {
        name: port.name,
        device: port.device,
        driver: port.driver,
        mac: port.mac,
        link: port.link,
        speed_mbps: port.speed_mbps,
        mtu: port.mtu,
        rx_queues: port.rx_queues,
        tx_queues: port.tx_queues,
        workers: port.workers,
        error: port.error,
    });
    Ok(Json(ports.collect()))
}

pub(super) async fn interfaces(State(app): State<App>) -> Answer<Vec<Interface>> {
    let view = app.view();
    let (policy, _) = view.live()?;
    let interfaces = policy.state().interfaces.iter().map(|(name, interface)| Interface {
        name: name.clone(),
        port: interface.port.clone(),
        vlan: interface.vlan,
        instance: interface.instance.clone(),
        mtu: interface.mtu,
        checksum: policy.interface_named(name).map(|compiled| compiled.checksum),
        addresses: interface.addresses.clone(),
    });
    Ok(Json(interfaces.collect()))
}

pub(super) async fn routes(
    State(app): State<App>,
    Params(of): Params<OfInstance>,
) -> Answer<Vec<Route>> {
    let links = explain::links(&app).await?;
    let view = app.view();
    let (policy, _) = view.live()?;
    of.check(policy)?;
    let policy = &links.followed(policy);
    let mut routes: Vec<Route> =
        all_routes(&view.head, policy).filter(|route| of.wants(&route.instance)).collect();
    routes.sort_by(|a, b| {
        let key = |route: &Route| {
            (
                route.instance.clone(),
                route.table.clone(),
                route.prefix,
                route.preference,
                route.metric,
                route.owner.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    Ok(Json(routes))
}

fn all_routes<'a>(head: &'a Head, policy: &'a Policy) -> impl Iterator<Item = Route> + 'a {
    policy.routes().map(|route| view::route(head, route))
}

pub(super) async fn neighbours(State(app): State<App>) -> Answer<Vec<Neighbour>> {
    let neighbours = app.neighbours().await?.into_iter().map(|neighbour| Neighbour {
        interface: neighbour.interface,
        address: neighbour.address,
        mac: neighbour.mac,
        state: state_name(neighbour.state).into(),
        age_seconds: neighbour.age_seconds,
    });
    Ok(Json(neighbours.collect()))
}

pub(super) async fn rules(
    State(app): State<App>,
    Params(of): Params<OfInstance>,
) -> Answer<Vec<Rule>> {
    let counters = app.rules().await?;
    let view = app.view();
    let (policy, _) = view.live()?;
    of.check(policy)?;
    let mut rules = counted_rules(policy, &counters);
    rules.retain(|rule| of.wants(&rule.instance));
    Ok(Json(rules))
}

/// Every rule of the policy in order, each filter's default action after its rules, with the
/// counters that the dataplane has for it.
///
/// Rules are matched by name, not by slot: slots follow from the history of commits, which a
/// control process that was restarted does not have.
pub(super) fn counted_rules(policy: &Policy, counters: &[RuleStatus]) -> Vec<Rule> {
    let by_name = by_name(counters);
    let mut rules: Vec<Rule> = Vec::new();
    for info in policy.rules() {
        let RuleInfo { instance, point, name, action, slot: _, rule, position } = info;
        let (packets, bytes) =
            by_name.get(&(&**instance, Some(point), name)).copied().unwrap_or_default();
        let last = rules.last().filter(|last| (&last.instance, last.point) == (instance, point));
        let implied = info.implied();
        let place = match implied {
            Some(_) => 0,
            None => last.map_or(0, |last| last.place) + 1,
        };
        rules.push(Rule {
            instance: instance.clone(),
            point,
            place,
            name: name.into(),
            matches: implied
                .map(|states| format!("state {states}"))
                .or_else(|| rule.map(text::matches))
                .unwrap_or_else(|| "everything else".into()),
            action,
            log: rule.is_some_and(|rule| rule.log),
            packets,
            bytes,
            position: position.cloned(),
        });
    }
    rules
}

/// Packets and bytes by instance, filter and name; policy routes have no filter.
fn by_name(counters: &[RuleStatus]) -> HashMap<(&str, Option<FilterPoint>, &str), (u64, u64)> {
    counters
        .iter()
        .map(|rule| ((&*rule.instance, rule.point, &*rule.name), (rule.packets, rule.bytes)))
        .collect()
}

pub(super) async fn policy_routes(
    State(app): State<App>,
    Params(of): Params<OfInstance>,
) -> Answer<Vec<PolicyRoute>> {
    let counters = app.rules().await?;
    let links = explain::links(&app).await?;
    let view = app.view();
    let (policy, _) = view.live()?;
    of.check(policy)?;
    let by_name = by_name(&counters);
    let mut place = HashMap::new();
    let policy = links.followed(policy);
    let routes = policy.policy_routes().filter(|info| of.wants(info.instance)).map(|info| {
        let place = place.entry(info.instance).or_insert(0);
        *place += 1;
        let counted = by_name.get(&(&**info.instance, None, &*info.route.name));
        let (packets, bytes) = counted.copied().unwrap_or_default();
        PolicyRoute {
            instance: info.instance.clone(),
            place: *place,
            name: info.route.name.clone(),
            matches: text::policy_route_matches(info.route),
            action: info.route.action.clone(),
            unreachable: info.route.unreachable,
            reachable: info.reachable,
            packets,
            bytes,
            position: Some(info.route.position.clone()),
        }
    });
    Ok(Json(routes.collect()))
}

pub(super) async fn config(State(app): State<App>) -> Answer<Config> {
    let view = app.view();
    let (policy, generation) = view.live()?;
    let state = policy.state();
    Ok(Json(Config {
        generation,
        ports: told(&state.ports),
        interfaces: told(&state.interfaces),
        instances: told(&state.instances),
        routes: all_routes(&view.head, policy)
            .filter(|route| route.owner != sluice_policy::model::Owner::Connected)
            .collect(),
        filters: state
            .filters
            .iter()
            .map(|(key, filter)| ConfigFilter {
                instance: key.instance.clone(),
                point: key.point,
                filter: filter.clone(),
            })
            .collect(),
        neighbours: state
            .neighbours
            .iter()
            .map(|(key, mac)| ConfigNeighbour {
                interface: key.interface.clone(),
                address: key.address,
                mac: *mac,
            })
            .collect(),
        policy_routes: told(&state.policy_routes),
        hooks: told(&state.hooks),
        timeouts: told(&state.timeouts),
    }))
}

/// A table of the state as it is told.
fn told<K: Ord + Clone, V: Clone>(entries: &Entries<K, V>) -> BTreeMap<K, V> {
    entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

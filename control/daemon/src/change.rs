//! Changes that can be asked for, worked out against what is desired.

use std::sync::Arc;

use sluice_control_api::{AddRoute, DeleteRoute};
use sluice_policy::config::Configuration;
use sluice_policy::model::{
    DEFAULT_INSTANCE, Delta, Name, NextHop, Operation, Owner, Position, Route, RouteKey, Target,
};

use crate::desired::Desired;
use crate::error::ControlError;

/// The file of positions of live changes.
const LIVE: &str = "cli";

/// A change that can be asked for.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// To be as a configuration file says, and to keep the live changes.
    File {
        /// The file's name.
        name: Name,
        /// Its content.
        configuration: Box<Configuration>,
    },
    /// To add a live route.
    AddRoute(AddRoute),
    /// To remove a live route.
    DeleteRoute(DeleteRoute),
}

/// What a change comes to.
#[derive(Debug)]
pub(crate) struct Step {
    /// What to do to what was desired.
    pub(crate) delta: Delta,
    /// What is desired afterwards.
    pub(crate) desired: Desired,
    /// What the operator should know.
    pub(crate) notes: Vec<String>,
}

/// Works a change out; the error says what does not fit.
pub(crate) fn step(desired: &Desired, change: Change) -> Result<Step, ControlError> {
    let mut notes = Vec::new();
    let (delta, file, dataplane) = match change {
        Change::File { name, configuration } => {
            let wanted = configuration.dataplane;
            if desired.dataplane.as_ref().is_some_and(|running| *running != wanted) {
                notes.push(
                    "`dataplane` differs from what the dataplane was started with: it takes effect \
                     at the next `sluice up`"
                        .into(),
                );
            }
            // The dataplane still runs with what it was started with.
            let started = desired.dataplane.clone().or(Some(wanted));
            (desired.towards(&configuration.state), Some(name), started)
        }
        Change::AddRoute(route) => {
            (add_route(desired, route)?, desired.file.clone(), desired.dataplane.clone())
        }
        Change::DeleteRoute(route) => {
            (delete_route(desired, route)?, desired.file.clone(), desired.dataplane.clone())
        }
    };
    let next = desired
        .after(&delta)
        .map_err(|errors| ControlError::Policy(errors.iter().map(ToString::to_string).collect()))?;
    Ok(Step { delta, desired: Desired { file, dataplane, ..next }, notes })
}

fn add_route(desired: &Desired, wanted: AddRoute) -> Result<Delta, ControlError> {
    let AddRoute { to, instance, via, blackhole, reject, replace } = wanted;
    let key = key(to, instance)?;
    let target = match (via.is_empty(), blackhole, reject) {
        (false, false, false) => Target::NextHops(
            via.into_iter()
                .map(|hop| NextHop {
                    via: hop.address,
                    interface: hop.interface,
                    weight: hop.weight,
                })
                .collect(),
        ),
        (true, true, false) => Target::Blackhole,
        (true, false, true) => Target::Reject,
        _ => {
            return Err(ControlError::Request(format!(
                "route {to}: give exactly one of `via`, `blackhole` and `reject`"
            )));
        }
    };
    if let Some(present) = desired.state().routes.get(&key) {
        if present.target == target {
            return Ok(Delta::default());
        }
        if !replace {
            return Err(ControlError::RouteExists { prefix: to, instance: key.instance });
        }
    }
    let position = Position { file: LIVE.into(), line: 0, column: 0 };
    let route = Route { target, position };
    Ok(Delta { operations: vec![Operation::Route(key, Some(route))] })
}

fn delete_route(desired: &Desired, wanted: DeleteRoute) -> Result<Delta, ControlError> {
    let key = key(wanted.to, wanted.instance)?;
    if !desired.state().routes.contains_key(&key) {
        return Err(ControlError::NoSuchRoute { prefix: wanted.to, instance: key.instance });
    }
    Ok(Delta { operations: vec![Operation::Route(key, None)] })
}

fn key(prefix: ipnet::IpNet, instance: Option<Name>) -> Result<RouteKey, ControlError> {
    if prefix.trunc() != prefix {
        return Err(ControlError::Request(format!(
            "route {prefix}: bits are set beyond the prefix; {} is meant?",
            prefix.trunc()
        )));
    }
    let instance = instance.unwrap_or_else(|| Arc::from(DEFAULT_INSTANCE));
    Ok(RouteKey { instance, prefix, owner: Owner::Cli })
}

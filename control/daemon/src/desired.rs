//! What the appliance should be: the layer of the configuration file, and on top of it the live
//! changes, which are the routes of owner `cli`.
//!
//! Both layers are in one compiled [`Policy`]: a route's key carries its owner, so that the layers
//! cannot collide, and the dataplane keeps them apart the same way. A [`Desired`] is always
//! consistent; every change goes through [`Policy::apply`], which finds what does not fit before
//! the dataplane hears of it.

use std::sync::Arc;

use sluice_policy::config::{Configuration, Dataplane};
use sluice_policy::model::{Delta, Name, Operation, Owner, Route, RouteKey, State};
use sluice_policy::{Policy, PolicyError};

/// What the appliance should be.
#[derive(Clone, Debug)]
pub(crate) struct Desired {
    /// Both layers, compiled.
    pub(crate) policy: Arc<Policy>,
    /// The configuration file of the lower layer; none when it was adopted from a dataplane.
    pub(crate) file: Option<Name>,
    /// What that file says about the dataplane's start.
    pub(crate) dataplane: Option<Dataplane>,
}

impl Desired {
    /// An appliance that does nothing.
    pub(crate) fn nothing() -> Desired {
        Desired { policy: Arc::new(Policy::empty()), file: None, dataplane: None }
    }

    /// What a configuration file asks for, and no live change.
    pub(crate) fn configured(
        file: Name,
        configuration: Configuration,
    ) -> Result<Desired, Vec<PolicyError>> {
        let policy = compile(&configuration.state)?;
        let dataplane = Some(configuration.dataplane);
        Ok(Desired { policy: Arc::new(policy), file: Some(file), dataplane })
    }

    /// What a running dataplane does.
    pub(crate) fn adopted(state: &State) -> Result<Desired, Vec<PolicyError>> {
        Ok(Desired { policy: Arc::new(compile(state)?), file: None, dataplane: None })
    }

    /// Takes over the live changes that are in `state`. One that does not fit the configuration
    /// file any more is left out, with a warning that names it.
    pub(crate) fn keep_live(&mut self, state: &State) {
        for (key, route) in live_routes(state) {
            let step = Operation::Route(key.clone(), Some(route.clone()));
            match self.policy.apply(&Delta { operations: vec![step] }) {
                Ok(policy) => self.policy = Arc::new(policy),
                Err(errors) => errors.iter().for_each(|error| {
                    tracing::warn!("a live route is given up, it does not fit the file: {error}");
                }),
            }
        }
    }

    /// Both layers by name.
    pub(crate) fn state(&self) -> &State {
        self.policy.state()
    }

    /// The step to what another configuration file asks for; the live changes stay.
    pub(crate) fn towards(&self, configured: &State) -> Delta {
        let mut to = configured.clone();
        to.routes.extend(live_routes(self.state()).map(|(key, r)| (key.clone(), r.clone())));
        self.state().difference(&to)
    }

    /// This, after a step; or everything that is wrong with it.
    pub(crate) fn after(&self, delta: &Delta) -> Result<Desired, Vec<PolicyError>> {
        Ok(Desired { policy: Arc::new(self.policy.apply(delta)?), ..self.clone() })
    }

    /// How many live changes there are.
    pub(crate) fn live(&self) -> usize {
        live_routes(self.state()).count()
    }
}

fn compile(state: &State) -> Result<Policy, Vec<PolicyError>> {
    let empty = Policy::empty();
    empty.apply(&empty.state().difference(state))
}

fn live_routes(state: &State) -> impl Iterator<Item = (&RouteKey, &Route)> {
    state.routes.iter().filter(|(key, _)| key.owner == Owner::Cli)
}

//! What runs at each event for the packet that is asked about.

use std::collections::BTreeMap;

use sluice_packet::Family;

use super::{ExplainError, Live};
use crate::event::{Event, Protocol};
use crate::instance::Instance;
use crate::order::{ForeignHook, Place, resolved};
use crate::policy::Policy;

/// The order at each event, as the workers resolve it.
pub(super) struct Orders {
    places: BTreeMap<Event, Vec<Place>>,
    /// What the places name: the hooks that the policy loads, then the dataplane's own.
    hooks: Vec<ForeignHook>,
}

impl Orders {
    pub(super) fn new(
        policy: &Policy,
        instance: &Instance,
        live: &Live,
        family: Family,
    ) -> Result<Orders, ExplainError> {
        let protocol = match family {
            Family::Inet => Protocol::Inet,
            Family::Inet6 => Protocol::Inet6,
        };
        let loaded = policy.hooks().filter(|(name, _)| !live.taken_out.contains(*name));
        let loaded = loaded.filter_map(|(name, hook)| hook.foreign(name));
        let hooks: Vec<ForeignHook> = loaded.chain(live.hooks.iter().cloned()).collect();
        let at = |event| match resolved(instance, protocol, event, &hooks) {
            Ok(order) => Ok((event, order)),
            Err(source) => Err(ExplainError::Order { event, source }),
        };
        let places = Event::ALL.into_iter().map(at).collect::<Result<_, _>>()?;
        Ok(Orders { places, hooks })
    }

    pub(super) fn at(&self, event: Event) -> &[Place] {
        self.places.get(&event).map_or(&[], Vec::as_slice)
    }

    /// A foreign hook by its place.
    pub(super) fn hook(&self, place: usize) -> Option<&ForeignHook> {
        self.hooks.get(place)
    }
}

//! What runs at each event for the packet that is asked about.

use std::collections::BTreeMap;

use sluice_packet::Family;

use super::{ExplainError, Live};
use crate::event::{Event, Protocol};
use crate::instance::Instance;
use crate::order::{Place, resolved};

/// The order at each event, as the workers resolve it.
pub(super) struct Orders(BTreeMap<Event, Vec<Place>>);

impl Orders {
    pub(super) fn new(
        instance: &Instance,
        live: &Live,
        family: Family,
    ) -> Result<Orders, ExplainError> {
        let protocol = match family {
            Family::Inet => Protocol::Inet,
            Family::Inet6 => Protocol::Inet6,
        };
        let at = |event| match resolved(instance, protocol, event, &live.hooks) {
            Ok(order) => Ok((event, order)),
            Err(source) => Err(ExplainError::Order { event, source }),
        };
        Event::ALL.into_iter().map(at).collect::<Result<_, _>>().map(Orders)
    }

    pub(super) fn at(&self, event: Event) -> &[Place] {
        self.0.get(&event).map_or(&[], Vec::as_slice)
    }
}

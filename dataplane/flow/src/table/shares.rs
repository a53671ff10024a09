//! What rules limit, as connections come and go.

use sluice_packet::Descriptor;

use super::Table;
use crate::half::HalfId;
use crate::key::words;
use crate::limits::Allowance;
use crate::state::UNCOUNTED;

impl Table {
    /// Whether the allowance of a rule lets a connection begin with this packet; if so, it counts as
    /// begun for the rule's rate. Its source counts it when it is there: [`Table::hold`].
    pub fn allows(&mut self, rule: u16, allowance: &Allowance, d: &Descriptor, now: u64) -> bool {
        let Allowance { new_flows, flows_per_source } = *allowance;
        if let Some(most) = flows_per_source
            && self.sources.flows(&self.hasher, words(d.key.src), rule) >= most
        {
            return false;
        }
        new_flows.is_none_or(|rate| self.rates.take(rule, rate, now))
    }

    /// Counts a new connection among those that the source of its first packet has by a rule, until
    /// it ends. `false` when the source has `most` of them, or there is no room to count another
    /// source: the caller is to [`Table::remove`] it. Two rules may count a connection; a third
    /// finds it as it is.
    ///
    /// # Panics
    /// For [`HalfId::NONE`].
    pub fn hold(&mut self, id: HalfId, rule: u16, most: u32) -> bool {
        let half = self.half(id);
        let address = if half.is_reply() { self.half(id.other()) } else { half }.key.source();
        let held = &mut self.states[id.connection() as usize].sources;
        let Some(free) = held.iter_mut().find(|place| **place == UNCOUNTED) else { return true };
        match self.sources.hold(&self.hasher, address, rule, most) {
            Some(place) => *free = place,
            None => return false,
        }
        true
    }

    /// The connection counts at no source any more.
    pub(super) fn release(&mut self, connection: u32) {
        let held = &mut self.states[connection as usize].sources;
        for place in held.iter_mut().filter(|place| **place != UNCOUNTED) {
            self.sources.release(&self.hasher, *place);
            *place = UNCOUNTED;
        }
    }
}

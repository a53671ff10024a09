//! Which slots have objects out.
//!
//! A slot is in use from the moment that its objects are handed out until the last of them is back.
//! What the list of hooks says of it meanwhile does not count: a hook leaves the list, callbacks run
//! that may register another, and only then are its objects asked back.

use std::collections::BTreeMap;

use sluice_channel::statistics::MAX_HOOKS;

use super::Slot;

/// The slots in use, each with the number of workers that have, or may have, an object of it.
#[derive(Default)]
pub(super) struct Slots(BTreeMap<Slot, usize>);

impl Slots {
    /// How many are in use.
    pub(super) fn used(&self) -> usize {
        self.0.len()
    }

    /// A slot without objects.
    pub(super) fn free(&self) -> Option<Slot> {
        (0..MAX_HOOKS).find(|slot| !self.0.contains_key(slot))
    }

    /// `workers` workers have, or may have, an object of the slot; with none of them it is free.
    pub(super) fn have(&mut self, slot: Slot, workers: usize) {
        if workers == 0 {
            self.0.remove(&slot);
        } else {
            self.0.insert(slot, workers);
        }
    }

    /// One worker fewer has an object of the slot.
    pub(super) fn came_back(&mut self, slot: Slot) {
        if let Some(&workers) = self.0.get(&slot) {
            self.have(slot, workers.saturating_sub(1));
        }
    }
}

//! Hooks that are content with the first packet of a flow's direction: which packets are to be shown
//! to them, and what is remembered of those that pass.
//!
//! In an instance with such a hook, a direction of which nothing is remembered is one that they have
//! not been shown. Its packet goes all the way, past all hooks, and when it leaves, what was decided
//! about it is remembered at once: those that follow are known. At ROUTE_DECISION that includes the
//! way that a hook has chosen ([`By`]): it is kept through all that moves but the hooks themselves
//! and the routes that it was chosen in view of. When those move, the next packet is shown again.

use sluice_flow::{Half, HalfId, NO_PATH};
use sluice_hooks::{Burst, Choice, Context, HookOrder, Way};
use sluice_packet::{ConnectionState, Descriptor, Mask};
use sluice_policy::{Event, InstanceId, Moved, Policy, ResolvedNextHop};

use super::decide::{self, Chosen, Decision};
use super::path::{By, Paths};
use super::{Flows, keep};

/// What hooks leave to the flow table in an instance.
#[derive(Clone, Copy)]
pub(super) struct Showing {
    /// Some hook is content with first packets.
    first: bool,
    /// Some that are may choose ways.
    pub(super) ways: bool,
}

impl Showing {
    pub(super) fn of(order: &HookOrder, instance: InstanceId) -> Showing {
        let first = order.shows_first(instance);
        Showing { first, ways: first && order.has_authors_at(instance, Event::RouteDecision) }
    }

    /// Whether the next packet of a direction is to be shown to the hooks.
    pub(super) fn is_due(
        self,
        half: &Half,
        d: &Descriptor,
        policy: &Policy,
        paths: &Paths,
    ) -> bool {
        if !self.first {
            return false;
        }
        if half.path == NO_PATH {
            return true;
        }
        let moved = policy.moved().since(half.edition, d.key.family, d.key.dst);
        // Of a way that is not remembered it is not remembered either who has chosen it.
        moved.contains(Moved::HOOKS)
            || self.ways
                && (moved.intersects(Moved::ROUTES | Moved::STEERING)
                    || paths.named(half.path).is_none())
    }

    /// The way that a hook has chosen for packets of a direction that are not due to be shown, if one
    /// has.
    pub(super) fn chosen(self, half: &Half, paths: &Paths) -> Option<Chosen> {
        let path = paths.named(half.path).filter(|path| self.ways && path.by != By::Policy)?;
        Some(Chosen { hop: path.hop, by: path.by })
    }
}

impl Flows {
    /// Remembers what was decided about packets that the hooks have been shown, of connections that
    /// were there before.
    #[cold]
    #[inline(never)]
    pub(super) fn remember_shown(
        &mut self,
        cx: &Context<'_>,
        order: &HookOrder,
        burst: &Burst,
        packets: Mask,
    ) {
        for slot in packets & !burst.changed() {
            let id = self.found[slot];
            let state = self.table.half(id).state;
            self.remember(cx, order, burst, slot, id, state);
        }
    }

    /// Remembers what was decided about a packet that leaves: its way is known, and a hook's if one
    /// has chosen it.
    pub(super) fn remember(
        &mut self,
        cx: &Context<'_>,
        order: &HookOrder,
        burst: &Burst,
        slot: usize,
        id: HalfId,
        state: ConnectionState,
    ) {
        let policy = cx.policy;
        let d = Descriptor { state, ..*burst.descriptor(slot) };
        let choice = burst.metadata(slot).choice();
        let chosen = choice.and_then(|choice| chosen(choice, policy, burst, slot, &d));
        let path = if choice.is_some() && chosen.is_none() {
            None
        } else {
            match decide::about(policy, cx.instance, order, &d, chosen) {
                Decision::Path(path) => self.paths.take(path, policy),
                Decision::Denied | Decision::Other => None,
            }
        };
        keep(self.table.half_mut(id), path, policy, &d);
    }
}

/// The way that a hook has chosen for a packet, as far as it can be remembered.
fn chosen(
    choice: Choice,
    policy: &Policy,
    burst: &Burst,
    slot: usize,
    d: &Descriptor,
) -> Option<Chosen> {
    let hop = match burst.way(slot) {
        Way::NextHop(id) => *policy.next_hop(id),
        Way::OnLink(interface) => ResolvedNextHop { interface, via: None, family: d.key.family },
        _ => return None,
    };
    Some(Chosen { hop, by: if choice.ahead { By::HookAhead } else { By::Hook } })
}

//! ROUTE_DECISION: which next hop a packet leaves by.

use sluice_hooks::{Burst, Context, Hook, Way};
use sluice_packet::{Family, Mask};
use sluice_policy::{DropReason, InterfaceId, NextHopId, RouteDecision, by_level, evaluate};

use crate::answer::{self, Answer};

/// Longest-prefix match and choice among several next hops, a burst at a time.
pub struct Route;

impl Hook for Route {
    fn process(&mut self, cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
        decide(cx, burst, packets);
    }
}

by_level! {
    /// Looks up where each of `packets` goes.
    fn decide(cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
        // A hook ahead of this stage may have chosen already.
        let packets = packets & !burst.decided();
        let (instance, policy) = (cx.instance, cx.policy);
        let plain = burst.plain() & burst.family(Family::Inet);
        let counters = &mut cx.rule_counters();
        // Packets in a row mostly leave by the same next hop.
        let mut last = (NextHopId(u32::MAX), InterfaceId(0));
        let mut ways = if packets == burst.live() { 0 } else { MANY };
        let descriptor = Burst::descriptor;
        instance.route_burst(
            burst,
            packets,
            plain,
            counters,
            descriptor,
            |burst, slot, decision| match decision {
                RouteDecision::Forward(next_hop) => {
                    if last.0 != next_hop {
                        last = (next_hop, policy.next_hop(next_hop).interface);
                        ways += 1;
                    }
                    burst.set_way(slot, Way::NextHop(next_hop), last.1);
                }
                RouteDecision::Drop(reason) => {
                    ways = MANY;
                    undeliverable(cx, burst, slot, reason);
                }
                RouteDecision::Local(_) => {
                    let reason = evaluate::not_taken(burst.descriptor(slot));
                    cx.drop(burst, slot, reason);
                }
            },
        );
        if let (1, Some(slot)) = (ways, packets.into_iter().next()) {
            burst.set_alike(slot);
        }
        burst.set_decided(packets);
    }
}

/// More than one way, however many follow.
const MANY: usize = 2;

#[cold]
#[inline(never)]
fn undeliverable(cx: &mut Context<'_>, burst: &mut Burst, slot: usize, reason: DropReason) {
    let descriptor = burst.descriptor(slot);
    if evaluate::returns_to_link(descriptor, reason) {
        let interface = InterfaceId(descriptor.ingress);
        burst.set_way(slot, Way::OnLink(interface), interface);
        return;
    }
    match reason {
        // RFC 1812 section 4.3.3.1, RFC 4443 section 3.1.
        DropReason::NoRoute | DropReason::PolicyUnreachableReject => {
            answer::send(cx, burst, slot, Answer::NoRoute);
        }
        DropReason::RejectRoute => answer::send(cx, burst, slot, Answer::RejectRoute),
        DropReason::ProhibitRoute | DropReason::PolicyReject => {
            answer::send(cx, burst, slot, Answer::Prohibited);
        }
        _ => {}
    }
    cx.drop(burst, slot, reason);
}

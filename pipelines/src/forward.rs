//! What forwarding itself demands: hop limit and MTU.

use sluice_hooks::{Burst, Context, Hook, Parts};
use sluice_packet::{Family, Mask, checksum};
use sluice_policy::{InterfaceId, evaluate};

use crate::answer::{self, Answer};

/// TTL and hop limit (RFC 1812 section 5.3.1, RFC 4443 section 3.3). What passes is decremented
/// when FORWARDING is done, so that an answer quotes the packet as it came. A plain packet has
/// been asked by decoding.
pub struct HopLimit;

impl Hook for HopLimit {
    fn process(&mut self, cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
        for slot in packets & !burst.plain() {
            if let Err(reason) = evaluate::hop_limit(burst.descriptor(slot)) {
                answer::send(cx, burst, slot, Answer::TimeExceeded);
                cx.drop(burst, slot, reason);
            }
        }
    }
}

/// Packet size against the egress MTU (RFC 1191 section 4, RFC 8201). What may be cut passes, and is
/// cut when it leaves ([`cut`](crate::cut)).
pub struct Mtu;

impl Hook for Mtu {
    fn process(&mut self, cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
        if burst.longest() <= cx.policy.least_mtu() {
            return;
        }
        // Packets in a row mostly leave by the same interface.
        let mut last: Option<(InterfaceId, u16)> = None;
        for slot in packets {
            let egress = burst.egress(slot);
            let mtu = match last {
                Some((known, mtu)) if known == egress => mtu,
                _ => match cx.policy.interface(egress) {
                    Some(interface) => interface.mtu,
                    None => continue,
                },
            };
            last = Some((egress, mtu));
            if let Err(reason) = evaluate::mtu(burst.descriptor(slot), mtu) {
                answer::send(cx, burst, slot, Answer::TooBig(mtu));
                cx.drop(burst, slot, reason);
            }
        }
    }
}

/// Lowers the hop limit of packets that FORWARDING let pass.
pub fn decrement(burst: &mut Burst, packets: Mask) {
    for slot in packets {
        if let Some(packet) = burst.parts(slot) {
            decrement_one(packet);
        }
    }
}

/// Lowers the hop limit of one packet.
#[inline]
pub fn decrement_one(packet: Parts<'_>) {
    let Parts { mbuf, descriptor } = packet;
    descriptor.hop_limit = descriptor.hop_limit.saturating_sub(1);
    let l3 = usize::from(descriptor.l3_offset);
    let Some(header) = mbuf.data_mut().get_mut(l3..) else { return };
    match descriptor.key.family {
        Family::Inet => checksum::decrement_ttl(header),
        Family::Inet6 => checksum::decrement_hop_limit(header),
    }
}

/// Drops packets that do not fit their egress and of which nobody is told: those of the router's
/// own, which pass no FORWARDING, and those that a hook made longer behind it.
pub fn fit_own(cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
    for slot in packets {
        let Some(egress) = cx.policy.interface(burst.egress(slot)) else { continue };
        if let Err(reason) = evaluate::mtu(burst.descriptor(slot), egress.mtu) {
            cx.drop(burst, slot, reason);
        }
    }
}

//! Packets whose bytes a hook has asked to change are decoded again when it is done: the
//! descriptor is true for the next hook and for the router, which routes by a new destination. A
//! result that is no packet is dropped by name and shown to nobody.

use sluice_hooks::{Burst, Context, Parts, decode_ip};
use sluice_packet::{Descriptor, DescriptorFlags, Family, Fragment, Malformed, ethernet};
use sluice_policy::DropReason;

/// Decodes the rewritten packets of a burst.
#[cold]
#[inline(never)]
pub fn process(cx: &mut Context<'_>, burst: &mut Burst) {
    let rewritten = burst.rewritten();
    burst.settle_rewritten();
    for slot in rewritten & !burst.arp() {
        let old = *burst.descriptor(slot);
        let Some(parts) = burst.parts(slot) else { continue };
        match again(&old, parts) {
            Ok(descriptor) => burst.set_descriptor(slot, descriptor),
            Err(_) => cx.drop(burst, slot, DropReason::HookMalformed),
        }
    }
}

/// What a packet is now, of which `old` was true before. Which IP version it is, its first byte
/// says; the link header follows.
fn again(old: &Descriptor, packet: Parts<'_>) -> Result<Descriptor, Malformed> {
    /// Of those flags nothing stands in the IP packet.
    const KEPT: DescriptorFlags = DescriptorFlags::LINK_BROADCAST
        .union(DescriptorFlags::LINK_MULTICAST)
        .union(DescriptorFlags::LOCAL_ORIGIN);
    let mbuf = packet.mbuf;
    let l3_offset = usize::from(old.l3_offset);
    // What the hook put in front may well be longer than what the ingress would have taken.
    let mut d = decode_ip(mbuf, l3_offset)?;
    let ethertype = match d.key.family {
        Family::Inet => ethernet::IPV4,
        Family::Inet6 => ethernet::IPV6,
    };
    d.ingress = old.ingress;
    d.flags |= old.flags & KEPT;
    if d.fragment == Fragment::Later && old.flags.contains(DescriptorFlags::FIRST_KNOWN) {
        d.flags |= DescriptorFlags::FIRST_KNOWN;
        d.key.protocol = old.key.protocol;
        (d.key.src_port, d.key.dst_port) = (old.key.src_port, old.key.dst_port);
    }
    mbuf.truncate(l3_offset + usize::from(d.l3_length));
    if let Some(place) = l3_offset.checked_sub(2)
        && let Some(field) = mbuf.data_mut().get_mut(place..l3_offset)
    {
        field.copy_from_slice(&ethertype.to_be_bytes());
    }
    Ok(d)
}

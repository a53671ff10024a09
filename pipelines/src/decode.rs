//! The first stage behind rx: link header, interface, IP header, descriptor. What is malformed is
//! dropped here by name; no hook ever sees it.

use sluice_channel::statistics::WorkerBlock;
use sluice_dpdk::Mbuf;
use sluice_hooks::{Burst, Parts, PortFacts, count_drop};
use sluice_packet::decode::{self, Link};
use sluice_packet::{Descriptor, DescriptorFlags, Family, FlowKey, Mask, checksum, ethernet};
use sluice_policy::model::ChecksumMode;
use sluice_policy::{DropReason, Instance, Interface, InterfaceId, Policy, PortId, by_level};

/// Decodes a burst that was received from `port`. Says how many bytes that were.
pub fn process(
    policy: &Policy,
    port: PortId,
    facts: Option<&PortFacts>,
    statistics: WorkerBlock<'_>,
    burst: &mut Burst,
) -> u64 {
    let received = burst.live();
    let untagged = policy.interface_on(port, 0);
    debug_assert_eq!(received, Mask::first(received.len()), "a queue fills a burst from slot 0");
    let mut arp = Mask::EMPTY;
    let (mut plain, mut elsewhere) = (received, Mask::EMPTY);
    let mut longest = 0;
    let mut plainly = Plainly { special: received, ..Plainly::default() };
    if let (Some(interface), Some(facts)) = (untagged, facts)
        && let Some(instance) = policy.instance(interface.instance)
        && interface.checksum == ChecksumMode::Trust
    {
        // What fits every interface need not be asked again behind the route decision.
        longest = interface.mtu.min(policy.least_mtu());
        plainly = decode_plainly(burst, station(facts.mac), interface.id, instance, longest);
        for slot in plainly.padded {
            let Some(Parts { mbuf, descriptor }) = burst.parts(slot) else { continue };
            mbuf.truncate(ethernet::HEADER + usize::from(descriptor.l3_length));
        }
    }
    let Plainly { special, mut inet6, mut close, mut bytes, .. } = plainly;
    for slot in special {
        let Some(packet) = burst.parts(slot) else { continue };
        bytes += packet.mbuf.pkt_len() as u64;
        let decoded = match facts {
            Some(facts) => decode(policy, port, untagged, facts, packet),
            None => Err(DropReason::InterfaceDown),
        };
        match decoded {
            Ok((kind, interface)) => {
                if untagged.is_none_or(|untagged| untagged.instance != interface.instance) {
                    elsewhere.insert(slot);
                    burst.set_instance(slot, interface.instance);
                }
                match kind {
                    Kind::Inet { .. } => {}
                    Kind::Inet6 { .. } => inet6.insert(slot),
                    Kind::Arp => {
                        plain.remove(slot);
                        arp.insert(slot);
                        continue;
                    }
                }
                if !kind.is_plain() {
                    plain.remove(slot);
                } else if policy
                    .instance(interface.instance)
                    .is_none_or(|of| may_own(of, &burst.descriptor(slot).key))
                {
                    close.insert(slot);
                }
                longest = longest.max(burst.descriptor(slot).l3_length);
            }
            Err(reason) => {
                burst.end(slot);
                count_drop(statistics, reason);
            }
        }
    }
    burst.set_kinds(inet6, arp);
    burst.set_plain(plain, close);
    burst.set_longest(longest);
    if let Some(interface) = untagged {
        if elsewhere.is_empty() {
            burst.set_uniform(interface.instance);
        } else {
            for slot in received & !elsewhere {
                burst.set_instance(slot, interface.instance);
            }
        }
    }
    bytes
}

/// What a packet is; `plain` when it was decoded by the plain way, in a frame to this station alone.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Inet { plain: bool },
    Inet6 { plain: bool },
    Arp,
}

impl Kind {
    fn is_plain(self) -> bool {
        matches!(self, Kind::Inet { plain: true } | Kind::Inet6 { plain: true })
    }
}

/// The link address of this station as the upper bytes of a word, as frames to it begin.
fn station(mac: [u8; 6]) -> u64 {
    let mut first = [0; 8];
    first[2..].copy_from_slice(&mac);
    u64::from_le_bytes(first)
}

/// What the plain way leaves to be done with a burst.
#[derive(Default)]
struct Plainly {
    /// Packets that it does not decide about.
    special: Mask,
    /// Those of IPv6.
    inet6: Mask,
    /// Those that end in padding.
    padded: Mask,
    /// Those that may be from or to the router.
    close: Mask,
    /// The length of all frames that are not special.
    bytes: u64,
}

/// So many packets ahead of the one that is decoded, headers are fetched into the cache.
const AHEAD: usize = 8;

by_level! {
    /// Decodes what nearly every packet is: untagged IP for this station, of at most `longest` bytes.
    /// All that is asked of such a packet's addresses is asked while they are at hand.
    #[inline(never)]
    fn decode_plainly(
        burst: &mut Burst,
        station: u64,
        ingress: InterfaceId,
        instance: &Instance,
        longest: u16,
    ) -> Plainly {
        let mut plainly = Plainly::default();
        for slot in 0..AHEAD {
            prefetch(burst, slot);
        }
        for slot in 0..burst.live().len() {
            prefetch(burst, slot + AHEAD);
            let Some(packet) = burst.parts(slot) else { continue };
            let wire = packet.mbuf.pkt_len();
            let Parts { mbuf, descriptor } = packet;
            let Some(family) = decode_plain(station, longest, wire, mbuf.data(), descriptor) else {
                plainly.special.insert_rarely(slot);
                continue;
            };
            descriptor.ingress = ingress.0;
            plainly.bytes += wire as u64;
            let close = match family {
                Family::Inet => may_own_inet(instance, &descriptor.key),
                Family::Inet6 => {
                    plainly.inet6.insert(slot);
                    may_own(instance, &descriptor.key)
                }
            };
            if close {
                plainly.close.insert_rarely(slot);
            }
            if wire != ethernet::HEADER + usize::from(descriptor.l3_length) {
                plainly.padded.insert_rarely(slot);
            }
        }
        plainly
    }
}

/// Behind the last packet there is nothing to fetch, or one that was there already.
#[inline(always)]
fn prefetch(burst: &Burst, slot: usize) {
    if let Some(mbuf) = burst.mbuf(slot) {
        mbuf.prefetch_header();
    }
}

/// Whether a packet may be from or to the router.
#[inline(always)]
fn may_own(instance: &Instance, key: &FlowKey) -> bool {
    instance.may_own(key.src) | instance.may_own(key.dst)
}

/// [`may_own`] of an IPv4 packet.
#[inline(always)]
fn may_own_inet(instance: &Instance, key: &FlowKey) -> bool {
    instance.may_own_inet(key.src_inet()) | instance.may_own_inet(key.dst_inet())
}

/// Decodes one packet, and says of which version it is. `None` leaves the decision to [`decode`].
#[inline(always)]
fn decode_plain(
    station: u64,
    longest: u16,
    wire: usize,
    frame: &[u8],
    descriptor: &mut Descriptor,
) -> Option<Family> {
    const HEADER: usize = ethernet::HEADER;
    let header = frame.first_chunk::<HEADER>()?;
    let ([first, ..], _) = header.as_chunks::<8>() else { return None };
    // The two bytes of the source that come along are shifted out.
    if u64::from_le_bytes(*first) << 16 != station {
        return None;
    }
    let (family, plain) = match u16::from_be_bytes([header[12], header[13]]) {
        ethernet::IPV4 => {
            (Family::Inet, decode::ipv4_plain(frame, HEADER, wire, longest, descriptor))
        }
        ethernet::IPV6 => {
            (Family::Inet6, decode::ipv6_plain(frame, HEADER, wire, longest, descriptor))
        }
        _ => return None,
    };
    plain.then_some(family)
}

/// Decodes one packet into its descriptor.
#[inline(never)]
fn decode<'a>(
    policy: &'a Policy,
    port: PortId,
    untagged: Option<&'a Interface>,
    facts: &PortFacts,
    packet: Parts<'_>,
) -> Result<(Kind, &'a Interface), DropReason> {
    let Parts { mbuf, descriptor } = packet;
    let link = decode::link(mbuf.data())?;
    let interface = match link.vlan {
        0 => untagged.ok_or(DropReason::InterfaceDown)?,
        vlan => policy.interface_on(port, vlan).ok_or(DropReason::VlanUnknown)?,
    };
    if link.flags.is_empty() && link.dst != facts.mac {
        return Err(DropReason::ForeignMac);
    }
    let l3_offset = usize::from(link.l3_offset);
    let kind = match link.ethertype {
        ethernet::ARP => {
            *descriptor = arp_descriptor(&link, interface);
            Kind::Arp
        }
        ethertype => network(interface, ethertype, l3_offset, link.flags, mbuf, descriptor)?,
    };
    Ok((kind, interface))
}

/// Decodes the IP packet behind the link header of a frame that came in by `interface`.
#[inline]
pub(crate) fn network(
    interface: &Interface,
    ethertype: u16,
    l3_offset: usize,
    flags: DescriptorFlags,
    mbuf: &mut Mbuf,
    descriptor: &mut Descriptor,
) -> Result<Kind, DropReason> {
    let (frame, wire) = (mbuf.data(), mbuf.pkt_len());
    let kind = match ethertype {
        ethernet::IPV4 => {
            let plain = decode::ipv4_into(frame, l3_offset, wire, interface.mtu, descriptor)?;
            Kind::Inet { plain: plain && flags.is_empty() }
        }
        ethernet::IPV6 => {
            let plain = decode::ipv6_into(frame, l3_offset, wire, interface.mtu, descriptor)?;
            Kind::Inet6 { plain: plain && flags.is_empty() }
        }
        _ => return Err(DropReason::EthertypeUnknown),
    };
    descriptor.ingress = interface.id.0;
    descriptor.flags |= flags;
    // Ethernet padding ends here: it is neither forwarded nor quoted (RFC 894).
    let end = l3_offset + usize::from(descriptor.l3_length);
    if wire > end {
        mbuf.truncate(end);
    }
    match interface.checksum {
        ChecksumMode::Trust => {}
        ChecksumMode::Complete => complete_checksum(descriptor, mbuf),
        ChecksumMode::Verify => checksum::verify(descriptor, mbuf.segments())?,
    }
    Ok(kind)
}

fn arp_descriptor(link: &Link, interface: &Interface) -> Descriptor {
    Descriptor {
        ingress: interface.id.0,
        l3_offset: link.l3_offset,
        flags: link.flags & (DescriptorFlags::LINK_BROADCAST | DescriptorFlags::LINK_MULTICAST),
        ..Descriptor::default()
    }
}

/// A host on a virtual port leaves the TCP or UDP checksum to hardware that is not there: only
/// the pseudo-header is summed. It is completed before anybody sees the packet.
fn complete_checksum(descriptor: &Descriptor, mbuf: &mut Mbuf) {
    if mbuf.segment_count() == 1 {
        checksum::complete(descriptor, mbuf.data_mut());
    } else if let Some(completion) = checksum::completion(descriptor, mbuf.segments()) {
        completion.write(mbuf.data_mut());
    }
}

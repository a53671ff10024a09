//! What the router tells a sender about a packet that it did not deliver: ICMP and ICMPv6 errors
//! and TCP resets, rate limited, and never about what RFC 1122 section 3.2.2 and RFC 4443 section
//! 2.4(e) forbid.

use std::net::{Ipv4Addr, Ipv6Addr};

use sluice_hooks::{Burst, Context, Originated, Way};
use sluice_packet::build::error::{IcmpError, Icmpv6Error};
use sluice_packet::build::{self, BuildError, LinkHeader};
use sluice_packet::{Descriptor, DescriptorFlags, Family, decode, ipv6, protocol};
use sluice_policy::{DropReason, InterfaceId};

/// What to tell the sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// TTL or hop limit ran out.
    TimeExceeded,
    /// No route to the destination.
    NoRoute,
    /// The next hop does not answer.
    HostUnreachable,
    /// Nothing listens on the UDP port.
    PortUnreachable,
    /// Nothing here speaks the protocol.
    ProtocolUnreachable,
    /// A route says that packets do not go there.
    Prohibited,
    /// A filter says so: a TCP segment gets a reset, all else as [`Answer::Prohibited`].
    Rejected,
    /// Larger than this MTU.
    TooBig(u16),
    /// Nothing listens on the TCP port.
    Reset,
}

/// Bytes that the largest answer needs: an IPv6 minimum MTU and a link header.
const ROOM: usize = 1280 + LINK_HEADER;
/// Answers are written with an untagged link header; the neighbour stage makes it the egress's.
const LINK_HEADER: usize = 14;

/// Originates the answer to the packet in `slot`, if there may be one and the rate allows it.
#[cold]
#[inline(never)]
pub fn send(cx: &mut Context<'_>, burst: &Burst, slot: usize, answer: Answer) {
    let d = burst.descriptor(slot);
    let answer = match answer {
        Answer::Rejected if d.key.protocol == protocol::TCP => Answer::Reset,
        Answer::Rejected => Answer::Prohibited,
        other => other,
    };
    if !permitted(d, answer) || !cx.outbox.errors.take(cx.now) {
        return;
    }
    let Some(source) = source_address(cx, d) else { return };
    let Some(frame) = burst.mbuf(slot).map(|mbuf| mbuf.data()) else { return };
    let core = cx.statistics.core();
    let Some(mut mbuf) = cx.outbox.buffer() else {
        core.generated.add(1);
        cx.count_drop(DropReason::NoBuffer);
        return;
    };
    let written = mbuf.append(ROOM).and_then(|buffer| {
        let length = write(buffer, source, answer, d, frame).ok()?;
        let own = match d.key.family {
            Family::Inet => decode::ipv4(&buffer[..length], LINK_HEADER, length, u16::MAX),
            Family::Inet6 => decode::ipv6(&buffer[..length], LINK_HEADER, length, u16::MAX),
        };
        Some((length, own.ok()?))
    });
    let Some((length, mut descriptor)) = written else { return };
    mbuf.truncate(length);
    descriptor.ingress = d.ingress;
    descriptor.flags |= DescriptorFlags::LOCAL_ORIGIN;
    let instance = burst.instance(slot);
    let packet = Originated { mbuf, descriptor, instance, way: Way::Undecided, arp: false };
    if cx.outbox.originate(packet).is_ok() {
        core.generated.add(1);
    }
}

fn permitted(d: &Descriptor, answer: Answer) -> bool {
    if d.flags.contains(DescriptorFlags::LOCAL_ORIGIN) {
        return false;
    }
    if answer == Answer::Reset {
        return build::tcp::may_reset(d);
    }
    match d.key.family {
        Family::Inet => build::error::may_answer_v4(d),
        Family::Inet6 => {
            icmpv6_error(answer, d).is_some_and(|error| build::error::may_answer_v6(d, error))
        }
    }
}

/// The own address that the packet was sent to (RFC 4443 section 2.2(a)); for what was not sent to
/// one, that of the interface it came in by (RFC 1812 section 4.3.2.4), or one of the instance's
/// others if that has none.
fn source_address(cx: &Context<'_>, d: &Descriptor) -> Option<u128> {
    let ingress = cx.policy.interface(InterfaceId(d.ingress))?;
    if cx.policy.instance(ingress.instance)?.owns(d.key.family, d.key.dst).is_some() {
        return Some(d.key.dst);
    }
    if d.key.family == Family::Inet6 && ipv6::is_link_local(d.key.src) {
        return Some(cx.ports.get(ingress.port)?.link_local);
    }
    let of_instance = || {
        let mut others = cx.policy.interfaces().filter(|i| i.instance == ingress.instance);
        others.find_map(|interface| interface.source(d.key.family))
    };
    ingress.source(d.key.family).or_else(of_instance)
}

fn write(
    buffer: &mut [u8],
    source: u128,
    answer: Answer,
    d: &Descriptor,
    frame: &[u8],
) -> Result<usize, BuildError> {
    let link = LinkHeader { dst: [0; 6], src: [0; 6], vlan: 0 };
    if answer == Answer::Reset {
        return build::tcp::reset(buffer, &link, d, frame);
    }
    let unanswerable = BuildError::Unanswerable("packet");
    match d.key.family {
        Family::Inet => {
            let source = Ipv4Addr::from_bits(source as u32);
            let error = icmp_error(answer).ok_or(unanswerable)?;
            build::error::icmp(buffer, &link, source, error, d, frame)
        }
        Family::Inet6 => {
            let source = Ipv6Addr::from_bits(source);
            let error = icmpv6_error(answer, d).ok_or(unanswerable)?;
            build::error::icmpv6(buffer, &link, source, error, d, frame)
        }
    }
}

fn icmp_error(answer: Answer) -> Option<IcmpError> {
    Some(match answer {
        Answer::TimeExceeded => IcmpError::TimeExceeded,
        Answer::NoRoute => IcmpError::NetworkUnreachable,
        Answer::HostUnreachable => IcmpError::HostUnreachable,
        Answer::PortUnreachable => IcmpError::PortUnreachable,
        Answer::ProtocolUnreachable => IcmpError::ProtocolUnreachable,
        Answer::Prohibited | Answer::Rejected => IcmpError::Prohibited,
        Answer::TooBig(mtu) => IcmpError::FragmentationNeeded { mtu },
        Answer::Reset => return None,
    })
}

fn icmpv6_error(answer: Answer, d: &Descriptor) -> Option<Icmpv6Error> {
    Some(match answer {
        Answer::TimeExceeded => Icmpv6Error::HopLimitExceeded,
        Answer::NoRoute => Icmpv6Error::NoRoute,
        Answer::HostUnreachable => Icmpv6Error::AddressUnreachable,
        Answer::PortUnreachable => Icmpv6Error::PortUnreachable,
        // The pointer names the field that holds the protocol, which only without extension
        // headers is the fixed header's (RFC 4443 section 3.4).
        Answer::ProtocolUnreachable if d.l4_offset == 40 => {
            Icmpv6Error::ParameterProblem { code: 1, pointer: 6 }
        }
        Answer::Prohibited | Answer::Rejected => Icmpv6Error::Prohibited,
        Answer::TooBig(mtu) => Icmpv6Error::PacketTooBig { mtu: u32::from(mtu) },
        Answer::ProtocolUnreachable | Answer::Reset => return None,
    })
}

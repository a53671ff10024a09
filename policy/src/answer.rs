//! What the router tells a sender about a packet that it did not deliver: which message, whether
//! there may be one at all, from which address, and its bytes. Workers send it, within a rate
//! limit of theirs; [`explain`](crate::explain) follows it on its way back.

use std::net::{Ipv4Addr, Ipv6Addr};

use sluice_packet::build::error::{IcmpError, Icmpv6Error};
use sluice_packet::build::{self, BuildError, LinkHeader};
use sluice_packet::{Descriptor, DescriptorFlags, Family, decode, ipv6, protocol};

use crate::ids::{InterfaceId, PortId};
use crate::policy::Policy;

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
    /// A route says that the destination cannot be reached.
    RejectRoute,
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
pub const ROOM: usize = 1280 + LINK_HEADER;
/// Answers are written with an untagged link header; the neighbour stage makes it the egress's.
const LINK_HEADER: usize = 14;

impl Answer {
    /// What such an answer is to this packet; `None` where there may be none: never about what RFC
    /// 1122 section 3.2.2 and RFC 4443 section 2.4(e) forbid, nor about the router's own packets.
    pub fn about(self, d: &Descriptor) -> Option<Answer> {
        let answer = match self {
            Answer::Rejected if d.key.protocol == protocol::TCP => Answer::Reset,
            Answer::Rejected => Answer::Prohibited,
            other => other,
        };
        permitted(d, answer).then_some(answer)
    }

    /// Its name, the same in every report.
    pub const fn name(self) -> &'static str {
        match self {
            Answer::TimeExceeded => "time-exceeded",
            Answer::NoRoute => "network-unreachable",
            Answer::HostUnreachable | Answer::RejectRoute => "host-unreachable",
            Answer::PortUnreachable => "port-unreachable",
            Answer::ProtocolUnreachable => "protocol-unreachable",
            Answer::Prohibited | Answer::Rejected => "prohibited",
            Answer::TooBig(_) => "too-big",
            Answer::Reset => "reset",
        }
    }

    /// Writes the answer to the packet that `d` describes and `frame` begins with. Returns the
    /// bytes written and their descriptor, that of a packet of the router's own.
    pub fn write(
        self,
        buffer: &mut [u8],
        source: u128,
        d: &Descriptor,
        frame: &[u8],
    ) -> Option<(usize, Descriptor)> {
        let length = self.write_bytes(buffer, source, d, frame).ok()?;
        let bytes = buffer.get(..length)?;
        let own = match d.key.family {
            Family::Inet => decode::ipv4(bytes, LINK_HEADER, length, u16::MAX),
            Family::Inet6 => decode::ipv6(bytes, LINK_HEADER, length, u16::MAX),
        };
        let mut own = own.ok()?;
        own.ingress = d.ingress;
        own.flags |= DescriptorFlags::LOCAL_ORIGIN;
        Some((length, own))
    }

    fn write_bytes(
        self,
        buffer: &mut [u8],
        source: u128,
        d: &Descriptor,
        frame: &[u8],
    ) -> Result<usize, BuildError> {
        let link = LinkHeader { dst: [0; 6], src: [0; 6], vlan: 0 };
        if self == Answer::Reset {
            return build::tcp::reset(buffer, &link, d, frame);
        }
        let unanswerable = BuildError::Unanswerable("packet");
        match d.key.family {
            Family::Inet => {
                let source = Ipv4Addr::from_bits(source as u32);
                let error = icmp_error(self).ok_or(unanswerable)?;
                build::error::icmp(buffer, &link, source, error, d, frame)
            }
            Family::Inet6 => {
                let source = Ipv6Addr::from_bits(source);
                let error = icmpv6_error(self, d).ok_or(unanswerable)?;
                build::error::icmpv6(buffer, &link, source, error, d, frame)
            }
        }
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
/// others if that has none. `link_local` is the port's IPv6 link-local address, where it is
/// attached.
pub fn source(
    policy: &Policy,
    d: &Descriptor,
    link_local: impl FnOnce(PortId) -> Option<u128>,
) -> Option<u128> {
    let ingress = policy.interface(InterfaceId(d.ingress))?;
    if policy.instance(ingress.instance)?.owns(d.key.family, d.key.dst).is_some() {
        return Some(d.key.dst);
    }
    if d.key.family == Family::Inet6 && ipv6::is_link_local(d.key.src) {
        return link_local(ingress.port);
    }
    let of_instance = || {
        let mut others = policy.interfaces().filter(|i| i.instance == ingress.instance);
        others.find_map(|interface| interface.source(d.key.family))
    };
    ingress.source(d.key.family).or_else(of_instance)
}

fn icmp_error(answer: Answer) -> Option<IcmpError> {
    Some(match answer {
        Answer::TimeExceeded => IcmpError::TimeExceeded,
        Answer::NoRoute => IcmpError::NetworkUnreachable,
        // What Linux says for its unreachable routes; RFC 4443 section 3.1 has a code of its own.
        Answer::HostUnreachable | Answer::RejectRoute => IcmpError::HostUnreachable,
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
        Answer::RejectRoute => Icmpv6Error::RejectRoute,
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

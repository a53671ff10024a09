//! The packet that is asked about, and the frame that it would be.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_packet::descriptor::number_of;
use sluice_packet::{
    Descriptor, DescriptorFlags, Family, Malformed, checksum, decode, ethernet, ipv4, ipv6,
    protocol, tcp,
};

use super::ExplainError;
use crate::interface::Interface;
use crate::model::{Name, Standing};

/// The packet that is asked about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The interface it comes in by; left out, the one whose network holds the source.
    #[serde(default)]
    pub input: Option<Name>,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// IP protocol number.
    #[serde(default)]
    pub protocol: u8,
    /// Source port; the identifier of an ICMP echo. Of a later fragment, that of its first, if it
    /// is known: policy routes look at it.
    #[serde(default)]
    pub src_port: u16,
    /// Destination port; of a later fragment, that of its first.
    #[serde(default)]
    pub dst_port: u16,
    /// TCP flags as in the header; 2 (SYN) begins a connection.
    #[serde(default)]
    pub tcp_flags: u8,
    /// ICMP type.
    #[serde(default)]
    pub icmp_type: u8,
    /// ICMP code.
    #[serde(default)]
    pub icmp_code: u8,
    /// TTL or hop limit on arrival.
    #[serde(default = "sixty_four")]
    pub hop_limit: u8,
    /// Differentiated services code point, 0 to 63.
    #[serde(default)]
    pub dscp: u8,
    /// Bytes of the IP packet.
    #[serde(default = "hundred")]
    pub length: u16,
    /// IPv4 Don't Fragment.
    #[serde(default)]
    pub dont_fragment: bool,
    /// Where a fragment begins in its datagram, in bytes: a multiple of eight.
    #[serde(default)]
    pub fragment_offset: u16,
    /// Whether more fragments follow.
    #[serde(default)]
    pub more_fragments: bool,
    /// Whom the frame is addressed to on the link.
    #[serde(default)]
    pub link: LinkDestination,
    /// How it stands to its connection; left out, as the dataplane knows the connection, and if it
    /// knows none, as a first packet.
    #[serde(default)]
    pub state: Option<Standing>,
    /// What the dataplane remembers of its connection: filled in by who asks the dataplane.
    #[serde(skip)]
    pub flow: Remembered,
}

/// What the dataplane remembers of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Remembered {
    /// It was not asked.
    #[default]
    Unasked,
    /// Nothing.
    Absent,
    /// It has the connection: a packet of it like this one would be in this state.
    Present(Standing),
}

/// Whom a frame is addressed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkDestination {
    /// The router's own link address.
    #[default]
    Router,
    /// Everybody.
    Broadcast,
    /// A group.
    Multicast,
}

fn sixty_four() -> u8 {
    64
}

fn hundred() -> u16 {
    100
}

impl Query {
    pub(super) fn family(&self) -> Family {
        if self.src.is_ipv4() { Family::Inet } else { Family::Inet6 }
    }

    /// What cannot be asked.
    pub(super) fn check(&self) -> Result<(), ExplainError> {
        if self.src.is_ipv4() != self.dst.is_ipv4() {
            return Err(ExplainError::MixedFamilies { src: self.src, dst: self.dst });
        }
        if !self.fragment_offset.is_multiple_of(8) {
            return Err(ExplainError::FragmentOffset(self.fragment_offset));
        }
        if self.dscp > 63 {
            return Err(ExplainError::Dscp(self.dscp));
        }
        Ok(())
    }

    /// The frame as an untagged one, with a payload of zeros.
    pub(super) fn frame(&self) -> Vec<u8> {
        let mut headers = [0; ethernet::HEADER + ipv6::HEADER + FRAGMENT_HEADER + TRANSPORT];
        let (_, packet) = headers.split_at_mut(ethernet::HEADER);
        let transport = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let (ip, transport) = packet.split_at_mut(ipv4::HEADER);
                self.write_ipv4(ip, src.octets(), dst.octets());
                transport
            }
            _ => {
                let (ip, rest) = packet.split_at_mut(ipv6::HEADER);
                let next = self.write_ipv6(ip);
                match self.is_fragment() {
                    true => {
                        let (extension, transport) = rest.split_at_mut(FRAGMENT_HEADER);
                        extension[0] = next;
                        let field = self.fragment_offset | u16::from(self.more_fragments);
                        extension[2..4].copy_from_slice(&field.to_be_bytes());
                        transport
                    }
                    false => rest,
                }
            }
        };
        if self.fragment_offset == 0 {
            self.write_transport(transport);
        }
        let mut frame = vec![0; ethernet::HEADER + usize::from(self.length)];
        let copied = headers.len().min(frame.len());
        frame[..copied].copy_from_slice(&headers[..copied]);
        frame
    }

    /// What the workers' decoder makes of the frame.
    pub(super) fn decode(
        &self,
        frame: &[u8],
        ingress: &Interface,
    ) -> Result<Descriptor, Malformed> {
        let decode = match self.family() {
            Family::Inet => decode::ipv4,
            Family::Inet6 => decode::ipv6,
        };
        let mut descriptor = decode(frame, ethernet::HEADER, frame.len(), ingress.mtu)?;
        descriptor.ingress = ingress.id.0;
        descriptor.flags |= match self.link {
            LinkDestination::Router => DescriptorFlags::empty(),
            LinkDestination::Broadcast => DescriptorFlags::LINK_BROADCAST,
            LinkDestination::Multicast => DescriptorFlags::LINK_MULTICAST,
        };
        Ok(descriptor)
    }

    fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset > 0
    }

    fn write_ipv4(&self, ip: &mut [u8], src: [u8; 4], dst: [u8; 4]) {
        let mut fragment = self.fragment_offset / 8;
        if self.dont_fragment {
            fragment |= ipv4::DONT_FRAGMENT;
        }
        if self.more_fragments {
            fragment |= ipv4::MORE_FRAGMENTS;
        }
        ip[0] = 0x45;
        ip[1] = self.dscp << 2;
        ip[2..4].copy_from_slice(&self.length.to_be_bytes());
        ip[6..8].copy_from_slice(&fragment.to_be_bytes());
        ip[8] = self.hop_limit;
        ip[9] = self.protocol;
        ip[12..16].copy_from_slice(&src);
        ip[16..20].copy_from_slice(&dst);
        let sum = checksum::ipv4_header(ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    /// Returns the protocol that the next header is to name.
    fn write_ipv6(&self, ip: &mut [u8]) -> u8 {
        let payload = usize::from(self.length).saturating_sub(ipv6::HEADER) as u16;
        let class = u16::from(self.dscp) << 6;
        ip[..2].copy_from_slice(&(0x6000 | class).to_be_bytes());
        ip[4..6].copy_from_slice(&payload.to_be_bytes());
        ip[6] = if self.is_fragment() { protocol::FRAGMENT } else { self.protocol };
        ip[7] = self.hop_limit;
        ip[8..24].copy_from_slice(&number_of(self.src).to_be_bytes());
        ip[24..40].copy_from_slice(&number_of(self.dst).to_be_bytes());
        self.protocol
    }

    fn write_transport(&self, transport: &mut [u8]) {
        match self.protocol {
            protocol::ICMP | protocol::ICMPV6 => {
                transport[0] = self.icmp_type;
                transport[1] = self.icmp_code;
                transport[4..6].copy_from_slice(&self.src_port.to_be_bytes());
            }
            protocol::TCP
            | protocol::UDP
            | protocol::UDP_LITE
            | protocol::SCTP
            | protocol::DCCP => {
                transport[..2].copy_from_slice(&self.src_port.to_be_bytes());
                transport[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
                if self.protocol == protocol::TCP {
                    transport[12] = (tcp::HEADER as u8 / 4) << 4;
                    transport[13] = self.tcp_flags;
                }
            }
            _ => {}
        }
    }
}

/// Bytes of an IPv6 fragment header.
const FRAGMENT_HEADER: usize = 8;
/// Bytes of the longest layer-4 header that is written, TCP's.
const TRANSPORT: usize = tcp::HEADER;

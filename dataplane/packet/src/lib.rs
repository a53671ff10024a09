//! Zero-copy views of packet headers, the descriptor and flow key that decoding yields, and
//! Internet checksums. No DPDK: everything works on byte slices.
//!
//! * [`decode`] turns a frame into a [`Descriptor`]: all that policy may look at, in one cache
//!   line. Malformed input is a named [`Malformed`], never a panic.
//! * [`checksum`] computes, updates (RFC 1624) and completes Internet checksums.
//! * [`segment`] and [`quoted`] read what the connection tracker asks beyond that: sequence numbers,
//!   and the packet that an ICMP error is about.
//! * [`build`] writes the packets that a router originates: ARP, neighbour discovery, ICMP and
//!   ICMPv6 errors, echo replies, TCP resets.
//! * [`pieces`] cuts an IPv4 packet into fragments.
//! * The other modules are views of one protocol each, made with `zerocopy`.
//!
//! Nothing here allocates, and nothing here panics whatever the bytes are.

#![forbid(unsafe_code)]

pub mod arp;
pub mod build;
pub mod checksum;
pub mod consulted;
pub mod decode;
pub mod descriptor;
pub mod ethernet;
pub mod fragment;
pub mod icmp;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod malformed;
pub mod mask;
pub mod nd;
pub mod pieces;
pub mod protocol;
pub mod quoted;
pub mod segment;
pub mod tcp;
pub mod udp;
pub mod vlan;

pub use consulted::Consulted;
pub use descriptor::{ConnectionState, Descriptor, DescriptorFlags, Family, FlowKey, Fragment};
pub use malformed::Malformed;
pub use mask::Mask;
pub use quoted::Quoted;
pub use segment::TcpSegment;

//! What a program sees of a packet: one block of memory, to which its register 1 points.
//!
//! The packet's own buffer is out of its reach: it is shown a copy of the first bytes, and what it
//! changes of them is copied back. A copy of what a program does not look at is not made
//! ([`Uses`](crate::Uses)).

use std::mem::offset_of;
use std::ops::Range as Bytes;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Numbers that an operator can give to a program.
pub const SETTINGS: usize = 8;

/// Numbers that a program keeps from packet to packet.
pub const MEMORY: usize = 32;

/// Bytes of the packet that a program can look at without a call.
pub const WINDOW: usize = 256;

/// `struct sluice_packet` of the header. Numbers are in the machine's byte order.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct View {
    /// Upper half of an IPv6 source address; 0 for IPv4.
    pub src_high: u64,
    /// Lower half of it, or the IPv4 source address.
    pub src_low: u64,
    /// Upper half of an IPv6 destination address; 0 for IPv4.
    pub dst_high: u64,
    /// Lower half of it, or the IPv4 destination address.
    pub dst_low: u64,
    /// Source port, or 0.
    pub src_port: u16,
    /// Destination port, or 0.
    pub dst_port: u16,
    /// Protocol number of the layer-4 header.
    pub protocol: u8,
    /// 4 or 6; 0 for ARP.
    pub family: u8,
    /// 0 for a whole datagram, 1 for a first fragment, 2 for a later one.
    pub fragment: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// TOS or traffic class.
    pub traffic_class: u8,
    /// Bytes from the IP header to the layer-4 header.
    pub l4_offset: u16,
    /// Yes-or-no facts: the bits of the decoder's flags.
    pub flags: u8,
    /// What the connection tracker says.
    pub state: u8,
    /// Bytes of the packet from the IP header on.
    pub length: u32,
    /// Number of the interface it came in by, plus 1; 0 where there is none.
    pub ingress: u32,
    /// Number of the interface it is to leave by, plus 1; 0 where there is none.
    pub egress: u32,
    /// Number of the instance.
    pub instance: u32,
    /// The event.
    pub event: u32,
    /// How many of `data` are the packet's.
    pub window: u32,
    /// Time, in nanoseconds since some moment.
    pub now: u64,
    /// What the operator has set.
    pub settings: [u64; SETTINGS],
    /// What the program keeps, on each worker for itself. All 0 at first.
    pub memory: [u64; MEMORY],
    /// The first bytes of the packet, from the IP header on; 0 behind its end.
    pub data: [u8; WINDOW],
}

impl View {
    /// A view of nothing.
    #[must_use]
    pub fn new() -> Box<View> {
        Box::new(View::new_zeroed())
    }
}

/// A part of the view, and what may be done to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// What is known of the packet: to be read.
    Facts,
    /// What the operator has set: to be read.
    Settings,
    /// What the program keeps.
    Memory,
    /// The packet's bytes.
    Data,
}

impl Part {
    pub(crate) const ALL: [Part; 4] = [Part::Facts, Part::Settings, Part::Memory, Part::Data];

    /// Where it is.
    pub(crate) const fn bytes(self) -> Bytes<usize> {
        match self {
            Part::Facts => 0..offset_of!(View, settings),
            Part::Settings => offset_of!(View, settings)..offset_of!(View, memory),
            Part::Memory => offset_of!(View, memory)..offset_of!(View, data),
            Part::Data => offset_of!(View, data)..size_of::<View>(),
        }
    }

    /// Whether a program may write there.
    pub(crate) const fn is_writable(self) -> bool {
        matches!(self, Part::Memory | Part::Data)
    }
}

// The header says the same: `include/sluice/bpf.h`.
const _: () = {
    assert!(offset_of!(View, src_port) == 32);
    assert!(offset_of!(View, l4_offset) == 44);
    assert!(offset_of!(View, length) == 48);
    assert!(offset_of!(View, now) == 72);
    assert!(offset_of!(View, settings) == 80);
    assert!(offset_of!(View, memory) == 144);
    assert!(offset_of!(View, data) == 400);
    assert!(size_of::<View>() == 656);
};

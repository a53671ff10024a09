//! Packets as decoding leaves them, of flows drawn at random or one after another.

use std::hint::black_box;
use std::time::Duration;

use sluice_flow::{Inserted, Strictness, Table};
use sluice_packet::{Descriptor, Family, FlowKey, TcpSegment, protocol, tcp};

use super::{BURST, BURSTS, cpu_time};

/// What the packets are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UDP of known flows.
    Udp,
    /// UDP over IPv6 of known flows.
    Udp6,
    /// TCP of known flows.
    Tcp,
    /// UDP, each packet another flow.
    NewUdp,
    /// SYNs, each of another flow.
    NewTcp,
    /// SYNs of flows that all meet in two buckets.
    Attack,
}

/// A stream of packets.
pub struct Traffic {
    kind: Kind,
    flows: u32,
    random: u64,
    next: u32,
    burst: Box<Burst>,
    /// The flows of an attack.
    aimed: Vec<u32>,
}

/// A burst with what is read of TCP.
pub struct Burst {
    pub descriptors: [Descriptor; BURST],
    segment: Option<TcpSegment>,
}

impl Burst {
    pub fn segment(&self, _: usize) -> Option<&TcpSegment> {
        self.segment.as_ref()
    }

    /// As much as any contender looks at every packet.
    pub fn sum(&self) -> u64 {
        self.descriptors.iter().map(|d| u64::from(d.key.src_port)).sum()
    }
}

impl Traffic {
    pub fn new(kind: Kind, flows: u32) -> Traffic {
        let is_tcp = matches!(kind, Kind::Tcp | Kind::NewTcp | Kind::Attack);
        let flags = if kind == Kind::Tcp { tcp::ACK } else { tcp::SYN };
        let own = TcpSegment {
            sequence: 1,
            acknowledgement: 1,
            window: 1000,
            flags,
            ..TcpSegment::default()
        };
        let burst =
            Burst { descriptors: [Descriptor::default(); BURST], segment: is_tcp.then_some(own) };
        Traffic { kind, flows, random: 1, next: 0, burst: Box::new(burst), aimed: Vec::new() }
    }

    /// Chooses flows that meet in two buckets of this table.
    pub fn aim_at(mut self, table: &Table) -> Traffic {
        self.aimed = aim(table);
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Puts a flow into the table, answered and open.
    pub fn begin(&self, table: &mut Table, flow: u32) -> Option<Inserted> {
        let mut d = Descriptor::default();
        write(&mut d, self.kind, flow);
        let mut back = d;
        std::mem::swap(&mut back.key.src, &mut back.key.dst);
        std::mem::swap(&mut back.key.src_port, &mut back.key.dst_port);
        let segment = |sequence, acknowledgement, flags| {
            Some(TcpSegment {
                sequence,
                acknowledgement,
                window: 1000,
                flags,
                ..TcpSegment::default()
            })
        };
        let syn = segment(0, 0, tcp::SYN);
        let inserted = table.insert(&d, 0, syn.as_ref(), 0)?;
        let answer = segment(0, 1, tcp::SYN | tcp::ACK);
        table.track(inserted.id.other(), &back, answer.as_ref(), Strictness::Strict, 0);
        table.track(inserted.id, &d, segment(1, 1, tcp::ACK).as_ref(), Strictness::Strict, 0);
        Some(inserted)
    }

    /// One round of bursts, each of which `work` takes.
    pub fn round(&mut self, mut work: impl FnMut(&Burst) -> u64) -> Duration {
        let began = cpu_time();
        let mut sum = 0_u64;
        for _ in 0..BURSTS {
            for slot in 0..BURST {
                let flow = match self.kind {
                    Kind::NewUdp | Kind::NewTcp | Kind::Attack => {
                        self.next = self.next.wrapping_add(1);
                        let aimed = self.aimed.get(self.next as usize % self.aimed.len().max(1));
                        aimed.copied().unwrap_or(self.next)
                    }
                    _ => {
                        // Knuth's MMIX; the upper bits choose.
                        self.random = self
                            .random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        (((self.random >> 32) * u64::from(self.flows)) >> 32) as u32
                    }
                };
                let mut d = Descriptor::default();
                write(&mut d, self.kind, flow);
                self.burst.descriptors[slot] = d;
            }
            sum = sum.wrapping_add(work(black_box(&self.burst)));
        }
        black_box(sum);
        cpu_time() - began
    }
}

/// Flows whose keys meet in both buckets of this table: as many as an evening's search may find.
fn aim(table: &Table) -> Vec<u32> {
    const FLOWS: usize = 64;
    let mut d = Descriptor::default();
    let mut buckets = |flow| {
        write(&mut d, Kind::Attack, flow);
        table.buckets_of(&d, 0)
    };
    let target = buckets(0);
    (0..u32::MAX).filter(|&flow| buckets(flow) == target).take(FLOWS).collect()
}

#[inline(always)]
fn write(d: &mut Descriptor, kind: Kind, flow: u32) {
    const SITE: u128 = 0x2001_0db8 << 96;
    let (src, dst, family) = match kind {
        Kind::Udp6 => (SITE | u128::from(flow), SITE | 1 << 64, Family::Inet6),
        _ => (u128::from(0x0a00_0000 ^ flow), 0x0808_0808, Family::Inet),
    };
    let protocol = match kind {
        Kind::Udp | Kind::Udp6 | Kind::NewUdp => protocol::UDP,
        Kind::Tcp | Kind::NewTcp | Kind::Attack => protocol::TCP,
    };
    let (src_port, dst_port) = (1024 + (flow & 0x3fff) as u16, 53);
    d.key = FlowKey { src, dst, src_port, dst_port, protocol, family };
    d.l3_length = 46;
    if protocol == protocol::TCP {
        d.tcp_flags = if kind == Kind::Tcp { tcp::ACK } else { tcp::SYN };
    }
}

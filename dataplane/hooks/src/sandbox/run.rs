//! A program on one worker.

use std::sync::Arc;

use sluice_dpdk::bpf::{Frame, Host, Program};
use sluice_dpdk::tsc_hz;
use sluice_policy::DropReason;
use sluice_sandbox::{Helper, Uses, View, WINDOW};

use super::settings::Set;
use super::table::Table;
use crate::context::Context;
use crate::hook::{PacketHook, Verdict};
use crate::observer::Observer;
use crate::packet::Packet;

/// A program's answers: `SLUICE_CONTINUE`, `SLUICE_DROP_AS(0)`.
const CONTINUE: u64 = 0;
const DROP_AS: u64 = 0x100;

/// A program, its view and its tables.
pub(super) struct Running {
    program: Arc<Program>,
    uses: Uses,
    /// Counters that it has declared.
    counters: u64,
    frame: Box<Frame>,
    tables: Vec<Table>,
    /// Nanoseconds that a cycle of the time-stamp counter takes, with 32 bits behind the point.
    nanoseconds: u64,
}

/// What a program has asked to be done when it is done.
#[derive(Clone, Copy, Default)]
struct Asked {
    checksums: bool,
    log: bool,
}

/// Answers a program's calls over one packet.
struct Surroundings<'a, 'c> {
    cx: &'a Context<'c>,
    packet: &'a Packet<'a>,
    tables: &'a mut [Table],
    asked: Asked,
}

impl Host for Surroundings<'_, '_> {
    fn call(&mut self, helper: Helper, [a, b, c, d]: [u64; 4]) -> u64 {
        if let Helper::Lookup | Helper::Store | Helper::Add | Helper::Remove = helper {
            let table = usize::try_from(a).ok().and_then(|table| self.tables.get_mut(table));
            let (Some(table), key) = (table, (b, c)) else { return 0 };
            return match helper {
                Helper::Lookup => table.get(key).unwrap_or(0),
                Helper::Store => table.store(key, d).into(),
                Helper::Add => table.change(key, |was| was.wrapping_add(d)).unwrap_or(0),
                _ => table.remove(key).into(),
            };
        }
        match helper {
            Helper::Count => {
                if let Ok(counter) = usize::try_from(a) {
                    self.cx.count(counter, b);
                }
                0
            }
            Helper::Load => {
                let mut number = [0; 8];
                let (Ok(offset), 1..=8) = (usize::try_from(a), b) else { return 0 };
                // Further than any packet is long.
                if offset > usize::from(u16::MAX) {
                    return 0;
                }
                match self.packet.read(offset, &mut number[8 - b as usize..]) {
                    Ok(()) => u64::from_be_bytes(number),
                    Err(_) => 0,
                }
            }
            Helper::Checksums => {
                self.asked.checksums = true;
                0
            }
            _ => {
                self.asked.log = true;
                0
            }
        }
    }
}

impl Running {
    pub(super) fn new(program: Arc<Program>, uses: Uses, counters: usize, set: &Set) -> Running {
        let mut frame = Frame::new();
        frame.view_mut().settings = set.numbers;
        let tables = set.tables.clone();
        let nanoseconds = (u128::from(1_000_000_000_u64) << 32) / u128::from(tsc_hz().max(1));
        let counters = counters as u64;
        Running { program, uses, counters, frame, tables, nanoseconds: nanoseconds as u64 }
    }

    /// Runs over a packet; what the view is to hold of it is put there.
    #[inline]
    fn run(&mut self, cx: &Context<'_>, packet: &Packet<'_>) -> (u64, Asked) {
        let view = self.frame.view_mut();
        if self.uses.facts {
            facts(view, cx, packet, self.nanoseconds);
        }
        if self.uses.window > 0 {
            window(&mut view.data[..self.uses.window], packet);
        }
        let (tables, asked) = (&mut *self.tables, Asked::default());
        let mut host = Surroundings { cx, packet, tables, asked };
        let answer = self.program.run(&mut self.frame, &mut host);
        (answer, host.asked)
    }

    /// Puts what the program has changed of the packet's bytes into the packet.
    fn write_back(&self, packet: &mut Packet<'_>) {
        let seen = self.uses.window.min(packet.length());
        let data = &self.frame.view().data[..seen];
        let mut before = [0; WINDOW];
        let before = &mut before[..seen];
        if packet.read(0, before).is_ok() && before != data {
            // It is as long as what was read a moment ago.
            let _ = packet.write(0, data);
        }
    }
}

impl PacketHook for Running {
    fn packet(&mut self, cx: &mut Context<'_>, mut packet: Packet<'_>) -> Verdict {
        let (answer, asked) = self.run(cx, &packet);
        if asked.log {
            cx.log(packet.descriptor());
        }
        match answer {
            CONTINUE => {
                if self.uses.changes {
                    self.write_back(&mut packet);
                }
                if asked.checksums {
                    // What is no packet any more is dropped by name when it is decoded again.
                    let _ = packet.write_checksums();
                }
                Verdict::Continue
            }
            counter if (DROP_AS..DROP_AS + self.counters).contains(&counter) => {
                Verdict::DropAs((counter - DROP_AS) as usize)
            }
            _ => Verdict::Drop(DropReason::HookDropped),
        }
    }
}

impl Observer for Running {
    fn observe(&mut self, cx: &Context<'_>, packet: &Packet<'_>) {
        self.run(cx, packet);
    }
}

/// Fills in what is known of a packet.
#[inline]
fn facts(view: &mut View, cx: &Context<'_>, packet: &Packet<'_>, nanoseconds: u64) {
    let d = packet.descriptor();
    let key = &d.key;
    (view.src_high, view.src_low) = ((key.src >> 64) as u64, key.src as u64);
    (view.dst_high, view.dst_low) = ((key.dst >> 64) as u64, key.dst as u64);
    (view.src_port, view.dst_port) = (key.src_port, key.dst_port);
    view.protocol = key.protocol;
    view.family = if packet.protocol() == crate::Protocol::Arp { 0 } else { key.family as u8 };
    view.fragment = d.fragment as u8;
    view.tcp_flags = d.tcp_flags;
    (view.icmp_type, view.icmp_code) = (d.icmp_type, d.icmp_code);
    view.hop_limit = d.hop_limit;
    view.traffic_class = d.traffic_class;
    view.l4_offset = d.l4_offset;
    view.flags = d.flags.bits();
    view.state = d.state as u8;
    let length = packet.length();
    view.length = length as u32;
    view.window = length.min(WINDOW) as u32;
    let numbered =
        |interface: Option<crate::InterfaceId>| interface.map_or(0, |i| u32::from(i.0) + 1);
    view.ingress = numbered(packet.ingress());
    view.egress = numbered(packet.egress());
    view.instance = cx.instance.id.index() as u32;
    view.event = cx.event as u32;
    view.now = ((u128::from(cx.now) * u128::from(nanoseconds)) >> 32) as u64;
}

/// Copies a packet's first bytes; what is behind its end is 0.
#[inline]
fn window(data: &mut [u8], packet: &Packet<'_>) {
    let length = packet.length().min(data.len());
    let (copied, beyond) = data.split_at_mut(length);
    match packet.bytes().get(..length) {
        Some(bytes) => copied.copy_from_slice(bytes),
        // Over several segments.
        None => drop(packet.read(0, copied)),
    }
    beyond.fill(0);
}

//! The C interface of hooks: what `include/sluice/hook.h` says, which is made of this file.
//!
//! The names are C's. What an object is handed begins with the address of a table of functions
//! (`struct sluice_calls`), so that it needs no symbol of the dataplane. Within one version, fields and
//! functions are only added at the end; anything else is another version.
#![allow(non_camel_case_types)]

use std::ffi::{CStr, c_char, c_void};

/// What a hook's file exports: a `struct sluice_hook_program`.
pub const PROGRAM_SYMBOL: &CStr = c"sluice_hook_program";
/// What a module's file exports.
pub const MODULE_SYMBOL: &CStr = c"sluice_module_init";

/// The version of this interface.
pub const SLUICE_HOOK_ABI: u32 = 1;

/// The packet goes on to the next hook.
pub const SLUICE_CONTINUE: u32 = 0;
/// The packet is dropped.
pub const SLUICE_DROP: u32 = 1;
/// The packet's way ends here without being a drop.
pub const SLUICE_CONSUMED: u32 = 2;
/// The packet is dropped, and the counter at place N of `counters`, which is the reason, counts it:
/// return `SLUICE_DROP_AS + N`.
pub const SLUICE_DROP_AS: u32 = 16;

/// Events, as bits of `events` and as `event()` answers.
pub const SLUICE_OBSERVING: u32 = 1;
/// Received and valid.
pub const SLUICE_PHYSICAL_IN: u32 = 2;
/// Came from another instance.
pub const SLUICE_LOOPBACK_IN: u32 = 4;
/// Goes to another instance.
pub const SLUICE_LOOPBACK_OUT: u32 = 8;
/// The next hop is chosen.
pub const SLUICE_ROUTE_DECISION: u32 = 16;
/// In by one interface, out by another.
pub const SLUICE_FORWARDING: u32 = 32;
/// Just before the port.
pub const SLUICE_PHYSICAL_OUT: u32 = 64;

/// Protocols, as `protocol()` answers.
pub const SLUICE_INET: u32 = 4;
/// IPv6.
pub const SLUICE_INET6: u32 = 6;
/// ARP.
pub const SLUICE_ARP: u32 = 1;

/// `flags` of a program: it changes nothing and decides nothing. OBSERVING takes no other.
pub const SLUICE_READ_ONLY: u32 = 1;
/// `flags` of a program: the first packet of each direction of a flow is enough.
pub const SLUICE_FIRST_OF_FLOW: u32 = 2;

/// No interface.
pub const SLUICE_NO_INTERFACE: i32 = -1;

/// Not so many bytes.
pub const SLUICE_SHORT: i32 = -1;
/// No room for so many bytes.
pub const SLUICE_NO_ROOM: i32 = -2;
/// The packet is only to be looked at, or has been taken.
pub const SLUICE_READ_ONLY_PACKET: i32 = -3;
/// There is none.
pub const SLUICE_NOT_FOUND: i32 = -4;
/// An argument is not what it can be.
pub const SLUICE_INVALID: i32 = -5;
/// Too many wait.
pub const SLUICE_FULL: i32 = -6;
/// The address is no packet's that this file holds: it was given back, or never lent.
pub const SLUICE_NOT_HELD: i32 = -7;

/// Ways are chosen at ROUTE_DECISION.
pub const SLUICE_NOT_HERE: i32 = -8;
/// No route of the policy leads there.
pub const SLUICE_NO_ROUTE: i32 = -9;
/// Nothing may go that way: its port is down, it is the router itself, or the policy refuses it.
pub const SLUICE_REFUSED: i32 = -10;

/// The most packets that a burst has.
pub const SLUICE_BURST: usize = 64;
/// The bytes of the name of a route's owner, with the 0 that ends it.
pub const SLUICE_OWNER: usize = 24;

/// As if received by the interface.
pub const SLUICE_QUEUE_IN: u32 = 1;
/// As a packet of the router's own.
pub const SLUICE_QUEUE_OUT: u32 = 2;
/// Out of the interface to the next hop, as it is.
pub const SLUICE_DIRECT_OUT: u32 = 3;

/// A packet in a hook's hands, until the hook returns. Byte 0 is the first of its IP header.
#[repr(C)]
pub struct sluice_packet {
    /// What can be done with it.
    pub calls: *const sluice_calls,
}

/// A packet that the hook holds: taken, copied or made. It is the hook's until it is injected, put
/// into another's place or freed; what is left when the file is unloaded is freed and told.
pub type sluice_owned = u64;

/// An address of IPv4 or IPv6.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sluice_address {
    /// 4 or 6; of IPv4, the first four bytes count.
    pub version: u8,
    /// In network order.
    pub bytes: [u8; 16],
}

/// The five-tuple; ports in the host's order.
#[repr(C)]
pub struct sluice_tuple {
    /// Where it comes from.
    pub source: sluice_address,
    /// Where it goes.
    pub destination: sluice_address,
    /// Of TCP, UDP, SCTP and DCCP; the identifier of an ICMP echo; else 0.
    pub source_port: u16,
    /// Of TCP, UDP, SCTP and DCCP; else 0.
    pub destination_port: u16,
    /// The protocol of layer 4.
    pub protocol: u8,
}

/// A route.
#[repr(C)]
pub struct sluice_route {
    /// The first of the destinations that it covers.
    pub prefix: sluice_address,
    /// The bits of `prefix` that count.
    pub length: u8,
    /// The number of its table.
    pub table: i32,
    /// Who put it there (`static`, `bgp`, …), as text that ends with a 0.
    pub owner: [c_char; SLUICE_OWNER],
}

/// A setting that a hook knows.
#[repr(C)]
pub struct sluice_setting {
    /// Its name.
    pub key: *const c_char,
    /// What it means.
    pub help: *const c_char,
}

/// A setting that was given.
#[repr(C)]
pub struct sluice_told {
    /// Its name.
    pub key: *const c_char,
    /// Its value.
    pub value: *const c_char,
}

/// What a hook is told when it is made for a worker.
#[repr(C)]
pub struct sluice_load {
    /// The functions, for what happens outside of a packet's callback.
    pub calls: *const sluice_calls,
    /// This file's, for those functions.
    pub file: *const c_void,
    /// The settings that were given; the last has no key.
    pub settings: *const sluice_told,
    /// The event that it will stand at.
    pub event: u32,
    /// Which object this is, from 0, and how many there are: one for each worker.
    pub worker: u32,
    /// How many there are.
    pub workers: u32,
    /// Where to write why it does not want to be, as text that ends with a 0.
    pub error: *mut c_char,
    /// The bytes that fit there.
    pub error_room: usize,
}

/// A hook: what the file exports as `sluice_hook_program`.
#[repr(C)]
pub struct sluice_hook_program {
    /// SLUICE_HOOK_ABI.
    pub abi: u32,
    /// sizeof(struct sluice_hook_program).
    pub size: u32,
    /// What it calls itself.
    pub name: *const c_char,
    /// What it does, in a line.
    pub summary: *const c_char,
    /// The settings that it knows, the last without a key; NULL for none.
    pub settings: *const sluice_setting,
    /// Names of the counters that it has of its own, the last NULL, at most 7; NULL for none.
    pub counters: *const *const c_char,
    /// The events that it makes sense at.
    pub events: u32,
    /// SLUICE_READ_ONLY, SLUICE_FIRST_OF_FLOW.
    pub flags: u32,
    /// Makes what it keeps for one worker; NULL refuses. It runs on the agent's thread, where it may
    /// allocate. Without it, `context` is NULL.
    pub make: Option<unsafe extern "C" fn(load: *const sluice_load) -> *mut c_void>,
    /// Frees that. It runs on the agent's thread, when the worker has given it back.
    pub drop: Option<unsafe extern "C" fn(context: *mut c_void)>,
    /// Is shown a packet, on the worker's thread: it must not wait, allocate, lock or call the kernel.
    /// NULL where there is a `burst`.
    pub packet:
        Option<unsafe extern "C" fn(context: *mut c_void, packet: *mut sluice_packet) -> u32>,
    /// Is shown up to SLUICE_BURST packets at a time, in place of `packet`. What is to become of
    /// `packets[i]` goes into `verdicts[i]`, where SLUICE_CONTINUE stands already. With
    /// SLUICE_READ_ONLY, they come one by one.
    pub burst: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            packets: *const *mut sluice_packet,
            verdicts: *mut u32,
            count: u32,
        ),
    >,
}

/// What can be done with packets. Functions that return an `int32_t` return 0 or more when it is done.
#[repr(C)]
pub struct sluice_calls {
    /// SLUICE_HOOK_ABI.
    pub abi: u32,
    /// The size of this table.
    pub size: u32,
    /// Cycles a second of `now`.
    pub hertz: u64,
    /// The bytes from the IP header on, as far as they are in the first buffer: all headers are.
    pub bytes: unsafe extern "C" fn(packet: *const sluice_packet, length: *mut usize) -> *const u8,
    /// The same, to be changed: the packet is decoded again when the hook is done. NULL if it is only
    /// to be looked at.
    pub bytes_mut: unsafe extern "C" fn(packet: *mut sluice_packet, length: *mut usize) -> *mut u8,
    /// Bytes of the packet, over all buffers.
    pub length: unsafe extern "C" fn(packet: *const sluice_packet) -> usize,
    /// Copies bytes out, across buffers.
    pub read: unsafe extern "C" fn(
        packet: *const sluice_packet,
        offset: usize,
        out: *mut c_void,
        length: usize,
    ) -> i32,
    /// Copies bytes in, across buffers.
    pub write: unsafe extern "C" fn(
        packet: *mut sluice_packet,
        offset: usize,
        bytes: *const c_void,
        length: usize,
    ) -> i32,
    /// Has the first `length` bytes in the first buffer.
    pub pull_up: unsafe extern "C" fn(packet: *mut sluice_packet, length: usize) -> i32,
    /// Makes it longer in front; the new bytes, or NULL without the room.
    pub push: unsafe extern "C" fn(packet: *mut sluice_packet, length: usize) -> *mut u8,
    /// Cuts bytes off the front.
    pub pop: unsafe extern "C" fn(packet: *mut sluice_packet, length: usize) -> i32,
    /// Makes it longer at the end; the new bytes, or NULL without the room.
    pub append: unsafe extern "C" fn(packet: *mut sluice_packet, length: usize) -> *mut u8,
    /// Cuts it to at most `length` bytes.
    pub truncate: unsafe extern "C" fn(packet: *mut sluice_packet, length: usize) -> i32,
    /// Puts all checksums in anew.
    pub write_checksums: unsafe extern "C" fn(packet: *mut sluice_packet) -> i32,
    /// The event.
    pub event: unsafe extern "C" fn(packet: *const sluice_packet) -> u32,
    /// SLUICE_INET, SLUICE_INET6 or SLUICE_ARP.
    pub protocol: unsafe extern "C" fn(packet: *const sluice_packet) -> u32,
    /// The interface that it came in by, or SLUICE_NO_INTERFACE.
    pub ingress: unsafe extern "C" fn(packet: *const sluice_packet) -> i32,
    /// The interface that it is to leave by, or SLUICE_NO_INTERFACE.
    pub egress: unsafe extern "C" fn(packet: *const sluice_packet) -> i32,
    /// At PHYSICAL_IN: 1 if it was sent to a multicast link address, 2 to the broadcast one.
    pub link_group: unsafe extern "C" fn(packet: *const sluice_packet) -> u32,
    /// The five-tuple; SLUICE_NOT_FOUND for ARP.
    pub tuple: unsafe extern "C" fn(packet: *const sluice_packet, tuple: *mut sluice_tuple) -> i32,
    /// The number that an earlier hook left under a key.
    pub note: unsafe extern "C" fn(packet: *const sluice_packet, key: u32, value: *mut u64) -> i32,
    /// Leaves a number under a key.
    pub set_note: unsafe extern "C" fn(packet: *mut sluice_packet, key: u32, value: u64) -> i32,
    /// The key of a name, or SLUICE_FULL; asked for when the hook is made, and the same in all hooks.
    pub note_key: unsafe extern "C" fn(name: *const c_char) -> i32,
    /// Adds to a counter of the hook's own, by its place.
    pub count: unsafe extern "C" fn(packet: *const sluice_packet, counter: u32, n: u64),
    /// Has the agent write a line about the packet to the log: later, and a few a second.
    pub log: unsafe extern "C" fn(packet: *mut sluice_packet),
    /// The time, in cycles, when the worker took up the burst.
    pub now: unsafe extern "C" fn(packet: *const sluice_packet) -> u64,
    /// The name of an interface of the packet's instance, cut to the room; its length.
    pub interface_name: unsafe extern "C" fn(
        packet: *const sluice_packet,
        interface: i32,
        name: *mut c_char,
        room: usize,
    ) -> i32,
    /// The interface of a name, or SLUICE_NOT_FOUND.
    pub interface_named:
        unsafe extern "C" fn(packet: *const sluice_packet, name: *const c_char) -> i32,
    /// The largest IP packet that an interface takes.
    pub mtu: unsafe extern "C" fn(packet: *const sluice_packet, interface: i32) -> i32,
    /// The interface that the main table leads an address to, and the neighbour there.
    pub route_to: unsafe extern "C" fn(
        packet: *const sluice_packet,
        destination: *const sluice_address,
        next_hop: *mut sluice_address,
    ) -> i32,
    /// Takes the packet away: answer SLUICE_CONSUMED then. NULL when too many are held.
    pub take: unsafe extern "C" fn(packet: *mut sluice_packet) -> *mut sluice_owned,
    /// A copy of the packet; NULL without a buffer.
    pub copy: unsafe extern "C" fn(packet: *const sluice_packet) -> *mut sluice_owned,
    /// A packet of `length` bytes, all 0; NULL without a buffer.
    pub fresh:
        unsafe extern "C" fn(packet: *const sluice_packet, length: usize) -> *mut sluice_owned,
    /// The bytes of a packet that the hook holds, as far as they are in the first buffer.
    pub owned_bytes: unsafe extern "C" fn(
        packet: *const sluice_packet,
        owned: *mut sluice_owned,
        length: *mut usize,
    ) -> *mut u8,
    /// Puts a packet that the hook holds into this one's place; what was there is freed.
    pub replace: unsafe extern "C" fn(packet: *mut sluice_packet, owned: *mut sluice_owned) -> i32,
    /// Puts a packet that the hook holds on its way: SLUICE_QUEUE_IN, SLUICE_QUEUE_OUT or
    /// SLUICE_DIRECT_OUT. Whatever comes of it, the packet is no longer the hook's.
    pub inject: unsafe extern "C" fn(
        packet: *const sluice_packet,
        owned: *mut sluice_owned,
        how: u32,
        interface: i32,
        next_hop: *const sluice_address,
    ) -> i32,
    /// Frees a packet that the hook holds; `file` is `file` of `struct sluice_load`.
    pub free: unsafe extern "C" fn(file: *const c_void, owned: *mut sluice_owned) -> i32,
    /// Which file this is: for `free`.
    pub file: unsafe extern "C" fn(packet: *const sluice_packet) -> *const c_void,
    /// At ROUTE_DECISION: the interface that the packet would leave by as it stands, and the neighbour
    /// there; SLUICE_NOT_FOUND ahead of the decision.
    pub candidate:
        unsafe extern "C" fn(packet: *const sluice_packet, next_hop: *mut sluice_address) -> i32,
    /// The route that leads there; SLUICE_NOT_FOUND where a policy route or a hook said so.
    pub candidate_route:
        unsafe extern "C" fn(packet: *const sluice_packet, route: *mut sluice_route) -> i32,
    /// Sends the packet by the gateway at `via`, by `interface` or (SLUICE_NO_INTERFACE) the one in
    /// whose network it lies; with NULL to its destination on the interface's link. The gateway has to
    /// be one that some route leads to.
    pub choose_next_hop: unsafe extern "C" fn(
        packet: *mut sluice_packet,
        via: *const sluice_address,
        interface: i32,
    ) -> i32,
    /// Sends the packet where another table of its instance leads it.
    pub choose_table: unsafe extern "C" fn(packet: *mut sluice_packet, table: i32) -> i32,
    /// The number of a table of the packet's instance, or SLUICE_NOT_FOUND. It may be another in the
    /// next generation.
    pub table_named: unsafe extern "C" fn(packet: *const sluice_packet, name: *const c_char) -> i32,
}

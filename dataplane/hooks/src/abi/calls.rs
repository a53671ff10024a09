//! The functions that an object is handed: each makes of C's arguments what the safe interface takes,
//! and of its answer a number or an address.
//!
//! Every function but `note_key` and `free` is given the packet that a callback was given, and is
//! called before the callback returns, on its thread: that is what their `unsafe` rests on, beside
//! pointers and lengths that belong together.

use std::ffi::{CStr, c_char, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::slice;
use std::sync::OnceLock;

use sluice_dpdk::tsc_hz;
use sluice_policy::{InterfaceId, Protocol};

use super::choice::{candidate, candidate_route, choose_next_hop, choose_table, table_named};
use super::hand::{Hand, Shared, hand, hand_mut};
use super::hook::bit;
use super::types::*;
use crate::inject::{InjectError, Injection};
use crate::metadata::{Metadata, MetadataKey, SLOTS};
use crate::packet::{LinkGroup, OwnedPacket, Packet, PacketError};

/// No packet is longer, so that no sum of two such lengths overflows.
const LONGEST: usize = u16::MAX as usize;

fn number(error: PacketError) -> i32 {
    match error {
        PacketError::Short { .. } => SLUICE_SHORT,
        PacketError::Headroom { .. } | PacketError::Tailroom { .. } => SLUICE_NO_ROOM,
    }
}

fn done(result: Result<(), PacketError>) -> i32 {
    result.map_or_else(number, |()| 0)
}

fn interface(id: Option<InterfaceId>) -> i32 {
    id.map_or(SLUICE_NO_INTERFACE, |id| i32::from(id.0))
}

pub(super) fn interface_of(number: i32) -> Option<InterfaceId> {
    u16::try_from(number).ok().map(InterfaceId)
}

pub(super) fn address(ip: IpAddr) -> sluice_address {
    let mut bytes = [0; 16];
    let version = match ip {
        IpAddr::V4(ip) => {
            bytes[..4].copy_from_slice(&ip.octets());
            4
        }
        IpAddr::V6(ip) => {
            bytes = ip.octets();
            6
        }
    };
    sluice_address { version, bytes }
}

/// # Safety
/// It is NULL or an address.
pub(super) unsafe fn ip(address: *const sluice_address) -> Option<IpAddr> {
    // SAFETY: by the contract.
    let address = unsafe { address.as_ref() }?;
    match (address.version, address.bytes) {
        (4, [a, b, c, d, ..]) => Some(Ipv4Addr::new(a, b, c, d).into()),
        (6, bytes) => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

/// What a function answers that changes the packet, if it can.
///
/// # Safety
/// As [`hand_mut`].
unsafe fn changed(
    packet: *mut sluice_packet,
    change: impl FnOnce(&mut Packet<'_>) -> Result<(), PacketError>,
) -> i32 {
    // SAFETY: by the contract.
    unsafe { hand_mut(packet) }.change(change).map_or(SLUICE_READ_ONLY_PACKET, done)
}

unsafe extern "C" fn bytes(packet: *const sluice_packet, length: *mut usize) -> *const u8 {
    // SAFETY: by the contract of the module.
    let (hand, length) = unsafe { (hand(packet), length.as_mut()) };
    let place = |packet: &Packet<'_>| (packet.bytes().as_ptr(), packet.bytes().len());
    let (bytes, count) = hand.look(place).unwrap_or((std::ptr::null(), 0));
    if let Some(length) = length {
        *length = count;
    }
    bytes
}

unsafe extern "C" fn bytes_mut(packet: *mut sluice_packet, length: *mut usize) -> *mut u8 {
    // SAFETY: by the contract of the module.
    let (hand, length) = unsafe { (hand_mut(packet), length.as_mut()) };
    let place = |packet: &mut Packet<'_>| {
        let bytes = packet.bytes_mut();
        (bytes.as_mut_ptr(), bytes.len())
    };
    let (bytes, count) = hand.change(place).unwrap_or((std::ptr::null_mut(), 0));
    if let Some(length) = length {
        *length = count;
    }
    bytes
}

unsafe extern "C" fn length(packet: *const sluice_packet) -> usize {
    // SAFETY: by the contract of the module.
    unsafe { hand(packet) }.look(|packet| packet.length()).unwrap_or(0)
}

unsafe extern "C" fn read(
    packet: *const sluice_packet,
    offset: usize,
    out: *mut c_void,
    length: usize,
) -> i32 {
    if offset > LONGEST || length > LONGEST {
        return SLUICE_SHORT;
    }
    if out.is_null() {
        return SLUICE_INVALID;
    }
    // SAFETY: by the contract of the module; C has no slices, and vouches that these bytes are its.
    let (hand, out) = unsafe { (hand(packet), slice::from_raw_parts_mut(out.cast(), length)) };
    hand.look(|packet| packet.read(offset, out)).map_or(SLUICE_READ_ONLY_PACKET, done)
}

unsafe extern "C" fn write(
    packet: *mut sluice_packet,
    offset: usize,
    bytes: *const c_void,
    length: usize,
) -> i32 {
    if offset > LONGEST || length > LONGEST {
        return SLUICE_SHORT;
    }
    if bytes.is_null() {
        return SLUICE_INVALID;
    }
    // SAFETY: as in `read`.
    let bytes = unsafe { slice::from_raw_parts(bytes.cast(), length) };
    // SAFETY: by the contract of the module.
    unsafe { changed(packet, |packet| packet.write(offset, bytes)) }
}

unsafe extern "C" fn pull_up(packet: *mut sluice_packet, length: usize) -> i32 {
    // SAFETY: by the contract of the module.
    unsafe { changed(packet, |packet| packet.pull_up(length.min(LONGEST + 1))) }
}

unsafe extern "C" fn push(packet: *mut sluice_packet, length: usize) -> *mut u8 {
    // SAFETY: by the contract of the module.
    let hand = unsafe { hand_mut(packet) };
    let room = hand.change(|packet| {
        let room = packet.push(length.min(LONGEST)).ok()?;
        (room.len() == length).then_some(room.as_mut_ptr())
    });
    room.flatten().unwrap_or(std::ptr::null_mut())
}

unsafe extern "C" fn pop(packet: *mut sluice_packet, length: usize) -> i32 {
    // SAFETY: by the contract of the module.
    unsafe { changed(packet, |packet| packet.pop(length)) }
}

unsafe extern "C" fn append(packet: *mut sluice_packet, length: usize) -> *mut u8 {
    // SAFETY: by the contract of the module.
    let hand = unsafe { hand_mut(packet) };
    let room = hand.change(|packet| packet.append(length).ok().map(<[u8]>::as_mut_ptr));
    room.flatten().unwrap_or(std::ptr::null_mut())
}

unsafe extern "C" fn truncate(packet: *mut sluice_packet, length: usize) -> i32 {
    let cut = |packet: &mut Packet<'_>| {
        packet.truncate(length.min(LONGEST));
        Ok(())
    };
    // SAFETY: by the contract of the module.
    unsafe { changed(packet, cut) }
}

unsafe extern "C" fn write_checksums(packet: *mut sluice_packet) -> i32 {
    // SAFETY: by the contract of the module.
    let written = unsafe { hand_mut(packet) }.change(|packet| packet.write_checksums().is_ok());
    match written {
        Some(true) => 0,
        Some(false) => SLUICE_INVALID,
        None => SLUICE_READ_ONLY_PACKET,
    }
}

unsafe extern "C" fn event(packet: *const sluice_packet) -> u32 {
    // SAFETY: by the contract of the module.
    bit(unsafe { hand(packet) }.cx().event)
}

unsafe extern "C" fn protocol(packet: *const sluice_packet) -> u32 {
    // SAFETY: by the contract of the module.
    match unsafe { hand(packet) }.look(|packet| packet.protocol()) {
        Some(Protocol::Inet) => SLUICE_INET,
        Some(Protocol::Inet6) => SLUICE_INET6,
        Some(Protocol::Arp) => SLUICE_ARP,
        _ => 0,
    }
}

unsafe extern "C" fn ingress(packet: *const sluice_packet) -> i32 {
    // SAFETY: by the contract of the module.
    interface(unsafe { hand(packet) }.look(|packet| packet.ingress()).flatten())
}

unsafe extern "C" fn egress(packet: *const sluice_packet) -> i32 {
    // SAFETY: by the contract of the module.
    interface(unsafe { hand(packet) }.look(|packet| packet.egress()).flatten())
}

unsafe extern "C" fn link_group(packet: *const sluice_packet) -> u32 {
    // SAFETY: by the contract of the module.
    match unsafe { hand(packet) }.look(|packet| packet.link_group()).flatten() {
        None => 0,
        Some(LinkGroup::Multicast) => 1,
        Some(LinkGroup::Broadcast) => 2,
    }
}

unsafe extern "C" fn tuple(packet: *const sluice_packet, tuple: *mut sluice_tuple) -> i32 {
    // SAFETY: by the contract of the module.
    let (hand, tuple) = unsafe { (hand(packet), tuple.as_mut()) };
    let key = |packet: &Packet<'_>| {
        (packet.protocol() != Protocol::Arp).then_some(packet.descriptor().key)
    };
    let (Some(key), Some(tuple)) = (hand.look(key).flatten(), tuple) else {
        return SLUICE_NOT_FOUND;
    };
    *tuple = sluice_tuple {
        source: address(key.src_ip()),
        destination: address(key.dst_ip()),
        source_port: key.src_port,
        destination_port: key.dst_port,
        protocol: key.protocol,
    };
    0
}

fn key(number: u32) -> Option<MetadataKey> {
    u8::try_from(number).ok().filter(|&place| usize::from(place) < SLOTS).map(MetadataKey::at)
}

unsafe extern "C" fn note(packet: *const sluice_packet, number: u32, value: *mut u64) -> i32 {
    // SAFETY: by the contract of the module.
    let (hand, value) = unsafe { (hand(packet), value.as_mut()) };
    let found = hand.look(|packet| packet.note(key(number)?)).flatten();
    match (found, value) {
        (Some(found), Some(value)) => {
            *value = found;
            0
        }
        _ => SLUICE_NOT_FOUND,
    }
}

unsafe extern "C" fn set_note(packet: *mut sluice_packet, number: u32, value: u64) -> i32 {
    let Some(key) = key(number) else { return SLUICE_INVALID };
    let noted = |packet: &mut Packet<'_>| {
        packet.set_note(key, value);
        Ok(())
    };
    // SAFETY: by the contract of the module.
    unsafe { changed(packet, noted) }
}

unsafe extern "C" fn note_key(name: *const c_char) -> i32 {
    if name.is_null() {
        return SLUICE_INVALID;
    }
    // SAFETY: the interface says that it is a text.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    MetadataKey::named(&name).map_or(SLUICE_FULL, |key| i32::from(key.place()))
}

unsafe extern "C" fn count(packet: *const sluice_packet, counter: u32, n: u64) {
    // SAFETY: by the contract of the module.
    unsafe { hand(packet) }.cx().count(counter as usize, n);
}

unsafe extern "C" fn log(packet: *mut sluice_packet) {
    // SAFETY: by the contract of the module.
    let hand = unsafe { hand_mut(packet) };
    let Some(descriptor) = hand.look(|packet| *packet.descriptor()) else { return };
    if let Some(cx) = hand.cx_mut() {
        cx.log(&descriptor);
    }
}

unsafe extern "C" fn now(packet: *const sluice_packet) -> u64 {
    // SAFETY: by the contract of the module.
    unsafe { hand(packet) }.cx().now
}

/// The protocol that questions are asked as: ARP has none of the answers.
fn asked(hand: &Hand) -> Option<Protocol> {
    hand.look(|packet| packet.protocol())
}

unsafe extern "C" fn interface_name(
    packet: *const sluice_packet,
    interface: i32,
    name: *mut c_char,
    room: usize,
) -> i32 {
    // SAFETY: by the contract of the module.
    let hand = unsafe { hand(packet) };
    let (Some(protocol), Some(id)) = (asked(hand), interface_of(interface)) else {
        return SLUICE_NOT_FOUND;
    };
    let Ok(found) = hand.cx().interfaces(protocol).name(id) else { return SLUICE_NOT_FOUND };
    // SAFETY: the interface says that this is the room.
    unsafe { put_text(found, name, room) }
}

/// Writes a text that ends with a 0, cut to the room; its length.
///
/// # Safety
/// There are `room` bytes at `to`, or it is NULL.
pub(super) unsafe fn put_text(text: &str, to: *mut c_char, room: usize) -> i32 {
    if !to.is_null() && room > 0 {
        let fits = text.len().min(room - 1);
        // SAFETY: `fits` and the 0 behind are within the room.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), to.cast(), fits);
            to.add(fits).write(0);
        }
    }
    text.len() as i32
}

unsafe extern "C" fn interface_named(packet: *const sluice_packet, name: *const c_char) -> i32 {
    if name.is_null() {
        return SLUICE_INVALID;
    }
    // SAFETY: by the contract of the module; the name is a text.
    let (hand, name) = unsafe { (hand(packet), CStr::from_ptr(name)) };
    let (Some(protocol), Ok(name)) = (asked(hand), name.to_str()) else { return SLUICE_NOT_FOUND };
    hand.cx().interfaces(protocol).lookup(name).map_or(SLUICE_NOT_FOUND, |id| i32::from(id.0))
}

unsafe extern "C" fn mtu(packet: *const sluice_packet, interface: i32) -> i32 {
    // SAFETY: by the contract of the module.
    let hand = unsafe { hand(packet) };
    let (Some(protocol), Some(id)) = (asked(hand), interface_of(interface)) else {
        return SLUICE_NOT_FOUND;
    };
    hand.cx().interfaces(protocol).mtu(id).map_or(SLUICE_NOT_FOUND, i32::from)
}

unsafe extern "C" fn route_to(
    packet: *const sluice_packet,
    destination: *const sluice_address,
    next_hop: *mut sluice_address,
) -> i32 {
    // SAFETY: by the contract of the module.
    let (hand, destination, next_hop) =
        unsafe { (hand(packet), ip(destination), next_hop.as_mut()) };
    let Some(destination) = destination else { return SLUICE_INVALID };
    let protocol = if destination.is_ipv4() { Protocol::Inet } else { Protocol::Inet6 };
    let Ok(route) = hand.cx().interfaces(protocol).route_to(destination) else {
        return SLUICE_NOT_FOUND;
    };
    if let Some(next_hop) = next_hop {
        *next_hop = address(route.next_hop);
    }
    i32::from(route.interface.0)
}

unsafe extern "C" fn take(packet: *mut sluice_packet) -> *mut sluice_owned {
    // SAFETY: by the contract of the module.
    let hand = unsafe { hand_mut(packet) };
    match hand.take() {
        Some(packet) => hand.lend(packet),
        None => std::ptr::null_mut(),
    }
}

unsafe extern "C" fn copy(packet: *const sluice_packet) -> *mut sluice_owned {
    // SAFETY: by the contract of the module.
    let hand = unsafe { hand(packet) };
    let copy = hand.look(|packet| packet.copy(hand.cx())).flatten();
    copy.map_or(std::ptr::null_mut(), |copy| hand.lend(copy))
}

unsafe extern "C" fn fresh(packet: *const sluice_packet, length: usize) -> *mut sluice_owned {
    // SAFETY: by the contract of the module.
    let hand = unsafe { hand(packet) };
    let Some(mut mbuf) = hand.cx().buffer() else { return std::ptr::null_mut() };
    let Some(room) = mbuf.append(length) else { return std::ptr::null_mut() };
    room.fill(0);
    let (mbuf, metadata) = (mbuf, Metadata::default());
    hand.lend(OwnedPacket { mbuf, metadata })
}

unsafe extern "C" fn owned_bytes(
    packet: *const sluice_packet,
    owned: *mut sluice_owned,
    length: *mut usize,
) -> *mut u8 {
    // SAFETY: by the contract of the module.
    let (hand, length) = unsafe { (hand(packet), length.as_mut()) };
    let found = hand.with_owned(owned, |packet| {
        let bytes = packet.mbuf.data_mut();
        (bytes.as_mut_ptr(), bytes.len())
    });
    let (bytes, count) = found.unwrap_or((std::ptr::null_mut(), 0));
    if let Some(length) = length {
        *length = count;
    }
    bytes
}

unsafe extern "C" fn replace(packet: *mut sluice_packet, owned: *mut sluice_owned) -> i32 {
    // SAFETY: by the contract of the module.
    let hand = unsafe { hand_mut(packet) };
    if hand.change(|_| ()).is_none() {
        return SLUICE_READ_ONLY_PACKET;
    }
    let given = match hand.take_back(owned) {
        Ok(given) => given,
        Err(error) => return error,
    };
    match hand.change(|packet| packet.replace(given)) {
        Some(Ok(_)) => 0,
        Some(Err((_, error))) => number(error),
        None => SLUICE_READ_ONLY_PACKET,
    }
}

unsafe extern "C" fn inject(
    packet: *const sluice_packet,
    owned: *mut sluice_owned,
    how: u32,
    interface: i32,
    next_hop: *const sluice_address,
) -> i32 {
    // SAFETY: by the contract of the module; the packet's own fields are not in use meanwhile.
    let (hand, next_hop) = unsafe { (hand_mut(packet.cast_mut()), ip(next_hop)) };
    let given = match hand.take_back(owned) {
        Ok(given) => given,
        Err(error) => return error,
    };
    let how = match (how, interface_of(interface), next_hop) {
        (SLUICE_QUEUE_IN, Some(interface), _) => Injection::QueueIn(interface),
        (SLUICE_QUEUE_OUT, _, _) => Injection::QueueOut,
        (SLUICE_DIRECT_OUT, Some(interface), Some(next_hop)) => {
            Injection::DirectOut { interface, next_hop }
        }
        _ => return SLUICE_INVALID,
    };
    let Some(cx) = hand.cx_mut() else { return SLUICE_READ_ONLY_PACKET };
    match cx.inject(given, how) {
        Ok(()) => 0,
        Err(InjectError::Full | InjectError::Loop) => SLUICE_FULL,
        Err(InjectError::UnknownInterface(_) | InjectError::Shutdown) => SLUICE_NOT_FOUND,
        Err(InjectError::Unsupported | InjectError::Family(_)) => SLUICE_INVALID,
    }
}

unsafe extern "C" fn free(file: *const c_void, owned: *mut sluice_owned) -> i32 {
    // SAFETY: the interface says that it is what this file was given, which is there as long as the
    // file's code runs.
    let shared = unsafe { &*file.cast::<Shared>() };
    shared.lent.take(owned).map_or(SLUICE_NOT_HELD, |_| 0)
}

unsafe extern "C" fn file(packet: *const sluice_packet) -> *const c_void {
    // SAFETY: by the contract of the module.
    unsafe { hand(packet) }.file()
}

/// The table.
#[inline]
pub(super) fn calls() -> *const sluice_calls {
    static CALLS: OnceLock<sluice_calls> = OnceLock::new();
    CALLS.get_or_init(|| sluice_calls {
        abi: SLUICE_HOOK_ABI,
        size: size_of::<sluice_calls>() as u32,
        hertz: tsc_hz(),
        bytes,
        bytes_mut,
        length,
        read,
        write,
        pull_up,
        push,
        pop,
        append,
        truncate,
        write_checksums,
        event,
        protocol,
        ingress,
        egress,
        link_group,
        tuple,
        note,
        set_note,
        note_key,
        count,
        log,
        now,
        interface_name,
        interface_named,
        mtu,
        route_to,
        take,
        copy,
        fresh,
        owned_bytes,
        replace,
        inject,
        free,
        file,
        candidate,
        candidate_route,
        choose_next_hop,
        choose_table,
        table_named,
    })
}

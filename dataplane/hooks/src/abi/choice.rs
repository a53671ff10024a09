//! The functions that an object is handed for ROUTE_DECISION. What their `unsafe` rests on is said in
//! [`calls`](super::calls).

use std::ffi::{CStr, c_char};

use sluice_policy::TableId;

use super::calls::{address, interface_of, ip, put_text};
use super::hand::{hand, hand_mut};
use super::types::*;
use crate::choice::ChoiceError;

fn number(error: ChoiceError) -> i32 {
    match error {
        ChoiceError::Event(_) => SLUICE_NOT_HERE,
        ChoiceError::NoPacket => SLUICE_READ_ONLY_PACKET,
        ChoiceError::Nothing | ChoiceError::Family(_) => SLUICE_INVALID,
        ChoiceError::UnknownInterface(_)
        | ChoiceError::NotConnected(_)
        | ChoiceError::UnknownTable(_) => SLUICE_NOT_FOUND,
        ChoiceError::UnknownNextHop { .. } | ChoiceError::NoRoute => SLUICE_NO_ROUTE,
        ChoiceError::Down(_) | ChoiceError::Own | ChoiceError::Refused(_) => SLUICE_REFUSED,
    }
}

pub(super) unsafe extern "C" fn candidate(
    packet: *const sluice_packet,
    next_hop: *mut sluice_address,
) -> i32 {
    // SAFETY: by the contract of the module.
    let (hand, next_hop) = unsafe { (hand(packet), next_hop.as_mut()) };
    let found = hand.look(|packet| packet.candidate(hand.cx())).flatten();
    let Some(candidate) = found else { return SLUICE_NOT_FOUND };
    if let Some(next_hop) = next_hop {
        *next_hop = address(candidate.next_hop);
    }
    i32::from(candidate.interface.0)
}

pub(super) unsafe extern "C" fn candidate_route(
    packet: *const sluice_packet,
    route: *mut sluice_route,
) -> i32 {
    // SAFETY: by the contract of the module.
    let (hand, route) = unsafe { (hand(packet), route.as_mut()) };
    let found = hand.look(|packet| packet.candidate_route(hand.cx())).flatten();
    let (Some(found), Some(route)) = (found, route) else { return SLUICE_NOT_FOUND };
    let mut owner = [0; SLUICE_OWNER];
    // SAFETY: that is the room.
    unsafe { put_text(found.owner.name(), owner.as_mut_ptr(), owner.len()) };
    *route = sluice_route {
        prefix: address(found.prefix.addr()),
        length: found.prefix.prefix_len(),
        table: i32::from(found.table.0),
        owner,
    };
    0
}

pub(super) unsafe extern "C" fn choose_next_hop(
    packet: *mut sluice_packet,
    via: *const sluice_address,
    interface: i32,
) -> i32 {
    // SAFETY: by the contract of the module.
    let (hand, address) = unsafe { (hand_mut(packet), ip(via)) };
    if address.is_none() && !via.is_null() {
        return SLUICE_INVALID;
    }
    let interface = interface_of(interface);
    let chosen = hand.change_in(|packet, cx| packet.choose_next_hop(cx, address, interface));
    chosen.map_or(SLUICE_READ_ONLY_PACKET, |chosen| chosen.map_or_else(number, |()| 0))
}

pub(super) unsafe extern "C" fn choose_table(packet: *mut sluice_packet, table: i32) -> i32 {
    let Ok(table) = u16::try_from(table) else { return SLUICE_NOT_FOUND };
    // SAFETY: by the contract of the module.
    let hand = unsafe { hand_mut(packet) };
    let chosen = hand.change_in(|packet, cx| packet.choose_table(cx, TableId(table)));
    chosen.map_or(SLUICE_READ_ONLY_PACKET, |chosen| chosen.map_or_else(number, |()| 0))
}

pub(super) unsafe extern "C" fn table_named(
    packet: *const sluice_packet,
    name: *const c_char,
) -> i32 {
    if name.is_null() {
        return SLUICE_INVALID;
    }
    // SAFETY: by the contract of the module; the name is a text.
    let (hand, name) = unsafe { (hand(packet), CStr::from_ptr(name)) };
    let table = name.to_str().ok().and_then(|name| hand.cx().instance.table_named(name));
    table.map_or(SLUICE_NOT_FOUND, |table| i32::from(table.0))
}

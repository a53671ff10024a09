//! Questions about interfaces, addresses, routes and checksums, from either side; and injecting.

use std::ffi::{c_char, c_int, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sluice_policy::InterfaceId;

use super::frame::{self, Reach, ask, protocol_of};
use super::hook::phy_if;
use super::instance::{instance_of, text};
use super::message;
use super::types::{lif_if_t, mblk_t, net_handle_t, net_inject_t, netid_t, phy_if_t};
use crate::abi::calls::put_text;
use crate::checksum::Validity;
use crate::inject::{InjectError, Injection};
use crate::query::{AddressFlags, AddressId, AddressKind, QueryError};

/// `AF_INET` and `AF_INET6`.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// The address family of an IP version.
pub(super) fn address_family(inet: bool) -> u16 {
    if inet { AF_INET } else { AF_INET6 }
}

/// Writes a `struct sockaddr_in` or `sockaddr_in6`; its length.
pub(super) fn write_address(to: &mut [u8; 128], ip: IpAddr) -> usize {
    to.fill(0);
    to[..2].copy_from_slice(&address_family(ip.is_ipv4()).to_ne_bytes());
    match ip {
        IpAddr::V4(ip) => {
            to[4..8].copy_from_slice(&ip.octets());
            16
        }
        IpAddr::V6(ip) => {
            to[8..24].copy_from_slice(&ip.octets());
            28
        }
    }
}

/// The address of a `struct sockaddr` of IPv4 or IPv6.
///
/// # Safety
/// It is NULL, or as long as its family says.
unsafe fn read_address(from: *const c_void) -> Option<IpAddr> {
    if from.is_null() {
        return None;
    }
    let bytes: *const u8 = from.cast();
    // SAFETY: by the contract.
    unsafe {
        match u16::from_ne_bytes(bytes.cast::<[u8; 2]>().read()) {
            AF_INET => Some(Ipv4Addr::from(bytes.add(4).cast::<[u8; 4]>().read()).into()),
            AF_INET6 => Some(Ipv6Addr::from(bytes.add(8).cast::<[u8; 16]>().read()).into()),
            _ => None,
        }
    }
}

fn interface_of(number: phy_if_t) -> InterfaceId {
    // A number that is none is nobody's.
    InterfaceId(number.checked_sub(1).and_then(|id| u16::try_from(id).ok()).unwrap_or(u16::MAX))
}

fn address_of(number: lif_if_t) -> AddressId {
    AddressId(u16::try_from(number).unwrap_or(0))
}

/// -1 where the protocol has no such thing, or the instance is gone; `none` where there is none.
fn or<T>(answer: Result<T, QueryError>, none: c_int, some: impl FnOnce(T) -> c_int) -> c_int {
    match answer {
        Ok(answer) => some(answer),
        Err(QueryError::NotFound) => none,
        Err(QueryError::Unsupported | QueryError::Shutdown) => -1,
    }
}

/// The same for what is no negative number.
fn or_number<T>(answer: Result<T, QueryError>, some: impl FnOnce(T) -> usize) -> usize {
    match answer {
        Ok(answer) => some(answer),
        Err(QueryError::NotFound) => 0,
        Err(QueryError::Unsupported | QueryError::Shutdown) => usize::MAX,
    }
}

pub(super) unsafe extern "C" fn getnetid(handle: net_handle_t) -> netid_t {
    protocol_of(handle).map_or(-1, |handle| handle.instance.number() as netid_t)
}

pub(super) unsafe extern "C" fn is_instance(id: netid_t) -> c_int {
    let there = frame::reach(|_, reach| match reach {
        Reach::Agent(api) => instance_of(id).is_some_and(|id| api.instance_name(id).is_ok()),
        Reach::Worker(_, handle, _) => instance_of(id) == Some(handle.instance),
    });
    c_int::from(there.unwrap_or(false))
}

pub(super) unsafe extern "C" fn phygetnext(handle: net_handle_t, after: phy_if_t) -> phy_if_t {
    let after = (after != 0).then(|| interface_of(after));
    or_number(ask(handle, |all| Ok(all.next(after))), phy_if)
}

pub(super) unsafe extern "C" fn phylookup(handle: net_handle_t, name: *const c_char) -> phy_if_t {
    // SAFETY: the module gives a text, or NULL.
    let name = unsafe { text(name) }.unwrap_or_default();
    or_number(ask(handle, |all| all.lookup(name)), |id| phy_if(Some(id)))
}

pub(super) unsafe extern "C" fn getifname(
    handle: net_handle_t,
    interface: phy_if_t,
    name: *mut c_char,
    room: usize,
) -> c_int {
    or(ask(handle, |all| all.name(interface_of(interface)).map(str::to_owned)), 1, |found| {
        // SAFETY: the module says that this is the room.
        unsafe { put_text(&found, name, room) };
        0
    })
}

pub(super) unsafe extern "C" fn lifgetnext(
    handle: net_handle_t,
    interface: phy_if_t,
    after: lif_if_t,
) -> lif_if_t {
    let after = (after != 0).then(|| address_of(after));
    let next = ask(handle, |all| all.next_address(interface_of(interface), after));
    or_number(next, |next| next.map_or(0, |AddressId(place)| usize::from(place))) as lif_if_t
}

pub(super) unsafe extern "C" fn getlifaddr(
    handle: net_handle_t,
    interface: phy_if_t,
    address: lif_if_t,
    count: c_int,
    kinds: *const c_int,
    out: *mut c_void,
) -> c_int {
    let Ok(count) = usize::try_from(count) else { return 1 };
    // How far apart the answers are: the length of the protocol's socket address.
    let step = match protocol_of(handle).map(|handle| handle.protocol) {
        Some(sluice_policy::Protocol::Inet) => 16,
        Some(sluice_policy::Protocol::Inet6) => 28,
        _ => return -1,
    };
    for at in 0..count {
        // SAFETY: the module gives as many kinds as it says.
        let kind = match unsafe { kinds.add(at).read() } {
            1 => AddressKind::Address,
            2 => AddressKind::Peer,
            3 => AddressKind::Broadcast,
            4 => AddressKind::Netmask,
            _ => return 1,
        };
        let found =
            ask(handle, |all| all.address(interface_of(interface), address_of(address), kind));
        let mut bytes = [0; 128];
        let written = or(found, 1, |ip| {
            write_address(&mut bytes, ip);
            0
        });
        if written != 0 {
            return written;
        }
        // SAFETY: the module has room for as many socket addresses of the protocol.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), out.cast::<u8>().add(at * step), step)
        };
    }
    0
}

pub(super) unsafe extern "C" fn getlifflags(
    handle: net_handle_t,
    interface: phy_if_t,
    address: lif_if_t,
    flags: *mut u64,
) -> c_int {
    /// The original's bits.
    const IFF: [(AddressFlags, u64); 7] = [
        (AddressFlags::UP, 0x1),
        (AddressFlags::BROADCAST, 0x2),
        (AddressFlags::RUNNING, 0x40),
        (AddressFlags::ROUTER, 0x10_0000),
        (AddressFlags::MULTICAST, 0x800),
        (AddressFlags::INET, 0x100_0000),
        (AddressFlags::INET6, 0x200_0000),
    ];
    let found = ask(handle, |all| all.flags(interface_of(interface), address_of(address)));
    or(found, -1, |found| {
        let bits = IFF.iter().filter(|(flag, _)| found.contains(*flag)).map(|(_, bit)| bit).sum();
        // SAFETY: the module gives the room for it.
        unsafe { flags.write(bits) };
        0
    })
}

pub(super) unsafe extern "C" fn getlifzone(
    handle: net_handle_t,
    interface: phy_if_t,
    address: lif_if_t,
    zone: *mut netid_t,
) -> c_int {
    let found = ask(handle, |all| all.instance_of(interface_of(interface), address_of(address)));
    or(found, -1, |_| {
        // An instance has its own interfaces only, so that it is the handle's.
        // SAFETY: the module gives the room for it.
        unsafe { zone.write(getnetid(handle)) };
        0
    })
}

pub(super) unsafe extern "C" fn getmtu(
    handle: net_handle_t,
    interface: phy_if_t,
    _address: lif_if_t,
) -> c_int {
    or(ask(handle, |all| all.mtu(interface_of(interface))), 0, c_int::from)
}

pub(super) unsafe extern "C" fn getpmtuenabled(handle: net_handle_t) -> c_int {
    or(ask(handle, |all| all.path_mtu_discovery()), -1, c_int::from)
}

pub(super) unsafe extern "C" fn routeto(
    handle: net_handle_t,
    destination: *const c_void,
    next: *mut c_void,
) -> phy_if_t {
    // SAFETY: the module gives a socket address, or NULL.
    let Some(destination) = (unsafe { read_address(destination) }) else { return 0 };
    or_number(ask(handle, |all| all.route_to(destination)), |route| {
        if !next.is_null() {
            let mut bytes = [0; 128];
            let length = write_address(&mut bytes, route.next_hop);
            // SAFETY: the module has room for a socket address of the protocol.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), next.cast::<u8>(), length) };
        }
        phy_if(Some(route.interface))
    })
}

pub(super) unsafe extern "C" fn inject(
    handle: net_handle_t,
    style: c_int,
    packet: *mut net_inject_t,
) -> c_int {
    // SAFETY: the module gives one of its own, or NULL.
    let Some(given) = (unsafe { packet.as_mut() }) else { return 1 };
    let head = std::mem::replace(&mut given.ni_packet, std::ptr::null_mut());
    let made = frame::foreign(|foreign| message::packet(&foreign.shared.lent, head).ok());
    let Some(made) = made.flatten() else { return 1 };
    let Some(handle) = protocol_of(handle) else { return -1 };
    let interface = interface_of(given.ni_physical);
    // SAFETY: it is a `struct sockaddr_storage`.
    let next_hop = unsafe { read_address(given.ni_addr.0.as_ptr().cast()) };
    let how = match (style, next_hop) {
        (1, _) => Injection::QueueIn(interface),
        (2, _) => Injection::QueueOut,
        (3, Some(next_hop)) => Injection::DirectOut { interface, next_hop },
        _ => return 1,
    };
    let injected = frame::reach(|_, reach| match reach {
        Reach::Agent(api) => api.inject(handle, made, how),
        // What only looks changes nothing, and a hook injects into its own instance.
        Reach::Worker(_, own, looks) if looks || own.instance != handle.instance => {
            Err(InjectError::Unsupported)
        }
        Reach::Worker(cx, ..) if handle.protocol != sluice_policy::Protocol::Arp => {
            cx.inject(made, how)
        }
        Reach::Worker(..) => Err(InjectError::Unsupported),
    });
    if matches!(injected, Some(Ok(()))) {
        frame::is_injected(head);
    }
    match injected {
        Some(Ok(())) => 0,
        Some(Err(InjectError::Unsupported)) | None => -1,
        Some(Err(_)) => 1,
    }
}

/// Both answer for the packet in hand; of a message of the module's own nothing is known.
pub(super) unsafe extern "C" fn ispartialchecksum(
    _handle: net_handle_t,
    message: *mut mblk_t,
) -> c_int {
    frame::packet(message, |packet| c_int::from(packet.partial_checksum().bits())).unwrap_or(0)
}

pub(super) unsafe extern "C" fn isvalidchecksum(
    _handle: net_handle_t,
    message: *mut mblk_t,
) -> c_int {
    let sums = frame::packet(message, |packet| packet.checksums());
    match sums.map(|sums| (sums.l3, sums.l4)) {
        None => -1,
        Some((Validity::Bad, _) | (_, Validity::Bad)) => 0,
        Some(_) => 1,
    }
}

//! A module that injects packets: when a link comes up, it pings the first other address of each
//! IPv4 network there, which is often a gateway's. So the neighbour is known before the first packet
//! that needs it comes. `sluice-dataplane --module greet`.
//!
//! It has no hook over packets. A listener at NIC_EVENTS hears of the link, on the agent's thread, and
//! the packet goes over a ring to a worker, which routes it as one of the router's own.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use sluice_hooks::stack::{
    HookSpec, InstanceHandle, ModuleContext, NicChange, NicEvent, NicListener, ProtocolHandle,
    VERSION,
};
use sluice_hooks::{Api, Event, Injection, Module, Protocol};
use sluice_packet::checksum::{self, Sum};
use sluice_packet::icmp;

/// What the module is asked for by.
pub const NAME: &str = "greet";

/// What it says.
const HELLO: &[u8] = b"hello from sluice";

/// The module.
pub struct Greet;

impl Module for Greet {
    fn name(&self) -> &str {
        NAME
    }

    fn create(&self, api: &mut Api<'_>, instance: InstanceHandle) -> Result<ModuleContext, String> {
        let inet = ProtocolHandle { instance, protocol: Protocol::Inet };
        let spec = HookSpec::listener(VERSION, NAME, Arc::new(Greet));
        let registered = spec.and_then(|spec| api.register(inet, Event::NicEvents, &spec));
        registered.map_err(|error| error.to_string())?;
        Ok(Box::new(()))
    }

    fn shutdown(&self, api: &mut Api<'_>, instance: InstanceHandle, _: &mut ModuleContext) {
        let inet = ProtocolHandle { instance, protocol: Protocol::Inet };
        if let Some(listener) = api.hook_named(inet, Event::NicEvents, NAME) {
            // A listener has no object on any worker: nobody is waited for.
            let _ = api.unregister(listener);
        }
    }

    fn destroy(&self, _: &mut Api<'_>, _: InstanceHandle, _: ModuleContext) {}
}

impl NicListener for Greet {
    fn changed(&self, api: &mut Api<'_>, event: &NicEvent) {
        if event.change != NicChange::Up {
            return;
        }
        let interface = api.policy().interface(event.interface);
        let addresses = interface.map(|interface| interface.addresses.to_vec()).unwrap_or_default();
        for (own, other) in addresses.into_iter().filter_map(first_other) {
            let Some(mut mbuf) = api.buffer() else { return };
            let ping = ping(own, other);
            if let Some(room) = mbuf.append(ping.len()) {
                room.copy_from_slice(&ping);
                // Refused when the ring is full; it is a courtesy.
                let _ = api.inject(event.protocol, mbuf, Injection::QueueOut);
            }
        }
    }
}

/// An own address, and the first other of its network.
fn first_other(net: IpNet) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let IpNet::V4(net) = net else { return None };
    let own = net.addr();
    Ipv4Net::hosts(&net).find(|host| *host != own).map(|other| (own, other))
}

/// An echo request.
fn ping(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let length = (20 + icmp::HEADER + HELLO.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 1, 0, 0]);
    packet.extend([from.octets(), to.octets()].concat());
    let sum = checksum::ipv4_header(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([icmp::ECHO_REQUEST, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(HELLO);
    let sum = Sum::of(&packet[20..]).checksum();
    packet[22..24].copy_from_slice(&sum.to_be_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_other_address_is_greeted() {
        let greeted = |net: &str| first_other(net.parse().unwrap()).map(|(_, to)| to.to_string());
        assert_eq!(greeted("192.0.2.1/24").as_deref(), Some("192.0.2.2"));
        assert_eq!(greeted("192.0.2.7/24").as_deref(), Some("192.0.2.1"));
        assert_eq!(greeted("192.0.2.0/31").as_deref(), Some("192.0.2.1"));
        assert_eq!(greeted("192.0.2.1/32"), None);
        assert_eq!(greeted("fd00::1/64"), None);
    }

    #[test]
    fn a_greeting_is_a_whole_packet() {
        let packet = ping([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        assert!(checksum::ipv4_header_is_valid(&packet[..20]));
        assert!(Sum::of(&packet[20..]).is_intact());
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
    }
}

//! What authors' hooks can do to packets, through the whole pipeline in process. The names carry
//! the numbers of the interface's checklist, which `docs/hooks.md` lists.

mod checksums;
mod choice;
mod down;
mod injection;
mod objects;
mod packets;
mod places;
mod queries;
#[path = "../router/mod.rs"]
mod router;
mod sandbox;

use std::sync::{Arc, Mutex};

use etherparse::PacketBuilder;
use router::{Registration, Router, mac, ports, station};
use sluice_hooks::{
    Context, Event, Factory, ForeignHook, Hint, Packet, PacketHook, PerPacket, Protocol, Verdict,
};
use sluice_policy::model::State;

const LAN: &[&str] = &["10.0.0.1/24", "fd00:0::1/64"];
const WAN: &[&str] = &["10.0.1.1/24", "fd00:1::1/64"];
const DMZ: &[&str] = &["10.0.2.1/24", "fd00:2::1/64"];

fn three_ports() -> State {
    ports(&[(LAN, 1500), (WAN, 1500), (DMZ, 1500)])
}

/// A router whose neighbours are known.
fn ready(state: &State, hooks: Vec<Registration>) -> Router {
    let mut router = Router::with_hooks(state, hooks);
    for port in 0..3 {
        router.know(port, &format!("10.0.{port}.2"));
        router.know(port, &format!("fd00:{port}::2"));
    }
    router
}

/// A closure over one packet as a hook.
struct Each<F>(F);

impl<F> PacketHook for Each<F>
where
    F: FnMut(&mut Context<'_>, Packet<'_>) -> Verdict + Send,
{
    fn packet(&mut self, cx: &mut Context<'_>, packet: Packet<'_>) -> Verdict {
        (self.0)(cx, packet)
    }
}

const ALL: &[Protocol] = &[Protocol::Inet, Protocol::Inet6];

fn placed(name: &str, event: Event, hint: Hint, factory: Factory) -> Registration {
    let protocols = ALL.to_vec();
    let hook = ForeignHook { instance: None, protocols, event, name: name.into(), hint };
    Registration { hook, factory }
}

/// A hook of a closure.
fn hook<F>(name: &str, event: Event, hint: Hint, f: F) -> Registration
where
    F: FnMut(&mut Context<'_>, Packet<'_>) -> Verdict + Send + Sync + Clone + 'static,
{
    placed(name, event, hint, Arc::new(move || Box::new(PerPacket(Each(f.clone())))))
}

/// What hooks have noted.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, text: impl ToString) {
        self.0.lock().unwrap().push(text.to_string());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A hook that notes that it was there.
fn witness(name: &'static str, event: Event, log: &Log) -> Registration {
    let log = log.clone();
    hook(name, event, Hint::None, move |_, _| {
        log.note(name);
        Verdict::Continue
    })
}

fn udp4(src: [u8; 4], dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(station(0), mac(0)).ipv4(src, dst, 64).udp(5000, 6000);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

fn udp6(src: &str, dst: &str, payload: &[u8]) -> Vec<u8> {
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let builder = PacketBuilder::ethernet2(station(0), mac(0))
        .ipv6(address(src), address(dst), 64)
        .udp(5000, 6000);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// A packet from the LAN to the WAN.
fn across(payload: &[u8]) -> Vec<u8> {
    udp4([10, 0, 0, 2], [10, 0, 1, 2], payload)
}

/// The IPv4 packet of a frame, checked, and its payload.
fn ipv4_of(frame: &[u8]) -> (etherparse::Ipv4Header, Vec<u8>) {
    let (_, rest) = etherparse::Ethernet2Header::from_slice(frame).unwrap();
    let (header, payload) = etherparse::Ipv4Header::from_slice(rest).unwrap();
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 checksum");
    (header, payload.to_vec())
}

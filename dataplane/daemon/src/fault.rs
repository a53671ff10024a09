//! Faults on request, to try out what happens then: `--fault`.
//!
//! A fault is a hook like any other author's, and not there unless it is asked for. It is meant for
//! tests of recovery, of supervision and of alarms.

use std::hint::black_box;
use std::str::FromStr;
use std::time::Duration;

use sluice_hooks::{
    Context, ForeignHook, Hint, Made, Packet, PacketHook, PerPacket, Program, Protocol, Verdict,
};
use sluice_packet::{Fragment, protocol};
use sluice_policy::Event;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The worker that receives a UDP datagram to this port panics.
    PanicOnUdpPort(u16),
    /// The worker that receives a UDP datagram to this port allocates memory.
    AllocateOnUdpPort(u16),
    /// Hooks that misbehave can be loaded: [`PROGRAMS`].
    Programs,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        if text == "programs" {
            return Ok(Fault::Programs);
        }
        let unknown = || {
            format!(
                "`{text}` is not known; known are panic-on-udp-port=PORT, \
                 allocate-on-udp-port=PORT and programs"
            )
        };
        let (kind, value) = text.split_once('=').ok_or_else(unknown)?;
        let of_port = match kind {
            "panic-on-udp-port" => Fault::PanicOnUdpPort,
            "allocate-on-udp-port" => Fault::AllocateOnUdpPort,
            _ => return Err(unknown()),
        };
        value.parse().map(of_port).map_err(|e| format!("`{value}`: {e}"))
    }
}

impl Fault {
    /// The hook that makes the fault happen, and where it stands; `None` if none has to.
    pub fn hook(self) -> Option<(ForeignHook, Made)> {
        let (port, then) = match self {
            Fault::PanicOnUdpPort(port) => (port, Then::Panic),
            Fault::AllocateOnUdpPort(port) => (port, Then::Allocate),
            Fault::Programs => return None,
        };
        let hook = ForeignHook {
            instance: None,
            protocols: vec![Protocol::Inet, Protocol::Inet6],
            event: Event::PhysicalIn,
            name: "fault".into(),
            hint: Hint::First,
        };
        Some((hook, Made::new(move || PerPacket(OnUdpPort { port, then }))))
    }
}

/// Hooks that misbehave, each when it sees a UDP datagram to a port.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "fault-panic",
        summary: "panics when it sees a UDP datagram to a port",
        settings: &[("port", "the port; 6666 unless given")],
        events: &[Event::PhysicalIn, Event::Forwarding],
        make: |settings| {
            let port = settings.get("port", 6666, |_| Ok(()))?;
            Ok(Made::new(move || PerPacket(OnUdpPort { port, then: Then::Panic })))
        },
    },
    Program {
        name: "fault-stall",
        summary: "does not return for a while when it sees a UDP datagram to a port",
        settings: &[("port", "the port; 6666 unless given"), ("ms", "how long; 3000 unless given")],
        events: &[Event::PhysicalIn, Event::Forwarding],
        make: |settings| {
            let port = settings.get("port", 6666, |_| Ok(()))?;
            let ms = settings.get("ms", 3000, |_| Ok(()))?;
            let then = Then::Stall(Duration::from_millis(ms));
            Ok(Made::new(move || PerPacket(OnUdpPort { port, then })))
        },
    },
];

/// What happens at a datagram.
#[derive(Clone, Copy)]
enum Then {
    Panic,
    Allocate,
    Stall(Duration),
}

struct OnUdpPort {
    port: u16,
    then: Then,
}

impl PacketHook for OnUdpPort {
    fn packet(&mut self, _: &mut Context<'_>, packet: Packet<'_>) -> Verdict {
        let port = self.port;
        let d = packet.descriptor();
        let whole = d.fragment != Fragment::Later;
        if whole && d.key.protocol == protocol::UDP && d.key.dst_port == port {
            match self.then {
                Then::Panic => panic!("--fault: a datagram to UDP port {port}"),
                Then::Allocate => drop(black_box(Box::new(port))),
                Then::Stall(time) => std::thread::sleep(time),
            }
        }
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_the_command_line() {
        assert_eq!("panic-on-udp-port=7".parse(), Ok(Fault::PanicOnUdpPort(7)));
        assert_eq!("allocate-on-udp-port=7".parse(), Ok(Fault::AllocateOnUdpPort(7)));
        assert_eq!("programs".parse(), Ok(Fault::Programs));
        for wrong in ["", "panic", "panic-on-udp-port=x", "panic-on-udp-port=65536", "other=1"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }
}

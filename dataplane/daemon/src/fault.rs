//! Faults on request, to try out what happens then: `--fault`.
//!
//! A fault is a hook like any other author's, and not there unless it is asked for. It is meant for
//! tests of recovery, of supervision and of alarms.

use std::str::FromStr;

use sluice_hooks::{
    Context, ForeignHook, Hint, Made, Packet, PacketHook, PerPacket, Protocol, Verdict,
};
use sluice_packet::{Fragment, protocol};
use sluice_policy::Event;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The worker that receives a UDP datagram to this port panics.
    PanicOnUdpPort(u16),
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let unknown = || format!("`{text}` is not known; known is panic-on-udp-port=PORT");
        let (kind, value) = text.split_once('=').ok_or_else(unknown)?;
        match kind {
            "panic-on-udp-port" => {
                value.parse().map(Fault::PanicOnUdpPort).map_err(|e| format!("`{value}`: {e}"))
            }
            _ => Err(unknown()),
        }
    }
}

impl Fault {
    /// Where the hook stands that makes the fault happen.
    pub fn hook(self) -> ForeignHook {
        ForeignHook {
            instance: None,
            protocols: vec![Protocol::Inet, Protocol::Inet6],
            event: Event::PhysicalIn,
            name: "fault".into(),
            hint: Hint::First,
        }
    }

    /// The hook itself.
    pub fn made(self) -> Made {
        Made::new(move || PerPacket(self))
    }
}

impl PacketHook for Fault {
    fn packet(&mut self, _: &mut Context<'_>, packet: Packet<'_>) -> Verdict {
        let Fault::PanicOnUdpPort(port) = *self;
        let d = packet.descriptor();
        let whole = d.fragment != Fragment::Later;
        if whole && d.key.protocol == protocol::UDP && d.key.dst_port == port {
            panic!("--fault: a datagram to UDP port {port}");
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
        for wrong in ["", "panic", "panic-on-udp-port=x", "panic-on-udp-port=65536", "other=1"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }
}

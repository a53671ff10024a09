//! Which Linux capabilities a driver needs, and which the process has.

use std::fs;

use crate::device::{Device, Driver};

/// A capability by its number in `linux/capability.h`.
#[derive(Clone, Copy)]
struct Capability {
    name: &'static str,
    bit: u8,
}

const NET_ADMIN: Capability = Capability { name: "CAP_NET_ADMIN", bit: 12 };
const NET_RAW: Capability = Capability { name: "CAP_NET_RAW", bit: 13 };
const SYS_ADMIN: Capability = Capability { name: "CAP_SYS_ADMIN", bit: 21 };
const BPF: Capability = Capability { name: "CAP_BPF", bit: 39 };

/// What is missing to use a device, in words; None if nothing is.
pub(crate) fn missing(device: &Device) -> Option<String> {
    missing_from(effective()?, device)
}

fn missing_from(effective: u64, device: &Device) -> Option<String> {
    let has = |capability: Capability| effective & (1 << capability.bit) != 0;
    let needed: &[Capability] = match device.driver() {
        Driver::AfPacket => &[NET_RAW],
        Driver::AfXdp => &[NET_ADMIN, NET_RAW, BPF],
        Driver::Tap => &[NET_ADMIN],
        Driver::Pcap if device.interface().is_some() => &[NET_RAW],
        Driver::VirtioUser if device.argument("path") == Some("/dev/vhost-net") => &[NET_ADMIN],
        _ => &[],
    };
    // CAP_BPF was split off CAP_SYS_ADMIN, which still stands for it.
    let met =
        |capability: Capability| has(capability) || (capability.bit == BPF.bit && has(SYS_ADMIN));
    let missing: Vec<&str> =
        needed.iter().filter(|&&needed| !met(needed)).map(|needed| needed.name).collect();
    (!missing.is_empty()).then(|| missing.join(" and "))
}

/// The effective capabilities of the process, if the kernel tells.
fn effective() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let only = |capability: Capability| 1 << capability.bit;
        let missing =
            |effective: u64, device: &str| missing_from(effective, &Device::parse(device).unwrap());
        let (packet, xdp) = ("net_af_packet0,iface=a", "net_af_xdp0,iface=a");
        assert_eq!(missing(0, packet).unwrap(), "CAP_NET_RAW");
        assert_eq!(missing(only(NET_RAW), packet), None);
        assert_eq!(missing(only(NET_RAW), xdp).unwrap(), "CAP_NET_ADMIN and CAP_BPF");
        let admin = only(NET_RAW) | only(SYS_ADMIN);
        assert_eq!(missing(admin, xdp).unwrap(), "CAP_NET_ADMIN");
        assert_eq!(missing(0, "net_tap0").unwrap(), "CAP_NET_ADMIN");
        assert_eq!(missing(0, "net_null0"), None);
        assert_eq!(missing(0, "net_pcap0,rx_pcap=f"), None, "files need no capability");
        assert_eq!(missing(0, "net_pcap0,iface=a").unwrap(), "CAP_NET_RAW");
    }
}

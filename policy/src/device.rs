//! What a DPDK device string says about the device: which driver, which kernel interface, how
//! large a packet can be.
//!
//! The string itself is handed to DPDK as it stands; this is only as much of its syntax as is
//! needed to refuse what cannot work before anything is touched.

use std::borrow::Cow;

use crate::model::ChecksumMode;

/// Smallest MTU (RFC 791 section 3.2).
pub const MIN_MTU: u16 = 68;
/// Smallest MTU where IPv6 is spoken (RFC 8200 section 5).
pub const MIN_MTU_INET6: u16 = 1280;
/// Largest MTU of any port.
pub const MAX_MTU: u16 = 16_000;

/// `framesz` of net_af_packet where the device string gives only other sizes of its ring.
const AF_PACKET_FRAME: u32 = 2048;
/// What of an af_packet frame is not packet: the kernel's header and socket address, aligned, with
/// the link header inside (`netoff` in net/packet/af_packet.c), and room for a VLAN tag.
const AF_PACKET_OVERHEAD: u32 = 84;
/// A page is one UMEM frame. It also holds the object header (64), the mbuf (128), its headroom
/// (128) and the kernel's (256); what is left carries Ethernet (14), a VLAN tag and a checksum.
const AF_XDP_MTU: u16 = 4096 - 64 - 128 - 128 - 256 - 14 - 4 - 4;
/// VIRTIO_MAX_RX_PKTLEN (9728) less Ethernet, a VLAN tag and the virtio header.
const VIRTIO_MTU: u16 = 9728 - 14 - 4 - 12;
/// RTE_ETHER_MAX_JUMBO_FRAME_LEN (9728) less Ethernet, a VLAN tag and a checksum.
const PCAP_MTU: u16 = 9728 - 14 - 4 - 4;

/// A parsed device string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Device<'a> {
    /// The name before the first comma.
    pub name: &'a str,
    arguments: &'a str,
}

impl<'a> Device<'a> {
    /// Splits a device string.
    pub fn parse(text: &'a str) -> Device<'a> {
        let (name, arguments) = text.split_once(',').unwrap_or((text, ""));
        Device { name, arguments }
    }

    /// The value of an argument such as `iface`.
    pub fn argument(&self, key: &str) -> Option<&'a str> {
        self.arguments
            .split(',')
            .filter_map(|a| a.split_once('='))
            .find(|a| a.0 == key)
            .map(|a| a.1)
    }

    /// Whether this is a virtual device of a driver, such as `net_af_packet`: its name is the
    /// driver's and a number.
    pub fn is(&self, driver: &str) -> bool {
        let name = self.name.strip_prefix("net_").unwrap_or(self.name);
        let driver = driver.strip_prefix("net_").unwrap_or(driver);
        let rest = name.strip_prefix(driver);
        rest.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
    }

    /// Whether it looks like something that DPDK can probe: a PCI address, another bus's, or a
    /// virtual device. A kernel interface's bare name does not.
    pub fn is_plausible(&self) -> bool {
        let printable =
            self.name.bytes().chain(self.arguments.bytes()).all(|b| b.is_ascii_graphic());
        let bus = self.name.contains(':') || self.name.len() == 36;
        let virtual_device =
            ["net_", "eth_", "virtio_user"].iter().any(|driver| self.name.starts_with(driver));
        printable && (bus || virtual_device)
    }

    /// Whether the driver works on a kernel interface, and which.
    pub fn kernel_interface(&self) -> Option<Option<&'a str>> {
        let takes = self.is("net_af_packet") || self.is("net_af_xdp");
        takes.then(|| self.argument("iface").filter(|iface| !iface.is_empty()))
    }

    /// A spelling that is equal for equal devices: with `net_`, and a PCI address in full.
    pub fn identity(&self) -> Cow<'a, str> {
        if self.name.starts_with("virtio_user") {
            return format!("net_{}", self.name).into();
        }
        let short_pci = self.name.len() == 7 && self.name.as_bytes()[2] == b':';
        if short_pci {
            return format!("0000:{}", self.name.to_ascii_lowercase()).into();
        }
        match self.name.contains(':') {
            true => self.name.to_ascii_lowercase().into(),
            false => self.name.into(),
        }
    }

    /// What suits the device: virtual ports carry what a sender's kernel left to hardware that
    /// is not there.
    pub fn default_checksum(&self) -> ChecksumMode {
        let virtual_wire =
            ["net_af_packet", "net_af_xdp", "net_tap", "net_virtio_user", "net_vhost"];
        match virtual_wire.iter().any(|driver| self.is(driver)) {
            true => ChecksumMode::Complete,
            false => ChecksumMode::Trust,
        }
    }

    /// The largest MTU that the device can carry, and why it is no larger.
    pub fn max_mtu(&self) -> (u16, Cow<'static, str>) {
        let ring = self.argument("framesz").or(self.argument("blocksz"));
        // Where the string gives no sizes, the dataplane makes the ring's frames large enough.
        if self.is("net_af_packet") && ring.is_some() {
            let frame = self.argument("framesz").map(|size| size.parse().unwrap_or(0));
            let frame = frame.unwrap_or(AF_PACKET_FRAME);
            let most = frame.saturating_sub(AF_PACKET_OVERHEAD).min(MAX_MTU.into()) as u16;
            let why = format!(
                "its ring has frames of {frame} bytes; leave out `framesz` and `blocksz` to have them fit"
            );
            return (most, why.into());
        }
        if self.is("net_af_xdp") {
            return (
                AF_XDP_MTU,
                "one page holds a frame and its headers; use net_af_packet for larger".into(),
            );
        }
        if self.is("net_virtio_user") {
            return (VIRTIO_MTU, "the driver's largest frame is 9728 bytes".into());
        }
        if self.is("net_pcap") {
            return (PCAP_MTU, "the driver's largest frame is 9728 bytes".into());
        }
        (MAX_MTU, "no port carries more".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_told_by_name() {
        let device = Device::parse("net_af_packet0,iface=veth0,framesz=4096");
        assert!(device.is("net_af_packet") && !device.is("net_af_xdp"));
        assert_eq!(device.kernel_interface(), Some(Some("veth0")));
        assert_eq!(device.argument("framesz"), Some("4096"));
        assert_eq!(Device::parse("net_af_xdp0").kernel_interface(), Some(None));
        assert!(Device::parse("virtio_user0,path=/x").is("net_virtio_user"));
        assert_eq!(Device::parse("0000:03:00.0").kernel_interface(), None);
    }

    #[test]
    fn kernel_names_are_not_devices() {
        for device in
            ["0000:03:00.0", "03:00.0", "net_tap0", "virtio_user0,path=/tmp/x", "net_null0"]
        {
            assert!(Device::parse(device).is_plausible(), "{device}");
        }
        for device in ["", "veth0", "eth0", "net_tap0,iface=a b", ","] {
            assert!(!Device::parse(device).is_plausible(), "{device}");
        }
    }

    #[test]
    fn one_device_has_one_identity() {
        let same = |a, b| Device::parse(a).identity() == Device::parse(b).identity();
        assert!(same("03:00.A", "0000:03:00.a"));
        assert!(same("virtio_user0,path=/a", "net_virtio_user0,path=/b"));
        assert!(!same("net_tap0", "net_tap1"));
    }

    #[test]
    fn mtu_has_the_devices_bound() {
        let bound = |device| Device::parse(device).max_mtu().0;
        assert_eq!(bound("net_af_packet0,iface=a"), MAX_MTU);
        assert_eq!(bound("net_af_packet0,iface=a,framesz=2048"), 1964);
        assert_eq!(bound("net_af_packet0,iface=a,blocksz=65536"), 1964);
        assert_eq!(bound("net_af_packet0,iface=a,framesz=16384"), MAX_MTU);
        assert_eq!(bound("net_af_packet0,iface=a,framesz=10"), 0);
        assert_eq!(bound("net_af_xdp0,iface=a"), 3498);
        assert_eq!(bound("0000:03:00.0"), MAX_MTU);
    }
}

//! Device strings: what an operator writes for a port, and what DPDK is given for it.
//!
//! A device is a PCI address (`0000:03:00.0`) or the name of a virtual one with its driver's
//! arguments (`net_af_packet0,iface=veth0`). The name is the driver's with anything behind it.

use std::path::Path;

use sluice_dpdk_sys as sys;

use crate::error::DpdkError;

/// A driver that Sluice knows the ways of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Driver {
    /// A network interface of the kernel, through a packet socket with a mapped ring.
    AfPacket,
    /// A network interface of the kernel, through an XDP socket.
    AfXdp,
    /// An interface that is made for the port; the kernel is the host at its other end.
    Tap,
    /// Capture files, or an interface through libpcap.
    Pcap,
    /// Rings in memory: what is sent is received again.
    Ring,
    /// Receives packets of zeros, swallows what is sent.
    Null,
    /// The driver's half of a virtio device: beside a switch or a hypervisor, or to the kernel.
    VirtioUser,
    /// The device's half of a virtio device: for a virtual machine or a container.
    Vhost,
    /// Shared memory with another process.
    Memif,
    /// A device on the PCI bus.
    Pci,
    /// Another virtual device that DPDK has a driver for.
    Other,
}

/// The names of virtual devices, as people write and as DPDK knows them.
const NAMES: &[(&str, &str, Driver)] = &[
    ("net_af_packet", "net_af_packet", Driver::AfPacket),
    ("net_af_xdp", "net_af_xdp", Driver::AfXdp),
    ("net_tap", "net_tap", Driver::Tap),
    ("net_pcap", "net_pcap", Driver::Pcap),
    ("net_ring", "net_ring", Driver::Ring),
    ("net_null", "net_null", Driver::Null),
    ("net_virtio_user", "net_virtio_user", Driver::VirtioUser),
    ("virtio_user", "net_virtio_user", Driver::VirtioUser),
    ("net_vhost", "net_vhost", Driver::Vhost),
    ("eth_vhost", "net_vhost", Driver::Vhost),
    ("net_memif", "net_memif", Driver::Memif),
];

/// The longest name that EAL keeps, without the final NUL.
const NAME: usize = 63;

/// The header of a frame in a packet socket's ring, up to its data when sending
/// (`TPACKET2_HDRLEN - sizeof(struct sockaddr_ll)`).
const RING_HEADER: u32 = 32;

/// As [`RING_HEADER`] when receiving: the kernel puts the address behind the header and aligns the
/// network header.
const RING_RX_HEADER: u32 = 66;

/// The driver's own size of a frame in the ring.
const RING_FRAME: u32 = 2048;

/// What a queue's ring may take in each direction; jumbo frames, which need this much for the
/// driver's own count of them, keep that.
const RING_MEMORY: u32 = 4 << 20;

/// Ethernet header and two VLAN tags: what a frame has before and beside its MTU.
const FRAME_OVERHEAD: u32 = 14 + 2 * 4;

/// What the kernel keeps free in front of each frame of an XDP socket.
const XDP_HEADROOM: u32 = 256;

/// What a buffer has room for where nothing asks for more; DPDK's own default.
const DATA_ROOM: u32 = 2048;

/// A device string, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    text: String,
    name: String,
    arguments: Vec<(String, Option<String>)>,
    driver: Driver,
}

impl Device {
    /// Takes a device string apart.
    ///
    /// # Errors
    ///
    /// It is not a PCI address, its driver is unknown, or an argument is missing that its driver cannot
    /// do without.
    pub fn parse(text: &str) -> Result<Device, DpdkError> {
        let wrong = |reason: String| DpdkError::DeviceString { device: text.to_owned(), reason };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(wrong(format!("it is empty; known are {}", known())));
        }
        if trimmed.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong("it has a blank in it; arguments are separated by ','".to_owned()));
        }
        let (name, arguments) = match trimmed.split_once(',') {
            Some((name, arguments)) => (name, split(arguments)),
            None => (trimmed, Vec::new()),
        };
        if name.len() > NAME {
            return Err(wrong(format!("its name is longer than {NAME} bytes")));
        }
        let (name, driver) = if let Some(address) = pci_address(name) {
            (address, Driver::Pci)
        } else if let Some((written, dpdk, driver)) = virtual_driver(name) {
            (format!("{dpdk}{}", &name[written.len()..]), driver)
        } else if name.starts_with("net_") && name.len() > 4 {
            (name.to_owned(), Driver::Other)
        } else {
            return Err(DpdkError::UnknownDriver {
                device: text.to_owned(),
                name: name.to_owned(),
                known: known(),
            });
        };
        let device = Device { text: trimmed.to_owned(), name, arguments, driver };
        let required: Option<(&str, &str)> = match driver {
            Driver::AfPacket | Driver::AfXdp => Some(("iface", "iface=INTERFACE")),
            Driver::VirtioUser => Some(("path", "path=SOCKET (or path=/dev/vhost-net)")),
            Driver::Vhost => Some(("iface", "iface=SOCKET")),
            _ => None,
        };
        match required {
            Some((key, hint)) if device.argument(key).is_none_or(str::is_empty) => {
                Err(wrong(format!("its driver needs the argument {hint}")))
            }
            _ => Ok(device),
        }
    }

    /// The string as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name that DPDK knows the device by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The driver.
    #[must_use]
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// The value of a driver's argument; the first if there are several.
    #[must_use]
    pub fn argument(&self, key: &str) -> Option<&str> {
        self.arguments.iter().find(|(name, _)| name == key)?.1.as_deref()
    }

    /// The kernel's interface that the port takes, where its driver takes one.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        let keys: &[&str] = match self.driver {
            Driver::AfPacket | Driver::AfXdp => &["iface"],
            Driver::Pcap => &["iface", "rx_iface", "tx_iface", "rx_iface_in"],
            Driver::Tap => &["remote"],
            _ => &[],
        };
        keys.iter().find_map(|key| self.argument(key))
    }

    /// The longest frame, from its Ethernet header on, that the device can carry by its arguments; None
    /// where the driver decides.
    #[must_use]
    pub fn max_frame(&self) -> Option<u32> {
        match self.driver {
            Driver::AfPacket => Some(self.ring_frame().saturating_sub(RING_RX_HEADER)),
            // A frame, its mbuf and what lies before it share a page.
            Driver::AfXdp => Some(xdp_data_room() - XDP_HEADROOM),
            _ => None,
        }
    }

    /// The files that have to be there before the device is attached.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let keys: &[&str] = match self.driver {
            Driver::Pcap => &["rx_pcap"],
            Driver::VirtioUser if !self.is_server() => &["path"],
            _ => &[],
        };
        self.arguments
            .iter()
            .filter(|(key, _)| keys.contains(&key.as_str()))
            .filter_map(|(_, value)| value.as_deref().map(Path::new))
    }

    fn is_server(&self) -> bool {
        self.argument("server").is_some_and(|value| value != "0")
    }

    fn ring_frame(&self) -> u32 {
        self.argument("framesz").and_then(|size| size.parse().ok()).unwrap_or(RING_FRAME)
    }

    /// What DPDK is given.
    pub(crate) fn devargs(&self) -> String {
        let mut devargs = self.name.clone();
        for (key, value) in &self.arguments {
            devargs.push(',');
            devargs.push_str(key);
            if let Some(value) = value {
                devargs.push('=');
                devargs.push_str(value);
            }
        }
        devargs
    }

    fn with(&self, additions: &[(&str, u32)]) -> String {
        additions
            .iter()
            .filter(|(key, _)| self.argument(key).is_none())
            .fold(self.text.clone(), |text, (key, value)| format!("{text},{key}={value}"))
    }
}

/// The names to choose from, for an error.
pub(crate) fn known() -> String {
    let names: Vec<&str> =
        NAMES.iter().filter(|(written, dpdk, _)| written == dpdk).map(|(name, ..)| *name).collect();
    format!(
        "{} (each with a number behind it), virtio_user, and PCI addresses as 0000:03:00.0",
        names.join(", ")
    )
}

/// The driver whose name `name` starts with; the longest if several fit.
fn virtual_driver(name: &str) -> Option<(&'static str, &'static str, Driver)> {
    NAMES
        .iter()
        .copied()
        .filter(|(written, ..)| name.starts_with(written))
        .max_by_key(|(written, ..)| written.len())
}

/// A PCI address with its domain, from one with or without, and with or without the bus's name.
fn pci_address(name: &str) -> Option<String> {
    let name = name.strip_prefix("pci:").unwrap_or(name);
    let (rest, function) = name.rsplit_once('.')?;
    let parts: Vec<&str> = rest.split(':').collect();
    let hex = |text: &str, most: usize| {
        !text.is_empty() && text.len() <= most && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let digit = matches!(function.as_bytes(), [b'0'..=b'7']);
    match parts[..] {
        [bus, slot] if digit && hex(bus, 2) && hex(slot, 2) => {
            Some(format!("0000:{bus:0>2}:{slot:0>2}.{function}").to_lowercase())
        }
        [domain, bus, slot] if digit && hex(domain, 8) && hex(bus, 2) && hex(slot, 2) => {
            Some(format!("{domain:0>4}:{bus:0>2}:{slot:0>2}.{function}").to_lowercase())
        }
        _ => None,
    }
}

/// Splits arguments at commas that are not within brackets or quotes, and each at its first `=`.
fn split(arguments: &str) -> Vec<(String, Option<String>)> {
    let (mut depth, mut quoted) = (0u32, false);
    arguments
        .split(|c: char| {
            match c {
                '[' | '(' => depth += 1,
                ']' | ')' => depth = depth.saturating_sub(1),
                '"' => quoted = !quoted,
                ',' => return depth == 0 && !quoted,
                _ => {}
            }
            false
        })
        .filter(|argument| !argument.is_empty())
        .map(|argument| match argument.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (argument.to_owned(), None),
        })
        .collect()
}

/// What a buffer may have room for so that it fits into a page with what stands before it, as an XDP
/// socket demands.
fn xdp_data_room() -> u32 {
    4096 - u32::next_multiple_of(sys::SLUICE_MEMPOOL_HEADER_SIZE, 64)
        - sys::SLUICE_MBUF_SIZE
        - sys::SLUICE_HEADROOM
}

/// Adds to a device string the arguments of af_packet that its ring needs: `framesz` and `blocksz`
/// that let frames of `mtu` pass where the driver would cut them, and a `framecnt` that holds what
/// comes while the worker's core is somebody else's; the driver's own 512 are full within a few
/// milliseconds of TCP. What the operator wrote stays as it is.
#[must_use]
pub fn device_with_frame_size(device: &str, mtu: u16) -> String {
    let Ok(parsed) = Device::parse(device) else {
        return device.to_owned();
    };
    let frame = u32::from(mtu) + FRAME_OVERHEAD + RING_RX_HEADER;
    let given = ["framesz", "blocksz"].iter().any(|key| parsed.argument(key).is_some());
    if parsed.driver != Driver::AfPacket || given {
        return device.to_owned();
    }
    if frame <= RING_FRAME {
        return parsed.with(&[("framecnt", RING_MEMORY / RING_FRAME)]);
    }
    // The driver wants frames back to back over the blocks, the kernel wants blocks of whole pages.
    let frame = frame.next_multiple_of(1024);
    let block = frame * (page_size() / gcd(frame, page_size()));
    parsed.with(&[("framesz", frame), ("blocksz", block)])
}

/// Adds to a device string the argument that gives it `queues` queues, where the driver takes it from
/// there. What the operator wrote stays as it is.
#[must_use]
pub fn device_with_queues(device: &str, queues: u16) -> String {
    let Ok(parsed) = Device::parse(device) else {
        return device.to_owned();
    };
    let queues = u32::from(queues);
    match parsed.driver {
        _ if queues <= 1 => device.to_owned(),
        Driver::AfPacket => parsed.with(&[("qpairs", queues)]),
        Driver::AfXdp => parsed.with(&[("queue_count", queues)]),
        Driver::VirtioUser => parsed.with(&[("queues", queues), ("cq", 1)]),
        Driver::Vhost => parsed.with(&[("queues", queues)]),
        _ => device.to_owned(),
    }
}

/// The bytes, without headroom, that a pool's buffers must have room for so that the device can
/// receive packets of `mtu` whole, and that its driver accepts the pool.
#[must_use]
pub fn required_data_room(device: &str, mtu: u16) -> u16 {
    let frame = u32::from(mtu) + FRAME_OVERHEAD;
    let room = match Device::parse(&device_with_frame_size(device, mtu)) {
        // The driver refuses a pool whose buffers are smaller than the ring's frames, less the header.
        Ok(parsed) if parsed.driver == Driver::AfPacket => {
            parsed.ring_frame().saturating_sub(RING_HEADER).max(frame)
        }
        Ok(parsed) if parsed.driver == Driver::AfXdp => (frame + XDP_HEADROOM).min(xdp_data_room()),
        _ => frame,
    };
    u16::try_from(room.max(DATA_ROOM)).unwrap_or(u16::MAX - sys::SLUICE_HEADROOM as u16)
}

fn page_size() -> u32 {
    // SAFETY: reads a constant of the system.
    u32::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Device {
        Device::parse(text).unwrap()
    }

    #[test]
    fn the_strings_of_the_manual_are_understood() {
        for (text, name, driver) in [
            ("net_af_packet0,iface=veth0", "net_af_packet0", Driver::AfPacket),
            ("net_af_xdp0,iface=veth0", "net_af_xdp0", Driver::AfXdp),
            ("net_tap0", "net_tap0", Driver::Tap),
            ("net_pcap0,rx_pcap=a,tx_pcap=b", "net_pcap0", Driver::Pcap),
            ("net_ring0", "net_ring0", Driver::Ring),
            ("net_null0", "net_null0", Driver::Null),
            ("virtio_user0,path=/tmp/s", "net_virtio_user0", Driver::VirtioUser),
            ("net_virtio_user_lan,path=/tmp/s", "net_virtio_user_lan", Driver::VirtioUser),
            ("net_vhost3,iface=/tmp/s", "net_vhost3", Driver::Vhost),
            ("net_memif0", "net_memif0", Driver::Memif),
            ("net_bonding0,mode=1", "net_bonding0", Driver::Other),
            ("0000:03:00.0", "0000:03:00.0", Driver::Pci),
            ("pci:3:0.1", "0000:03:00.1", Driver::Pci),
            ("0000:AF:00.0,arg=1", "0000:af:00.0", Driver::Pci),
        ] {
            let device = parsed(text);
            assert_eq!((device.name(), device.driver()), (name, driver), "{text}");
            assert_eq!(device.text(), text);
        }
    }

    #[test]
    fn what_dpdk_is_given_keeps_the_arguments() {
        assert_eq!(
            parsed("virtio_user0,path=/tmp/s,queues=2,server").devargs(),
            "net_virtio_user0,path=/tmp/s,queues=2,server"
        );
        assert_eq!(
            parsed("3:0.0,list=[1,2],x=\"a,b\"").devargs(),
            "0000:03:00.0,list=[1,2],x=\"a,b\""
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, wanted) in [
            ("", "empty"),
            ("  ", "empty"),
            ("eth0", "known are net_af_packet"),
            ("af_packet0,iface=x", "\"af_packet0\""),
            ("net_", "no driver"),
            ("net_null0 ,a=b", "blank"),
            ("net_null0,a=b\nc", "blank"),
            ("net_af_packet0", "iface=INTERFACE"),
            ("net_af_xdp0,iface=", "iface=INTERFACE"),
            ("virtio_user0", "path=SOCKET"),
            ("0000:03:00.9", "no driver"),
            (&format!("net_null{}", "0".repeat(60)), "longer than 63"),
        ] {
            let error = Device::parse(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
    }

    #[test]
    fn interfaces_and_files_are_found() {
        assert_eq!(parsed("net_af_packet0,iface=veth0").interface(), Some("veth0"));
        assert_eq!(parsed("net_tap0,iface=lan").interface(), None, "tap makes it");
        assert_eq!(parsed("net_tap0,remote=eth0").interface(), Some("eth0"));
        assert_eq!(parsed("net_pcap0,rx_iface=eth0").interface(), Some("eth0"));
        let files = |text: &str| {
            parsed(text).files().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(files("net_pcap0,rx_pcap=/a,rx_pcap=/b,tx_pcap=/c"), ["/a", "/b"]);
        assert_eq!(files("virtio_user0,path=/s"), ["/s"]);
        assert!(files("virtio_user0,path=/s,server=1").is_empty());
    }

    #[test]
    fn a_jumbo_mtu_asks_for_larger_frames_where_they_are_needed() {
        assert_eq!(
            device_with_frame_size("net_af_packet0,iface=a", 1500),
            "net_af_packet0,iface=a,framecnt=2048"
        );
        let few = "net_af_packet0,iface=a,framecnt=64";
        assert_eq!(device_with_frame_size(few, 1500), few);
        assert_eq!(
            device_with_frame_size("net_af_packet0,iface=a", 9000),
            "net_af_packet0,iface=a,framesz=9216,blocksz=36864"
        );
        let given = "net_af_packet0,iface=a,framesz=16384,blocksz=16384";
        assert_eq!(device_with_frame_size(given, 9000), given);
        assert_eq!(device_with_frame_size("net_tap0", 9000), "net_tap0");
        assert_eq!(device_with_frame_size("nonsense", 9000), "nonsense");
        for mtu in 68..=9500 {
            let text = device_with_frame_size("net_af_packet0,iface=a", mtu);
            let device = parsed(&text);
            assert!(device.max_frame().unwrap() >= u32::from(mtu) + 18, "{text}");
            let number = |key| device.argument(key).map_or(0, |n| n.parse::<u32>().unwrap());
            if number("framesz") != 0 {
                assert_eq!(number("blocksz") % number("framesz"), 0, "{text}");
                assert_eq!(number("blocksz") % 4096, 0, "{text}");
                assert_eq!(512 % (number("blocksz") / number("framesz")), 0, "{text}");
            }
            assert!(u32::from(required_data_room(&text, mtu)) >= device.ring_frame() - 32);
        }
    }

    #[test]
    fn queues_are_added_where_the_driver_wants_them() {
        for (text, wanted) in [
            ("net_af_packet0,iface=a", "net_af_packet0,iface=a,qpairs=2"),
            ("net_af_packet0,iface=a,qpairs=4", "net_af_packet0,iface=a,qpairs=4"),
            ("net_af_xdp0,iface=a", "net_af_xdp0,iface=a,queue_count=2"),
            ("virtio_user0,path=p", "virtio_user0,path=p,queues=2,cq=1"),
            ("net_tap0", "net_tap0"),
            ("0000:03:00.0", "0000:03:00.0"),
        ] {
            assert_eq!(device_with_queues(text, 2), wanted);
            assert_eq!(device_with_queues(text, 1), text);
        }
    }

    #[test]
    fn buffers_fit_the_driver() {
        assert_eq!(required_data_room("net_null0", 1500), 2048);
        assert_eq!(required_data_room("net_tap0", 9000), 9022);
        assert_eq!(required_data_room("net_af_packet0,iface=a", 9000), 9216 - 32);
        assert_eq!(required_data_room("net_af_xdp0,iface=a", 1500), 2048);
        assert!(required_data_room("net_af_xdp0,iface=a", 9000) < 4096);
    }
}

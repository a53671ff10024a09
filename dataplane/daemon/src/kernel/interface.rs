//! Taking an interface away from the kernel, and giving it back as it was.
//!
//! While an interface is taken it is up, the kernel has IPv6, ARP and IPv4 forwarding switched off
//! on it and no address, and multicast frames reach it (neighbour discovery depends on them). What
//! it was before is on record in the state directory before the first change, see `record`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage};

use super::KernelError;
use super::netlink::{self, By, Netlink};
use super::record::{self, Original, Saved};

#[cfg(test)]
mod tests;

/// The flags that a taken interface has.
const TAKEN: LinkFlags = LinkFlags::Up.union(LinkFlags::Noarp).union(LinkFlags::Allmulti);
/// The flags that are restored; promiscuous mode is the driver's doing.
const RESTORED: LinkFlags = TAKEN.union(LinkFlags::Promisc);

/// What is written under `/proc/sys/net`, with `*` for the interface: the kernel neither speaks
/// IPv6 nor routes what comes in.
const SYSCTLS: [(&str, &str); 2] =
    [("ipv6/conf/*/disable_ipv6", "1"), ("ipv4/conf/*/forwarding", "0")];

/// The kernel interface that a DPDK device string names, if its driver leaves the interface to the
/// kernel: `net_af_packet` and `net_af_xdp`.
pub fn device_interface(device: &str) -> Option<&str> {
    let mut parts = device.split(',').map(str::trim);
    let driver = parts.next()?;
    let shared = ["net_af_packet", "eth_af_packet", "net_af_xdp"];
    if !shared.iter().any(|prefix| driver.starts_with(prefix)) {
        return None;
    }
    parts.find_map(|part| part.strip_prefix("iface=")).filter(|name| !name.is_empty())
}

/// An interface that is taken from the kernel. Dropping it gives the interface back;
/// [`restore`](Self::restore) does so and says whether it worked.
pub struct KernelInterface {
    name: String,
    index: u32,
    original: Original,
    record: PathBuf,
    netlink: Netlink,
    taken: bool,
}

impl KernelInterface {
    /// Takes an interface of the calling thread's network namespace.
    ///
    /// A record that an earlier process left in `state_dir` when it was killed is honoured: what
    /// is restored in the end is the state before that process.
    ///
    /// # Errors
    ///
    /// [`KernelError::HasAddresses`] unless `steal` is set: then addresses and routes are put
    /// aside, to be restored. Link-local addresses count as none. The other errors say what is
    /// missing; nothing stays changed after any of them.
    pub fn take(name: &str, steal: bool, state_dir: &Path) -> Result<KernelInterface, KernelError> {
        let refused = |error| KernelError::refused("look up", name, error);
        let mut netlink = Netlink::open().map_err(refused)?;
        let link = netlink
            .link(By::Name(name))
            .map_err(refused)?
            .ok_or_else(|| KernelError::NoSuchInterface { name: name.to_owned() })?;
        let index = link.header.index;
        let addresses = netlink.addresses(index).map_err(refused)?;
        let used: Vec<String> = addresses
            .iter()
            .filter(|address| !is_link_local(address))
            .filter_map(|message| Some((netlink::address(message)?, message.header.prefix_len)))
            .map(|(address, length)| format!("{address}/{length}"))
            .collect();
        if !used.is_empty() && !steal {
            let addresses = used.join(", ");
            return Err(KernelError::HasAddresses { name: name.to_owned(), addresses });
        }
        let routes = netlink.routes(index).map_err(refused)?;
        let present = observe(name, &link, addresses, routes);
        let record = record::path(state_dir, name);
        let original = match record::load(&record) {
            Some(recorded) if recorded.identity == present.identity => merge(recorded, present),
            _ => present,
        };
        record::store(&record, &original)?;
        // From here on, an error drops `interface` and with it restores everything.
        let name = name.to_owned();
        let mut interface = KernelInterface { name, index, original, record, netlink, taken: true };
        interface.silence()?;
        Ok(interface)
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Gives the interface back as it was. One that was deleted in the meantime is fine.
    ///
    /// # Errors
    ///
    /// What could not be restored; the rest is, and the record stays for another attempt.
    pub fn restore(mut self) -> Result<(), KernelError> {
        self.give_back()
    }

    /// Makes the kernel deaf and mute on the interface.
    fn silence(&mut self) -> Result<(), KernelError> {
        let (index, name) = (self.index, self.name.as_str());
        for (key, value) in SYSCTLS {
            if let Err(error) = write_sysctl(&key.replace('*', name), value) {
                tracing::warn!(
                    "interface `{name}`: cannot write {value} to /proc/sys/net/{}: {error}; the \
                     kernel may answer or forward packets of this port too. In a container, start \
                     it with `--sysctl net.ipv6.conf.default.disable_ipv6=1 --sysctl \
                     net.ipv4.ip_forward=0`",
                    key.replace('*', name),
                );
                if key.starts_with("ipv6") {
                    // The next best: no link-local address, so nothing to answer for.
                    let none = netlink::generate_addresses(In6AddrGenMode::None);
                    self.netlink
                        .set_link(index, none)
                        .map_err(|error| KernelError::refused("switch off IPv6 on", name, error))?;
                }
            }
        }
        let refused = |error| KernelError::refused("remove the addresses of", name, error);
        for address in self.netlink.addresses(index).map_err(refused)? {
            self.netlink.remove_address(address).map_err(refused)?;
        }
        self.netlink
            .set_flags(index, TAKEN, TAKEN)
            .map_err(|error| KernelError::refused("take", name, error))
    }

    fn give_back(&mut self) -> Result<(), KernelError> {
        if !self.taken {
            return Ok(());
        }
        self.taken = false;
        let refused = |error| KernelError::refused("restore", &self.name, error);
        if let Some(link) = self.netlink.link(By::Index(self.index)).map_err(refused)? {
            self.restore_link(&link)?;
        }
        record::remove(&self.record)
    }

    /// Goes through everything even if something fails, and reports the first failure.
    fn restore_link(&mut self, link: &LinkMessage) -> Result<(), KernelError> {
        let (index, original) = (self.index, &self.original);
        // It may have been renamed.
        let name = netlink::name(link).unwrap_or(&self.name);
        let mut first = Ok(());
        let mut note = |what, result: io::Result<()>| {
            if let (Err(error), Ok(())) = (result, &first) {
                first = Err(KernelError::refused(what, name, error));
            }
        };
        if let Some(mac) = original.mac.filter(|_| netlink::mac(link) != original.mac) {
            let mac = LinkAttribute::Address(mac.to_vec());
            note("restore the MAC address of", self.netlink.set_link(index, mac));
        }
        if netlink::mtu(link) != original.mtu {
            let mtu = LinkAttribute::Mtu(original.mtu);
            note("restore the MTU of", self.netlink.set_link(index, mtu));
        }
        if let Some(mode) = original.address_generation {
            let mode = In6AddrGenMode::from(mode);
            if netlink::address_generation(link) != Some(mode) {
                let attribute = netlink::generate_addresses(mode);
                note("switch on IPv6 on", self.netlink.set_link(index, attribute));
            }
        }
        // ARP before IPv6: without it, new link-local addresses skip duplicate detection.
        let flags = LinkFlags::from_bits_retain(original.flags);
        note("restore the flags of", self.netlink.set_flags(index, flags, RESTORED));
        for (key, value) in &original.sysctls {
            note("restore the settings of", write_sysctl(&key.replace('*', name), value));
        }
        for saved in original.addresses.iter().chain(&original.routes) {
            let Some(message) = saved.message() else { continue };
            if let Err(error) = self.netlink.add(message) {
                // Not worth failing for: a route may depend on something else that is gone.
                tracing::warn!("interface `{name}`: an address or route is lost: {error}");
            }
        }
        first
    }
}

impl Drop for KernelInterface {
    fn drop(&mut self) {
        if let Err(error) = self.give_back() {
            tracing::warn!("{error}");
        }
    }
}

/// Gives back the interfaces that a killed process left taken and that nobody took since. For the
/// end of a program, when it has dropped its own.
pub fn restore_abandoned(state_dir: &Path) {
    for name in record::names(state_dir) {
        let record = record::path(state_dir, &name);
        let Ok(mut netlink) = Netlink::open() else { return };
        let link = netlink.link(By::Name(&name)).ok().flatten();
        match (link, record::load(&record)) {
            (Some(link), Some(original))
                if original.identity == record::identity(link.header.index) =>
            {
                let index = link.header.index;
                drop(KernelInterface { name, index, original, record, netlink, taken: true });
            }
            _ => {
                if let Err(error) = record::remove(&record) {
                    tracing::warn!("{error}");
                }
            }
        }
    }
}

/// The state of an interface as it is now.
fn observe(
    name: &str,
    link: &LinkMessage,
    addresses: Vec<AddressMessage>,
    routes: Vec<netlink_packet_route::route::RouteMessage>,
) -> Original {
    // One that is absent (a kernel without IPv6) needs neither change nor restoring.
    let sysctl = |(key, _): (&str, &str)| {
        let value = fs::read_to_string(sysctl_path(&key.replace('*', name))).ok()?;
        Some((key.to_owned(), value.trim().to_owned()))
    };
    Original {
        identity: record::identity(link.header.index),
        flags: link.header.flags.bits(),
        mtu: netlink::mtu(link),
        mac: netlink::mac(link),
        address_generation: netlink::address_generation(link).map(|mode| u8::from(&mode)),
        sysctls: SYSCTLS.into_iter().filter_map(sysctl).collect::<BTreeMap<_, _>>(),
        addresses: addresses
            .into_iter()
            .map(|address| Saved::new(RouteNetlinkMessage::NewAddress(address)))
            .collect(),
        routes: routes
            .into_iter()
            .map(|route| Saved::new(RouteNetlinkMessage::NewRoute(route)))
            .collect(),
    }
}

/// What is on record, with addresses and routes that were added since.
fn merge(mut recorded: Original, present: Original) -> Original {
    for (old, new) in
        [(&mut recorded.addresses, present.addresses), (&mut recorded.routes, present.routes)]
    {
        for saved in new {
            if !old.contains(&saved) {
                old.push(saved);
            }
        }
    }
    recorded
}

/// RFC 3927, RFC 4291 section 2.5.6.
fn is_link_local(message: &AddressMessage) -> bool {
    match netlink::address(message) {
        Some(IpAddr::V4(address)) => address.is_link_local(),
        Some(IpAddr::V6(address)) => address.is_unicast_link_local(),
        None => false,
    }
}

fn sysctl_path(key: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(key)
}

/// Writes a setting unless it has the value already, or does not exist at all.
fn write_sysctl(key: &str, value: &str) -> io::Result<()> {
    let path = sysctl_path(key);
    match fs::read_to_string(&path) {
        Ok(present) if present.trim() == value => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => fs::write(&path, value),
    }
}

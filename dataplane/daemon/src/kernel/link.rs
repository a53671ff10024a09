//! Link state of the kernel's interfaces, as it changes.
//!
//! A [`LinkWatch`] listens on rtnetlink's link group in the network namespace of the thread that
//! made it. The agent polls its descriptor and calls [`LinkWatch::drain`] when it is readable. When
//! the kernel had to drop notifications (ENOBUFS), the watch lists all links anew and reports the
//! differences, so that no change is missed, whatever the load.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::netlink::{self, By, Netlink};

#[cfg(test)]
mod tests;

/// `RTNLGRP_LINK` of rtnetlink(7).
const LINK_GROUP: u32 = 1;
/// Datagrams read by one call of [`LinkWatch::drain`] at most.
const BUDGET: usize = 1024;

/// An interface's link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Number of the interface.
    pub index: u32,
    /// Whether it is switched on and has carrier.
    pub up: bool,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Link address, of an Ethernet interface.
    pub mac: Option<[u8; 6]>,
}

impl Link {
    fn of(message: &LinkMessage) -> Link {
        // RUNNING is the operational state of RFC 2863, LOWER_UP is carrier.
        let up = LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp;
        Link {
            index: message.header.index,
            up: message.header.flags.contains(up),
            mtu: netlink::mtu(message),
            mac: netlink::mac(message),
        }
    }
}

/// Something happened to an interface: it came, changed, or went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkChange {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Whether it is switched on and has carrier.
    pub up: bool,
    /// Whether there is no interface of this name any more.
    pub removed: bool,
}

/// Follows the links of a network namespace.
pub struct LinkWatch {
    events: Socket,
    netlink: Netlink,
    links: HashMap<u32, (String, Link)>,
    /// The kernel had to drop notifications: `links` is not to be relied on.
    lost: bool,
}

impl LinkWatch {
    /// Starts to listen. What exists already is not reported as a change.
    ///
    /// # Errors
    ///
    /// The kernel's, if it has no rtnetlink for us.
    pub fn new() -> io::Result<LinkWatch> {
        let mut events = Socket::new(NETLINK_ROUTE)?;
        events.bind(&SocketAddr::new(0, 0))?;
        events.set_non_blocking(true)?;
        events.add_membership(LINK_GROUP)?;
        let netlink = Netlink::open()?;
        let mut watch = LinkWatch { events, netlink, links: HashMap::new(), lost: false };
        watch.list(&mut Vec::new())?;
        Ok(watch)
    }

    /// An interface's link as it is now; `None` if there is none of this name.
    pub fn state(&mut self, name: &str) -> Option<Link> {
        match self.netlink.link(By::Name(name)) {
            Ok(link) => link.as_ref().map(Link::of),
            Err(error) => {
                tracing::warn!("cannot read the link state of interface `{name}`: {error}");
                None
            }
        }
    }

    /// What changed since the last call. Never blocks.
    pub fn drain(&mut self) -> Vec<LinkChange> {
        let mut changes = Vec::new();
        for _ in 0..BUDGET {
            match self.events.recv_from_full() {
                Ok((datagram, sender)) if sender.port_number() == 0 => {
                    for message in netlink::messages(&datagram) {
                        if let NetlinkPayload::InnerMessage(message) = message.payload {
                            self.note(message, &mut changes);
                        }
                    }
                }
                // Only the kernel is believed.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Only now: what was still queued is older than what a list says.
                    if self.lost {
                        self.relist(&mut changes);
                    }
                    break;
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.lost = true,
                Err(error) => {
                    tracing::warn!("cannot read link changes: {error}");
                    break;
                }
            }
        }
        changes
    }

    fn note(&mut self, message: RouteNetlinkMessage, changes: &mut Vec<LinkChange>) {
        match message {
            // Other families tell of a bridge's ports, which come and go without the interface.
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
                if link.header.interface_family != AddressFamily::Unspec => {}
            RouteNetlinkMessage::NewLink(link) => self.present(&link, changes),
            RouteNetlinkMessage::DelLink(link) => self.gone(link.header.index, changes),
            _ => {}
        }
    }

    fn present(&mut self, message: &LinkMessage, changes: &mut Vec<LinkChange>) {
        let Some(name) = netlink::name(message) else { return };
        let link = Link::of(message);
        let index = link.index;
        match self.links.get(&index) {
            Some((known, _)) if known != name => self.gone(index, changes),
            Some((_, known)) if *known == link => return,
            _ => {}
        }
        changes.push(LinkChange { name: name.to_owned(), index, up: link.up, removed: false });
        self.links.insert(index, (name.to_owned(), link));
    }

    fn gone(&mut self, index: u32, changes: &mut Vec<LinkChange>) {
        if let Some((name, _)) = self.links.remove(&index) {
            changes.push(LinkChange { name, index, up: false, removed: true });
        }
    }

    fn relist(&mut self, changes: &mut Vec<LinkChange>) {
        match self.list(changes) {
            Ok(()) => self.lost = false,
            Err(error) => tracing::warn!("cannot list the kernel's interfaces: {error}"),
        }
    }

    /// Compares all links with what is known of them.
    fn list(&mut self, changes: &mut Vec<LinkChange>) -> io::Result<()> {
        let links = self.netlink.links()?;
        let mut absent: Vec<u32> = self.links.keys().copied().collect();
        absent.retain(|index| !links.iter().any(|link| link.header.index == *index));
        for index in absent {
            self.gone(index, changes);
        }
        for link in &links {
            self.present(link, changes);
        }
        Ok(())
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

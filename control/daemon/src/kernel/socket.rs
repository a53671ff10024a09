//! Sockets to the kernel, in the network namespace of the process: one that hears of changes, one
//! that is asked for everything.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use tokio::sync::mpsc;

/// Groups of rtnetlink(7): links, addresses and routes of both families. The kernel says nothing of
/// the routes that go with a link or an address.
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];

/// What may wait to be read; the kernel drops what is more, and says so.
const BUFFER: usize = 8 << 20;

/// The kernel answers while the request is being sent; this bound is for a broken one.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether anybody still listens.
const LOOK: Duration = Duration::from_millis(250);

/// Datagrams that wait; more wait in the kernel.
const WAITING: usize = 64;

/// What is heard of changes from now on, datagram by datagram; `ENOBUFS` where the kernel had to drop
/// some. It ends with any other error.
pub(super) fn listen() -> io::Result<mpsc::Receiver<io::Result<Vec<u8>>>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    for group in GROUPS {
        socket.add_membership(group)?;
    }
    // As much as the system allows.
    let _ = socket.set_rx_buf_sz(BUFFER);
    set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(LOOK))?;
    let (sender, heard) = mpsc::channel(WAITING);
    let listener = std::thread::Builder::new().name("kernel-routes".into());
    listener.spawn(move || {
        while !sender.is_closed() {
            let read = match socket.recv_from_full() {
                Ok((datagram, _)) => Ok(datagram),
                Err(error) if is_silence(&error) => continue,
                Err(error) => Err(error),
            };
            let last = read.as_ref().is_err_and(|error| !is_overrun(error));
            if sender.blocking_send(read).is_err() || last {
                break;
            }
        }
    })?;
    Ok(heard)
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Whether the kernel had to drop messages.
pub(super) fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

/// Everything that there is now.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// The names of links, by number.
    pub(super) links: HashMap<u32, String>,
    /// The routes of all tables.
    pub(super) routes: Vec<RouteMessage>,
}

/// Asks for everything. It takes as long as there are routes.
pub(super) fn snapshot() -> io::Result<Snapshot> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(PATIENCE))?;
    let mut snapshot = Snapshot::default();
    let mut take = |message| match message {
        RouteNetlinkMessage::NewLink(link) => {
            snapshot.links.extend(name(&link).map(|name| (link.header.index, name.to_owned())));
        }
        RouteNetlinkMessage::NewRoute(route) => snapshot.routes.push(route),
        _ => {}
    };
    dump(&mut socket, 1, RouteNetlinkMessage::GetLink(LinkMessage::default()), &mut take)?;
    for (sequence, family) in [(2, AddressFamily::Inet), (3, AddressFamily::Inet6)] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        dump(&mut socket, sequence, RouteNetlinkMessage::GetRoute(message), &mut take)?;
    }
    Ok(snapshot)
}

/// What a link is called.
pub(super) fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn dump(
    socket: &mut Socket,
    sequence: u32,
    question: RouteNetlinkMessage,
    take: &mut impl FnMut(RouteNetlinkMessage),
) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = sequence;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(question));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for message in messages(&datagram) {
            if message.header.sequence_number != sequence {
                continue;
            }
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => take(answer),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// The messages in a datagram. One that this version of the decoder does not understand is left out
/// and mentioned in the debug log: newer kernels add attributes.
pub(super) fn messages(
    datagram: &[u8],
) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> + '_ {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        while let Ok(next) = NetlinkBuffer::new_checked(rest) {
            let length = next.length() as usize;
            let (message, after) = rest.split_at(length);
            rest = after.get(length.wrapping_neg() % 4..).unwrap_or_default();
            match NetlinkMessage::deserialize(message) {
                Ok(message) => return Some(message),
                Err(error) => tracing::debug!(%error, "rtnetlink message not understood"),
            }
        }
        None
    })
}

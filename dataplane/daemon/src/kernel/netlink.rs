//! Requests to the kernel over rtnetlink (rtnetlink(7)): links, addresses, routes.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage,
};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// The kernel answers while the request is being sent; this bound is for a broken one.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a link is looked up.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    Name(&'a str),
    Index(u32),
}

/// A socket for requests, in the network namespace of the thread that opened it.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Netlink> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(PATIENCE))?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// The link, or `None` if there is none.
    pub(super) fn link(&mut self, by: By<'_>) -> io::Result<Option<LinkMessage>> {
        let mut message = LinkMessage::default();
        match by {
            By::Name(name) => message.attributes.push(LinkAttribute::IfName(name.to_owned())),
            By::Index(index) => message.header.index = index,
        }
        match self.request(RouteNetlinkMessage::GetLink(message), 0) {
            Ok(answers) => Ok(answers.into_iter().find_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => Some(link),
                _ => None,
            })),
            // The last two: empty, or longer than any interface's name can be.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENODEV | libc::ERANGE | libc::EINVAL)
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn links(&mut self) -> io::Result<Vec<LinkMessage>> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.request(request, NLM_F_DUMP)?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => Some(link),
                _ => None,
            })
            .collect())
    }

    /// The addresses of a link, primary ones first.
    pub(super) fn addresses(&mut self, index: u32) -> io::Result<Vec<AddressMessage>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.request(request, NLM_F_DUMP)?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(address) if address.header.index == index => {
                    Some(address)
                }
                _ => None,
            })
            .collect())
    }

    /// The routes that lead over a link and that neither the kernel nor router advertisements
    /// make again by themselves; on-link ones first, since the others' gateways depend on them.
    pub(super) fn routes(&mut self, index: u32) -> io::Result<Vec<RouteMessage>> {
        let request = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let answers = self.request(request, NLM_F_DUMP)?;
        let by_hand = |protocol| !matches!(protocol, RouteProtocol::Kernel | RouteProtocol::Ra);
        let mut routes: Vec<RouteMessage> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(route)
                    if leads_over(&route, index) && by_hand(route.header.protocol) =>
                {
                    Some(route)
                }
                _ => None,
            })
            .collect();
        routes.sort_by_key(|route| {
            let via = |a: &RouteAttribute| {
                matches!(a, RouteAttribute::Gateway(_) | RouteAttribute::MultiPath(_))
            };
            route.attributes.iter().any(via)
        });
        Ok(routes)
    }

    /// Sets the flags under `mask` of a link.
    pub(super) fn set_flags(
        &mut self,
        index: u32,
        flags: LinkFlags,
        mask: LinkFlags,
    ) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = flags & mask;
        message.header.change_mask = mask;
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    /// Sets an attribute of a link.
    pub(super) fn set_link(&mut self, index: u32, attribute: LinkAttribute) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(attribute);
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    /// Removes an address; one that is gone already (a secondary goes with its primary) is fine.
    pub(super) fn remove_address(&mut self, address: AddressMessage) -> io::Result<()> {
        match self.request(RouteNetlinkMessage::DelAddress(address), NLM_F_ACK) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Adds an address or a route; one that is there already is fine.
    pub(super) fn add(&mut self, what: RouteNetlinkMessage) -> io::Result<()> {
        match self.request(what, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other.map(drop),
        }
    }

    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages(&datagram) {
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => {
                        answers.push(answer);
                        // One answer, no "done" after it.
                        if flags & (NLM_F_ACK | NLM_F_DUMP) == 0 {
                            return Ok(answers);
                        }
                    }
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                    _ => {}
                }
            }
        }
    }
}

/// The messages in a datagram. One that this version of the decoder does not understand is left
/// out and mentioned in the debug log: newer kernels add attributes.
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

fn leads_over(route: &RouteMessage, index: u32) -> bool {
    route.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Oif(oif) => *oif == index,
        RouteAttribute::MultiPath(hops) => hops.iter().any(|hop| hop.interface_index == index),
        _ => false,
    })
}

/// A link's name.
pub(super) fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// A link's MTU.
pub(super) fn mtu(link: &LinkMessage) -> u32 {
    let mtu = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    mtu.unwrap_or(0)
}

/// A link's address, if it is an Ethernet one.
pub(super) fn mac(link: &LinkMessage) -> Option<[u8; 6]> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    })
}

/// How a link makes its IPv6 link-local address.
pub(super) fn address_generation(link: &LinkMessage) -> Option<In6AddrGenMode> {
    let families = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::AfSpecUnspec(families) => Some(families),
        _ => None,
    })?;
    let inet6 = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(attributes) => Some(attributes),
        _ => None,
    })?;
    inet6.iter().find_map(|attribute| match attribute {
        AfSpecInet6::AddrGenMode(mode) => Some(*mode),
        _ => None,
    })
}

/// The attribute that sets [`address_generation`].
pub(super) fn generate_addresses(mode: In6AddrGenMode) -> LinkAttribute {
    let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(mode)]);
    LinkAttribute::AfSpecUnspec(vec![inet6])
}

/// An address: IFA_LOCAL where there is one, since IFA_ADDRESS is the peer then (rtnetlink(7)).
pub(super) fn address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

//! The tap of an operator who captures: an observer (`hook_pkt_observe_t`) that copies packets into
//! a ring of its worker, which the agent reads.
//!
//! It stands at OBSERVING while somebody captures, and is not there otherwise. It never waits: a
//! packet that finds the ring full goes on uncopied, and is counted. Copies are as the packet is on
//! the wire: what leaves has the link header that it will be sent with, as far as its neighbour is
//! known, and checksums that the sender left to hardware are put in.

pub mod ring;

use std::sync::Arc;

use sluice_channel::{CaptureDirection, CaptureFilter};
use sluice_dpdk::tsc;
use sluice_hooks::{Burst, Context, Direction, Hook, Observed, Way};
use sluice_packet::{DescriptorFlags, FlowKey, Mask, checksum};
use sluice_policy::Interface;

use crate::neighbour::LinkHeader;
use crate::neighbour::table::NeighbourTable;
use ring::{Note, Writer};

/// One worker's tap.
pub struct Tap {
    filter: CaptureFilter,
    writer: Writer,
    neighbours: Arc<NeighbourTable>,
}

/// Where a packet was seen, as it is said to who captures.
#[must_use]
pub fn direction(direction: Direction) -> CaptureDirection {
    match direction {
        Direction::Inbound => CaptureDirection::In,
        Direction::Outbound => CaptureDirection::Out,
        Direction::Local => CaptureDirection::Local,
        Direction::Dropped => CaptureDirection::Dropped,
    }
}

impl Tap {
    /// A tap that copies what `filter` means. Its instance is not looked at: the tap stands there
    /// alone.
    #[must_use]
    pub fn new(filter: CaptureFilter, writer: Writer, neighbours: Arc<NeighbourTable>) -> Tap {
        Tap { filter, writer, neighbours }
    }

    fn wants(&self, cx: &Context<'_>, burst: &Burst, slot: usize, seen: &Observed) -> bool {
        let filter = &self.filter;
        let direction = direction(seen.direction);
        let here = match direction {
            CaptureDirection::Dropped => {
                filter.drops || filter.direction == Some(CaptureDirection::Dropped)
            }
            _ => filter.direction.is_none_or(|wanted| wanted == direction),
        };
        let by = |name: &str| {
            let interface = seen.interface.and_then(|id| cx.policy.interface(id));
            interface.is_some_and(|interface| {
                let port = cx.policy.port(interface.port);
                *interface.name == *name || port.is_some_and(|port| *port.name == *name)
            })
        };
        here && filter.interface.as_deref().is_none_or(by)
            && means(filter, (!burst.is_arp(slot)).then(|| &burst.descriptor(slot).key))
    }

    fn copy(&mut self, cx: &Context<'_>, burst: &Burst, slot: usize, seen: &Observed) {
        let (Some(mbuf), d) = (burst.mbuf(slot), burst.descriptor(slot)) else { return };
        let data = mbuf.data();
        let Some((link, packet)) = data.split_at_checked(d.l3_offset.into()) else { return };
        let made = self.link_header(cx, burst, slot, seen);
        let link = made.as_ref().map_or(link, LinkHeader::bytes);
        let missing = match mbuf.l4_checksum_missing() {
            true => checksum::full(d, mbuf.segments()),
            false => checksum::completion(d, mbuf.segments()),
        };
        let sum = missing.map_or([0; 2], |missing| missing.checksum.to_be_bytes());
        let parted = missing.and_then(|missing| {
            let (before, behind) =
                packet.split_at_checked(missing.offset.checked_sub(d.l3_offset.into())?)?;
            Some([before, &sum, behind.get(sum.len()..)?])
        });
        let packet = parted.unwrap_or([packet, &[], &[]]);
        let frame = [link].into_iter().chain(packet).chain(mbuf.segments().skip(1));
        let name = |id| cx.policy.instance(id).map_or("", |instance| &*instance.name);
        let interface = seen.interface.and_then(|id| cx.policy.interface(id));
        let note = Note {
            tsc: tsc(),
            direction: seen.direction,
            dropped: seen.dropped,
            length: link.len() + seen.length,
            names: [
                &cx.instance.name,
                interface.map_or("", |interface| &interface.name),
                seen.from.map_or("", name),
                seen.to.map_or("", name),
            ],
        };
        self.writer.push(&note, frame);
    }

    /// The link header of what does not have one yet; `None` where the frame is complete. Who has
    /// no link, or a neighbour that is not known yet, has addresses of zeros there.
    fn link_header(
        &self,
        cx: &Context<'_>,
        burst: &Burst,
        slot: usize,
        seen: &Observed,
    ) -> Option<LinkHeader> {
        const NOBODY: [u8; 6] = [0; 6];
        let d = burst.descriptor(slot);
        let family = d.key.family;
        let way = burst.way(slot);
        let own = d.flags.contains(DescriptorFlags::LOCAL_ORIGIN);
        let complete = matches!(way, Way::Frame(_)) || burst.is_arp(slot);
        match seen.direction {
            Direction::Inbound => return None,
            Direction::Dropped if !own || complete => return None,
            Direction::Outbound if complete => return None,
            Direction::Dropped | Direction::Local => {
                return Some(LinkHeader::new(0, family, NOBODY, NOBODY));
            }
            Direction::Outbound => {}
        }
        let interface: &Interface = cx.policy.interface(burst.egress(slot))?;
        let address = match way {
            Way::NextHop(id) => cx.policy.next_hop(id).via.unwrap_or(d.key.dst),
            _ => d.key.dst,
        };
        let known = self.neighbours.lookup(interface.id, family, address);
        let mac = known.map_or(NOBODY, |known| known.mac);
        let own = cx.ports.get(interface.port).map_or(NOBODY, |facts| facts.mac);
        Some(LinkHeader::new(interface.vlan, family, mac, own))
    }
}

impl Hook for Tap {
    fn process(&mut self, cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
        for slot in packets {
            let seen = cx.packet(burst, slot).and_then(|packet| packet.observed(cx));
            if let Some(seen) = seen.filter(|seen| self.wants(cx, burst, slot, seen)) {
                self.copy(cx, burst, slot, &seen);
            }
        }
    }

    fn sees_drops(&self) -> bool {
        self.filter.drops || self.filter.direction == Some(CaptureDirection::Dropped)
    }
}

/// Whether the filter means a packet with this key, as far as addresses, protocol and ports go. ARP
/// has none.
fn means(filter: &CaptureFilter, key: Option<&FlowKey>) -> bool {
    let CaptureFilter { source, destination, host, protocol, port, .. } = filter;
    let Some(key) = key else {
        return source.or(*destination).or(*host).is_none() && protocol.is_none() && port.is_none();
    };
    source.is_none_or(|net| net.contains(&key.src_ip()))
        && destination.is_none_or(|net| net.contains(&key.dst_ip()))
        && host.is_none_or(|net| net.contains(&key.src_ip()) || net.contains(&key.dst_ip()))
        && protocol.is_none_or(|protocol| protocol == key.protocol)
        && port.is_none_or(|port| port == key.src_port || port == key.dst_port)
}

#[cfg(test)]
mod tests {
    use sluice_packet::Family;

    use super::*;

    #[test]
    fn a_filter_means_what_all_of_it_holds_for() {
        let key = FlowKey {
            src: 0x0a00_0102,
            dst: 0x0a00_0202,
            src_port: 5000,
            dst_port: 53,
            protocol: 17,
            family: Family::Inet,
        };
        let net = |text: &str| Some(text.parse().unwrap());
        let of = CaptureFilter::default;
        let meant = [
            of(),
            CaptureFilter { source: net("10.0.1.0/24"), port: Some(53), ..of() },
            CaptureFilter { host: net("10.0.2.2/32"), protocol: Some(17), ..of() },
            CaptureFilter { destination: net("10.0.2.2/32"), port: Some(5000), ..of() },
        ];
        let others = [
            CaptureFilter { source: net("10.0.2.0/24"), port: Some(53), ..of() },
            CaptureFilter { host: net("10.0.3.2/32"), ..of() },
            CaptureFilter { host: net("fd00::/8"), ..of() },
            CaptureFilter { protocol: Some(6), port: Some(53), ..of() },
            CaptureFilter { port: Some(54), ..of() },
        ];
        for filter in &meant {
            assert!(means(filter, Some(&key)), "{filter:?}");
        }
        for filter in &others {
            assert!(!means(filter, Some(&key)), "{filter:?}");
        }
        // ARP has no addresses to be asked for.
        assert!(means(&of(), None));
        assert!(meant[1..].iter().chain(&others).all(|filter| !means(filter, None)));
    }
}

//! A packet in a hook's hands (`hook_pkt_event_t`).
//!
//! What an author sees of a packet is the **IP packet** (or the ARP packet): byte 0 is the first of
//! its IP header, as `hpe_hdr` points to it. The link header before it is the router's: it is
//! written anew when the packet leaves, and follows when headers are pushed and popped.
//!
//! | `hook_pkt_event_t` | here |
//! |---|---|
//! | `hpe_protocol` | [`Packet::protocol`] |
//! | `hpe_ifp`, `hpe_ofp` | [`Packet::ingress`], [`Packet::egress`]; absent is `None`, not 0 |
//! | `hpe_hdr` | [`Packet::bytes`], [`Packet::bytes_mut`] |
//! | `hpe_mp`, `hpe_mb` | the packet itself; [`Packet::replace`], [`Packet::take`] |
//! | `hpe_flags` | [`Packet::link_group`] |
//!
//! Whoever asks for bytes to be changed has them decoded again when the hook is done: the
//! descriptor is true for the next hook, and a result that is no packet any more is dropped as
//! [`HookMalformed`](sluice_policy::DropReason::HookMalformed) and shown to nobody. A rewritten
//! header needs a right checksum: [`Packet::write_checksums`] puts all of them in.
//!
//! A `&Packet` cannot be changed: that is what an [`Observer`](crate::Observer) is given.

use sluice_dpdk::{Mbuf, Segments};
use sluice_packet::{Descriptor, DescriptorFlags, Family};
use sluice_policy::{Event, InterfaceId, Protocol};

use crate::burst::Burst;
use crate::context::Context;
use crate::metadata::{Metadata, MetadataKey};
use crate::observer::Direction;

/// A packet's buffer and descriptor, for stages that keep the descriptor true themselves.
pub struct Parts<'a> {
    /// The buffer.
    pub mbuf: &'a mut Mbuf,
    /// What decoding found.
    pub descriptor: &'a mut Descriptor,
}

impl Parts<'_> {
    /// The same packet, for a shorter time.
    #[inline]
    pub fn reborrow(&mut self) -> Parts<'_> {
        Parts { mbuf: self.mbuf, descriptor: self.descriptor }
    }
}

/// A packet in a hook's hands.
pub struct Packet<'a> {
    pub(crate) burst: &'a mut Burst,
    pub(crate) slot: usize,
    event: Event,
}

/// The group of stations that a frame was sent to (`HPE_MULTICAST`, `HPE_BROADCAST`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LinkGroup {
    /// A multicast link address.
    Multicast,
    /// The broadcast link address.
    Broadcast,
}

/// Why a packet could not be changed as asked. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PacketError {
    /// No room before the packet.
    #[error(
        "{wanted} bytes do not fit before the packet: {have} are left; move it to another buffer \
         (`replace`)"
    )]
    Headroom {
        /// Bytes that were asked for.
        wanted: usize,
        /// Bytes that there are.
        have: usize,
    },
    /// No room behind the packet, or in its first buffer.
    #[error("{wanted} bytes do not fit into the buffer: {have} are left; `replace` the packet")]
    Tailroom {
        /// Bytes that were asked for.
        wanted: usize,
        /// Bytes that there are.
        have: usize,
    },
    /// The packet has fewer bytes, or its first segment has.
    #[error("the packet has {have} bytes here, not {wanted}: ask `length`, and `pull_up` first")]
    Short {
        /// Bytes that were asked for.
        wanted: usize,
        /// Bytes that there are.
        have: usize,
    },
}

impl<'a> Packet<'a> {
    pub(crate) fn new(burst: &'a mut Burst, slot: usize, event: Event) -> Option<Packet<'a>> {
        // One whose way has ended is counted already.
        (burst.live().contains(slot) && burst.mbuf(slot).is_some()).then_some(Packet {
            burst,
            slot,
            event,
        })
    }

    /// The event at which it is met.
    #[inline]
    #[must_use]
    pub fn event(&self) -> Event {
        self.event
    }

    /// What it is (`hpe_protocol`).
    #[inline]
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self.descriptor().key.family {
            _ if self.burst.is_arp(self.slot) => Protocol::Arp,
            Family::Inet => Protocol::Inet,
            Family::Inet6 => Protocol::Inet6,
        }
    }

    /// What decoding found. For ARP, only the ingress interface and the link's flags.
    #[inline]
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        self.burst.descriptor(self.slot)
    }

    /// The interface that it came in by (`hpe_ifp`): at PHYSICAL_IN, FORWARDING and LOOPBACK_IN,
    /// and for received packets at ROUTE_DECISION and OBSERVING.
    #[inline]
    #[must_use]
    pub fn ingress(&self) -> Option<InterfaceId> {
        let own = self.descriptor().flags.contains(DescriptorFlags::LOCAL_ORIGIN);
        let known = match self.event {
            Event::PhysicalIn | Event::Forwarding | Event::LoopbackIn => true,
            Event::RouteDecision => !own,
            Event::Observing => match self.burst.observed_as() {
                Direction::Inbound => true,
                Direction::Dropped => !own,
                Direction::Outbound | Direction::Local => false,
            },
            _ => false,
        };
        known.then(|| InterfaceId(self.descriptor().ingress))
    }

    /// The interface that it is to leave by (`hpe_ofp`): at FORWARDING, PHYSICAL_OUT and
    /// LOOPBACK_OUT, and at OBSERVING for what leaves. At ROUTE_DECISION it is the
    /// [candidate](Self::candidate) that says so.
    #[inline]
    #[must_use]
    pub fn egress(&self) -> Option<InterfaceId> {
        let known = match self.event {
            Event::Forwarding | Event::PhysicalOut | Event::LoopbackOut => true,
            Event::Observing => self.burst.observed_as() == Direction::Outbound,
            _ => false,
        };
        known.then(|| self.burst.egress(self.slot))
    }

    /// The group that the frame was sent to, as the link header says (`hpe_flags`). At PHYSICAL_IN
    /// alone; an IP multicast address says nothing here.
    #[inline]
    #[must_use]
    pub fn link_group(&self) -> Option<LinkGroup> {
        let flags = self.descriptor().flags;
        if self.event != Event::PhysicalIn {
            None
        } else if flags.contains(DescriptorFlags::LINK_BROADCAST) {
            Some(LinkGroup::Broadcast)
        } else if flags.contains(DescriptorFlags::LINK_MULTICAST) {
            Some(LinkGroup::Multicast)
        } else {
            None
        }
    }

    /// Bytes of the packet, IP header included, over all segments.
    #[inline]
    #[must_use]
    pub fn length(&self) -> usize {
        self.mbuf().map_or(0, |mbuf| mbuf.pkt_len().saturating_sub(self.link_length()))
    }

    /// The bytes from the IP header on, as far as they are in the first segment: all headers are,
    /// and the whole packet unless [`is_contiguous`](Self::is_contiguous) says no.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.mbuf().and_then(|mbuf| mbuf.data().get(self.link_length()..)).unwrap_or_default()
    }

    /// Whether [`bytes`](Self::bytes) is the whole packet.
    #[inline]
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        self.mbuf().is_none_or(Mbuf::is_contiguous)
    }

    /// The link header as it was received or, for a packet of the router's own, as it happens to
    /// be.
    #[must_use]
    pub fn link_header(&self) -> &[u8] {
        self.mbuf().and_then(|mbuf| mbuf.data().get(..self.link_length())).unwrap_or_default()
    }

    /// Copies the bytes from `offset` on into `out`, across segments.
    ///
    /// # Errors
    /// [`PacketError::Short`]; `out` is in an unspecified state then.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), PacketError> {
        let place = self.link_length() + offset;
        match self.mbuf().is_some_and(|mbuf| mbuf.read(place, out)) {
            true => Ok(()),
            false => Err(self.short(offset + out.len())),
        }
    }

    /// The bytes of each segment in turn, the link header first.
    #[must_use]
    pub fn segments(&self) -> Option<Segments<'_>> {
        self.mbuf().map(Mbuf::segments)
    }

    /// Bytes that [`push`](Self::push) can still take.
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.mbuf().map_or(0, Mbuf::headroom)
    }

    /// The number that an earlier hook left under a key.
    #[inline]
    #[must_use]
    pub fn note(&self, key: MetadataKey) -> Option<u64> {
        self.metadata().get(key)
    }

    /// Leaves a number under a key for later hooks.
    #[inline]
    pub fn set_note(&mut self, key: MetadataKey, value: u64) {
        self.burst.metadata_mut(self.slot).set(key, value);
    }

    /// All that hooks have left on it.
    #[inline]
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        self.burst.metadata(self.slot)
    }

    /// The bytes from the IP header on, to be changed, as far as they are in the first segment.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let link = self.link_length();
        self.rewrite().and_then(|mbuf| mbuf.data_mut().get_mut(link..)).unwrap_or_default()
    }

    /// Copies `bytes` over those from `offset` on, across segments.
    ///
    /// # Errors
    /// [`PacketError::Short`].
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), PacketError> {
        let place = self.link_length() + offset;
        match self.rewrite().is_some_and(|mbuf| mbuf.write(place, bytes)) {
            true => Ok(()),
            false => Err(self.short(offset + bytes.len())),
        }
    }

    /// Has the first `n` bytes in the first segment, so that [`bytes`](Self::bytes) holds them
    /// (`pullupmsg`). The packet is the same.
    ///
    /// # Errors
    /// [`PacketError::Short`] when it has fewer, [`PacketError::Tailroom`] when they do not fit
    /// into the first buffer.
    pub fn pull_up(&mut self, n: usize) -> Result<(), PacketError> {
        let (link, length) = (self.link_length(), self.length());
        let Some(mbuf) = self.burst.mbuf_mut(self.slot) else { return Err(self.short(n)) };
        if n > length {
            return Err(self.short(n));
        }
        if mbuf.pull_up(link + n) {
            return Ok(());
        }
        Err(PacketError::Tailroom { wanted: n, have: mbuf.data_len() - link })
    }

    /// Makes the packet `n` bytes longer in front, for a header to be written there; yields those
    /// bytes, whose content is unspecified.
    ///
    /// # Errors
    /// [`PacketError::Headroom`].
    pub fn push(&mut self, n: usize) -> Result<&mut [u8], PacketError> {
        let (link, have) = (self.link_length(), self.headroom());
        let error = PacketError::Headroom { wanted: n, have };
        let mbuf = self.rewrite().ok_or(error)?;
        mbuf.prepend(n).ok_or(error)?;
        let data = mbuf.data_mut();
        data.copy_within(n..n + link, 0);
        Ok(&mut data[link..link + n])
    }

    /// Cuts `n` bytes off the front: the packet begins with what follows them.
    ///
    /// # Errors
    /// [`PacketError::Short`] when the first segment has fewer.
    pub fn pop(&mut self, n: usize) -> Result<(), PacketError> {
        let (link, have) = (self.link_length(), self.bytes().len());
        let error = PacketError::Short { wanted: n, have };
        if n > have {
            return Err(error);
        }
        let mbuf = self.rewrite().ok_or(error)?;
        mbuf.data_mut().copy_within(..link, n);
        mbuf.trim_front(n).then_some(()).ok_or(error)
    }

    /// Makes the packet `n` bytes longer at the end; yields those bytes, whose content is
    /// unspecified.
    ///
    /// # Errors
    /// [`PacketError::Tailroom`].
    pub fn append(&mut self, n: usize) -> Result<&mut [u8], PacketError> {
        let have = self.mbuf().map_or(0, Mbuf::tailroom);
        let error = PacketError::Tailroom { wanted: n, have };
        self.rewrite().and_then(|mbuf| mbuf.append(n)).ok_or(error)
    }

    /// Cuts the packet to at most `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        let link = self.link_length();
        if let Some(mbuf) = self.rewrite() {
            mbuf.truncate(link + length);
        }
    }

    /// Puts another packet into this one's place, and yields what was there: later hooks and the
    /// router go on with the new one (`*hpe_mp = …`). Notes and interfaces stay.
    ///
    /// # Errors
    /// The new packet, when its buffer has no room for the link header.
    pub fn replace(
        &mut self,
        packet: impl Into<OwnedPacket>,
    ) -> Result<OwnedPacket, (OwnedPacket, PacketError)> {
        let mut packet = packet.into();
        let link = self.link_length();
        let have = packet.mbuf.headroom();
        let header = self.mbuf().and_then(|mbuf| mbuf.data().get(..link)).unwrap_or_default();
        match packet.mbuf.prepend(header.len()) {
            Some(front) => front.copy_from_slice(header),
            None => return Err((packet, PacketError::Headroom { wanted: link, have })),
        }
        let metadata = self.metadata();
        let Some(place) = self.rewrite() else {
            let cut = packet.mbuf.trim_front(link);
            debug_assert!(cut, "it was put there above");
            return Err((packet, PacketError::Short { wanted: 1, have: 0 }));
        };
        let mbuf = std::mem::replace(place, packet.mbuf);
        Ok(OwnedPacket::without_link(mbuf, link, metadata))
    }

    /// Takes the packet away: it is the author's from now on, and counted as consumed. The hook
    /// answers [`Verdict::Consumed`](crate::Verdict::Consumed); any other verdict comes to the
    /// same, as there is nothing left to go on or to be dropped.
    #[must_use = "a packet that is let go of is freed: say `Verdict::Consumed` instead"]
    pub fn take(self) -> Option<OwnedPacket> {
        let (link, metadata) = (self.link_length(), self.metadata());
        let mbuf = self.burst.take(self.slot)?;
        Some(OwnedPacket::without_link(mbuf, link, metadata))
    }

    /// A copy of the packet, in one buffer; `None` when the pool has none or it does not fit.
    #[must_use]
    pub fn copy(&self, cx: &Context<'_>) -> Option<OwnedPacket> {
        let mbuf = self.mbuf()?.copy(cx.outbox.pool())?;
        Some(OwnedPacket::without_link(mbuf, self.link_length(), self.metadata()))
    }

    #[inline]
    pub(crate) fn mbuf(&self) -> Option<&Mbuf> {
        self.burst.mbuf(self.slot)
    }

    /// The buffer, to be changed: what decoding found is found anew when the hook is done.
    #[inline]
    pub(crate) fn rewrite(&mut self) -> Option<&mut Mbuf> {
        self.burst.set_rewritten(self.slot);
        self.burst.mbuf_mut(self.slot)
    }

    #[inline]
    fn link_length(&self) -> usize {
        usize::from(self.descriptor().l3_offset)
    }

    fn short(&self, wanted: usize) -> PacketError {
        PacketError::Short { wanted, have: self.length() }
    }
}

/// A packet in an author's own hands, outside any burst: taken out of one, copied, or made. Its
/// buffer begins with the IP header. It is freed when it is dropped; it can be
/// [injected](Context::inject), or put in another's [place](Packet::replace).
#[derive(Debug)]
pub struct OwnedPacket {
    /// The buffer; byte 0 is the first of the IP header.
    pub mbuf: Mbuf,
    /// What hooks have left on it.
    pub metadata: Metadata,
}

impl OwnedPacket {
    fn without_link(mut mbuf: Mbuf, link: usize, metadata: Metadata) -> OwnedPacket {
        let cut = mbuf.trim_front(link);
        debug_assert!(cut, "decoding found the link header in the first segment");
        OwnedPacket { mbuf, metadata }
    }
}

impl From<Mbuf> for OwnedPacket {
    fn from(mbuf: Mbuf) -> OwnedPacket {
        OwnedPacket { mbuf, metadata: Metadata::default() }
    }
}

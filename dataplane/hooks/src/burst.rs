//! Up to 64 packets on their way through the pipeline.

use sluice_dpdk::{BURST, Mbuf, free_bulk};
use sluice_packet::{ConnectionState, Descriptor, Family, Mask};
use sluice_policy::{DropReason, InstanceId, InterfaceId, NextHopId};

use crate::metadata::Metadata;
use crate::observer::Direction;
use crate::packet::Parts;

/// Which way a packet is to leave, once that is decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Way {
    /// Not decided yet.
    #[default]
    Undecided,
    /// By a next hop of the policy.
    NextHop(NextHopId),
    /// To its destination itself, on this interface's link.
    OnLink(InterfaceId),
    /// To the neighbour on this interface that the descriptor names as the destination, which need
    /// not be the packet's: an author said so (`NI_DIRECT_OUT`). It is never routed.
    Direct(InterfaceId),
    /// By this interface, its link header already complete (answers to ARP and neighbour
    /// discovery).
    Frame(InterfaceId),
}

/// A burst: buffers, descriptors and decisions in parallel arrays indexed by slot. Packets never
/// move between slots; what happens to them is kept in masks.
pub struct Burst {
    mbufs: [Option<Mbuf>; BURST],
    descriptors: [Descriptor; BURST],
    ways: [Way; BURST],
    egress: [InterfaceId; BURST],
    instances: [InstanceId; BURST],
    live: Mask,
    finished: Mask,
    inet6: Mask,
    arp: Mask,
    plain: Mask,
    close: Mask,
    /// Whose connection answers for them.
    known: Mask,
    to_lower: Mask,
    /// Whose bytes hooks have asked to change since they were decoded.
    rewritten: Mask,
    /// Whose bytes hooks have ever asked to change.
    changed: Mask,
    /// Whose way a hook or the route decision has chosen.
    decided: Mask,
    /// Who has been dropped by name, and why; stale where the buffer is not in its slot any more.
    dropped: Mask,
    reasons: [DropReason; BURST],
    /// Who has metadata; that of others is stale.
    annotated: Mask,
    metadata: [Metadata; BURST],
    /// As what the packets are shown at OBSERVING.
    observed: Direction,
    /// No IP packet is longer, in bytes with its header.
    longest: u16,
    /// The slot of a packet whose way is that of all live ones.
    alike: Option<u8>,
    /// The instance that all packets are of; then nothing is written per packet.
    uniform: Option<InstanceId>,
}

impl Default for Burst {
    fn default() -> Self {
        Burst::new()
    }
}

impl Burst {
    /// An empty burst.
    pub fn new() -> Burst {
        Burst {
            mbufs: [const { None }; BURST],
            descriptors: [Descriptor::default(); BURST],
            ways: [Way::Undecided; BURST],
            egress: [InterfaceId(0); BURST],
            instances: [InstanceId(0); BURST],
            live: Mask::EMPTY,
            finished: Mask::EMPTY,
            inet6: Mask::EMPTY,
            arp: Mask::EMPTY,
            plain: Mask::EMPTY,
            close: Mask::EMPTY,
            known: Mask::EMPTY,
            to_lower: Mask::EMPTY,
            rewritten: Mask::EMPTY,
            changed: Mask::EMPTY,
            decided: Mask::EMPTY,
            dropped: Mask::EMPTY,
            reasons: [DropReason::HookDropped; BURST],
            annotated: Mask::EMPTY,
            metadata: [Metadata::default(); BURST],
            observed: Direction::Inbound,
            longest: u16::MAX,
            alike: None,
            uniform: None,
        }
    }

    /// The slots to receive into, for a burst that is empty. [`received`](Self::received) says
    /// how many were filled.
    #[inline]
    pub fn slots_mut(&mut self) -> &mut [Option<Mbuf>; BURST] {
        debug_assert!(self.live.is_empty() && self.finished.is_empty());
        &mut self.mbufs
    }

    /// Takes slots `0..n` as received and undecided.
    #[inline]
    pub fn received(&mut self, n: usize) {
        self.live = Mask::first(n);
        self.finished = Mask::EMPTY;
        self.inet6 = Mask::EMPTY;
        self.arp = Mask::EMPTY;
        self.plain = Mask::EMPTY;
        self.known = Mask::EMPTY;
        self.to_lower = Mask::EMPTY;
        self.rewritten = Mask::EMPTY;
        self.changed = Mask::EMPTY;
        self.decided = Mask::EMPTY;
        self.dropped = Mask::EMPTY;
        self.annotated = Mask::EMPTY;
        self.longest = u16::MAX;
        self.alike = None;
        self.uniform = None;
    }

    /// Adds a packet; gives it back when all slots are taken.
    pub fn push(&mut self, mbuf: Mbuf, descriptor: Descriptor, way: Way) -> Result<usize, Mbuf> {
        let taken = self.live | self.finished;
        let slot = (!taken.0).trailing_zeros() as usize;
        if slot >= BURST {
            return Err(mbuf);
        }
        self.mbufs[slot] = Some(mbuf);
        self.live.insert(slot);
        self.arp.remove(slot);
        self.known.remove(slot);
        self.to_lower.remove(slot);
        self.rewritten.remove(slot);
        self.changed.remove(slot);
        self.decided.remove(slot);
        self.dropped.remove(slot);
        self.annotated.remove(slot);
        self.set_various();
        self.set_descriptor(slot, descriptor);
        self.part();
        self.ways[slot] = way;
        Ok(slot)
    }

    /// The packets still on their way.
    #[inline]
    pub fn live(&self) -> Mask {
        self.live
    }

    /// The live packets of one IP version (ARP is neither).
    #[inline]
    pub fn family(&self, family: Family) -> Mask {
        match family {
            Family::Inet => self.live & !self.inet6 & !self.arp,
            Family::Inet6 => self.live & self.inet6,
        }
    }

    /// The live ARP packets.
    #[inline]
    pub fn arp(&self) -> Mask {
        self.live & self.arp
    }

    /// The live packets that were [plain](sluice_packet::decode) when they were decoded and that
    /// nobody has changed since: from host to host, whole, without options and extension headers, with
    /// a hop limit of at least 2 on arrival.
    #[inline]
    pub fn plain(&self) -> Mask {
        self.live & self.plain
    }

    /// The live plain packets that may be from or to the router itself.
    #[inline]
    pub fn close(&self) -> Mask {
        self.plain() & self.close
    }

    /// Says which of the packets are plain, and which of those may be from or to the router itself.
    #[inline]
    pub fn set_plain(&mut self, plain: Mask, close: Mask) {
        self.plain = plain;
        self.close = close;
    }

    /// The live packets for which what is remembered of their connection answers: stages leave
    /// them alone, and their way is decided. A hook that changes one or chooses its way takes it
    /// out.
    #[inline]
    pub fn known(&self) -> Mask {
        self.live & self.known
    }

    /// Says for which packets their connection answers.
    #[inline]
    pub fn set_known(&mut self, packets: Mask) {
        self.known = packets;
        self.decided |= packets;
    }

    /// Says that a packet is no longer one that its connection answers for.
    #[inline]
    pub fn forget_known(&mut self, slot: usize) {
        self.known.remove(slot & (BURST - 1));
    }

    /// The live packets whose hop limit is still as they came.
    #[inline]
    pub fn to_lower(&self) -> Mask {
        self.live & self.to_lower
    }

    /// Says whose hop limit has yet to be lowered, by who writes the link header.
    #[inline]
    pub fn set_to_lower(&mut self, packets: Mask) {
        self.to_lower = packets;
    }

    /// A length in bytes, IP header included, that no IP packet of the burst exceeds.
    #[inline]
    pub fn longest(&self) -> u16 {
        self.longest
    }

    /// Says what no IP packet exceeds.
    #[inline]
    pub fn set_longest(&mut self, longest: u16) {
        self.longest = longest;
    }

    /// Says which of the packets are IPv6 and which are ARP; the others are IPv4.
    #[inline]
    pub fn set_kinds(&mut self, inet6: Mask, arp: Mask) {
        self.inet6 = inet6;
        self.arp = arp;
    }

    /// Whether a packet is ARP.
    #[inline]
    pub fn is_arp(&self, slot: usize) -> bool {
        self.arp.contains(slot & (BURST - 1))
    }

    /// Marks a packet as ARP.
    #[inline]
    pub fn set_arp(&mut self, slot: usize) {
        self.arp.insert(slot);
    }

    /// The buffer in a slot.
    #[inline]
    pub fn mbuf(&self, slot: usize) -> Option<&Mbuf> {
        self.mbufs[slot & (BURST - 1)].as_ref()
    }

    /// The buffer in a slot, to be changed.
    #[inline]
    pub fn mbuf_mut(&mut self, slot: usize) -> Option<&mut Mbuf> {
        self.mbufs[slot & (BURST - 1)].as_mut()
    }

    /// Buffer and descriptor of a slot, for a stage to change in any way.
    #[inline]
    pub fn parts_mut(&mut self, slot: usize) -> Option<Parts<'_>> {
        self.plain.remove(slot & (BURST - 1));
        self.longest = u16::MAX;
        self.parts(slot)
    }

    /// Like [`parts_mut`](Self::parts_mut), for who leaves true what is said of the packet by
    /// [`plain`](Self::plain), [`close`](Self::close) and [`longest`](Self::longest).
    #[inline]
    pub fn parts(&mut self, slot: usize) -> Option<Parts<'_>> {
        let slot = slot & (BURST - 1);
        let mbuf = self.mbufs[slot].as_mut()?;
        Some(Parts { mbuf, descriptor: &mut self.descriptors[slot] })
    }

    /// The live packets whose bytes a hook has asked to change: what is said of them is no longer
    /// known to be true.
    #[inline]
    pub fn rewritten(&self) -> Mask {
        self.live & self.rewritten
    }

    /// Whether a hook has asked to change the packet's bytes since it was decoded.
    #[inline]
    pub fn is_rewritten(&self, slot: usize) -> bool {
        self.rewritten.contains(slot & (BURST - 1))
    }

    /// Says that what is said of a packet is no longer known to be true.
    #[inline]
    pub fn set_rewritten(&mut self, slot: usize) {
        let slot = slot & (BURST - 1);
        self.rewritten.insert(slot);
        self.plain.remove(slot);
        if self.known.contains(slot) {
            // The stages decide about what it has become.
            self.known.remove(slot);
            self.decided.remove(slot);
        }
        self.longest = u16::MAX;
    }

    /// Says that what is said of the packets is true again.
    #[inline]
    pub fn settle_rewritten(&mut self) {
        self.changed |= std::mem::take(&mut self.rewritten);
    }

    /// The live packets whose bytes a hook has changed on their way.
    #[inline]
    pub fn changed(&self) -> Mask {
        self.live & self.changed
    }

    /// The packets whose way is decided, by the route decision or by a hook.
    #[inline]
    pub fn decided(&self) -> Mask {
        self.decided
    }

    /// Says that the way of these packets is decided.
    #[inline]
    pub fn set_decided(&mut self, packets: Mask) {
        self.decided |= packets;
    }

    /// What hooks have left on a packet.
    #[inline]
    pub fn metadata(&self, slot: usize) -> Metadata {
        let slot = slot & (BURST - 1);
        if self.annotated.contains(slot) { self.metadata[slot] } else { Metadata::default() }
    }

    /// What hooks have left on a packet, to be changed.
    #[inline]
    pub fn metadata_mut(&mut self, slot: usize) -> &mut Metadata {
        let slot = slot & (BURST - 1);
        if !self.annotated.contains(slot) {
            self.annotated.insert(slot);
            self.metadata[slot] = Metadata::default();
        }
        &mut self.metadata[slot]
    }

    /// Gives a packet what hooks had left on it before it waited elsewhere. That a hook has chosen its
    /// way is not kept: it is decided again, or known.
    #[inline]
    pub fn set_metadata(&mut self, slot: usize, metadata: &Metadata) {
        let metadata = metadata.without_choice();
        if metadata != Metadata::default() {
            *self.metadata_mut(slot) = metadata;
        }
    }

    /// As what the packets are shown at OBSERVING.
    #[inline]
    pub fn observed_as(&self) -> Direction {
        self.observed
    }

    /// Says as what the packets are shown at OBSERVING.
    #[inline]
    pub fn set_observed_as(&mut self, direction: Direction) {
        self.observed = direction;
    }

    /// What decoding found about a packet.
    #[inline]
    pub fn descriptor(&self, slot: usize) -> &Descriptor {
        &self.descriptors[slot & (BURST - 1)]
    }

    /// All descriptors; those of slots that are not live are stale.
    #[inline]
    pub fn descriptors(&self) -> &[Descriptor; BURST] {
        &self.descriptors
    }

    /// Sets what decoding found about a packet.
    #[inline]
    pub fn set_descriptor(&mut self, slot: usize, descriptor: Descriptor) {
        match descriptor.key.family {
            Family::Inet => self.inet6.remove(slot),
            Family::Inet6 => self.inet6.insert(slot),
        }
        self.known.remove(slot & (BURST - 1));
        self.plain.remove(slot & (BURST - 1));
        self.longest = u16::MAX;
        self.descriptors[slot & (BURST - 1)] = descriptor;
    }

    /// Sets what the connection tracker says of a packet.
    #[inline]
    pub fn set_state(&mut self, slot: usize, state: ConnectionState) {
        self.descriptors[slot & (BURST - 1)].state = state;
    }

    /// The instance a packet belongs to.
    #[inline]
    pub fn instance(&self, slot: usize) -> InstanceId {
        self.uniform.unwrap_or(self.instances[slot & (BURST - 1)])
    }

    /// Says that all packets are of one instance.
    #[inline]
    pub fn set_uniform(&mut self, instance: InstanceId) {
        self.uniform = Some(instance);
    }

    /// Says which instance a packet belongs to.
    #[inline]
    pub fn set_instance(&mut self, slot: usize, instance: InstanceId) {
        self.set_various();
        self.instances[slot & (BURST - 1)] = instance;
    }

    /// Each packet is of an instance of its own from now on.
    fn set_various(&mut self) {
        if let Some(instance) = self.uniform.take() {
            self.instances = [instance; BURST];
        }
    }

    /// The live packets of the same instance as the first of `packets`, and that instance.
    #[inline]
    pub fn same_instance(&self, packets: Mask) -> Option<(InstanceId, Mask)> {
        let first = packets.into_iter().next()?;
        if let Some(instance) = self.uniform {
            return Some((instance, packets));
        }
        let instance = self.instances[first];
        let mut same = Mask::EMPTY;
        for slot in packets {
            if self.instances[slot] == instance {
                same.insert(slot);
            }
        }
        Some((instance, same))
    }

    /// Which way a packet is to leave.
    #[inline]
    pub fn way(&self, slot: usize) -> Way {
        self.ways[self.decided_at(slot)]
    }

    /// The slot whose way and egress are those of a packet.
    #[inline(always)]
    fn decided_at(&self, slot: usize) -> usize {
        self.alike.map_or(slot, usize::from) & (BURST - 1)
    }

    /// Each packet has a way of its own from now on.
    #[inline]
    fn part(&mut self) {
        if let Some(slot) = self.alike.take() {
            let slot = usize::from(slot) & (BURST - 1);
            self.ways = [self.ways[slot]; BURST];
            self.egress = [self.egress[slot]; BURST];
        }
    }

    /// Those of `packets` that leave this way.
    #[inline]
    pub fn leaving(&self, packets: Mask, way: Way) -> Mask {
        if self.alike.is_some() {
            return packets;
        }
        let mut others = Mask::EMPTY;
        for slot in packets {
            let same = match (self.ways[slot & (BURST - 1)], way) {
                (Way::NextHop(one), Way::NextHop(other)) => one == other,
                (one, other) => one == other,
            };
            if !same {
                others.insert(slot);
            }
        }
        packets & !others
    }

    /// The interface that a packet is to leave by, once its way is decided.
    #[inline]
    pub fn egress(&self, slot: usize) -> InterfaceId {
        self.egress[self.decided_at(slot)]
    }

    /// Decides which way a packet leaves, and by which interface.
    #[inline]
    pub fn set_way(&mut self, slot: usize, way: Way, egress: InterfaceId) {
        self.part();
        self.ways[slot & (BURST - 1)] = way;
        self.egress[slot & (BURST - 1)] = egress;
    }

    /// Says that all live packets leave as the one in `slot`, until another way is
    /// [set](Self::set_way) for one.
    #[inline]
    pub fn set_alike(&mut self, slot: usize) {
        self.alike = Some((slot & (BURST - 1)) as u8);
    }

    /// Takes a live packet out of the burst: it is the caller's from now on.
    #[inline]
    pub fn take(&mut self, slot: usize) -> Option<Mbuf> {
        self.live.remove(slot);
        self.mbufs[slot & (BURST - 1)].take()
    }

    /// Takes live packets out of the burst, into `places` from the front on, which are empty and as
    /// many.
    #[inline]
    pub fn take_all(&mut self, packets: Mask, places: &mut [Option<Mbuf>]) {
        self.live &= !packets;
        let n = packets.len();
        if packets == Mask::first(n) && places.len() == n {
            self.mbufs[..n].swap_with_slice(places);
            return;
        }
        for (slot, place) in packets.into_iter().zip(places) {
            std::mem::swap(&mut self.mbufs[slot & (BURST - 1)], place);
        }
    }

    /// Ends a packet's way without counting it; its buffer is freed with the others of the burst. Hooks use
    /// [`Context::drop`](crate::Context::drop) or `consume`, which also count.
    #[inline]
    pub fn end(&mut self, slot: usize) {
        self.live.remove(slot);
        self.finished.insert(slot);
    }

    /// Ends the way of live packets that are dropped for one reason, as
    /// [`end_dropped`](Self::end_dropped) does.
    #[inline]
    pub(crate) fn end_all_dropped(&mut self, packets: Mask, reason: DropReason) {
        self.live &= !packets;
        self.finished |= packets;
        self.dropped |= packets;
        for slot in packets {
            self.reasons[slot & (BURST - 1)] = reason;
        }
    }

    /// [`end`](Self::end) of a packet that is dropped: while its buffer is here, it is known why.
    #[inline]
    pub(crate) fn end_dropped(&mut self, slot: usize, reason: DropReason) {
        self.end(slot);
        self.dropped.insert(slot & (BURST - 1));
        self.reasons[slot & (BURST - 1)] = reason;
    }

    /// The packets that have been dropped by name and whose buffers are still here.
    #[inline]
    pub fn dropped(&self) -> Mask {
        self.finished & self.dropped
    }

    /// Why a packet was dropped, if it was.
    #[inline]
    pub fn drop_reason(&self, slot: usize) -> Option<DropReason> {
        let slot = slot & (BURST - 1);
        self.dropped.contains(slot).then(|| self.reasons[slot])
    }

    /// Has packets that were dropped looked at once more: they are live while `look` runs, which
    /// leaves them where they are.
    pub fn look_at_dropped(&mut self, packets: Mask, look: impl FnOnce(&mut Burst)) {
        let packets = packets & self.dropped();
        self.live |= packets;
        self.finished &= !packets;
        look(self);
        self.live &= !packets;
        self.finished |= packets;
    }

    /// Frees, in one call, the buffers of all packets whose way has ended. What is still live
    /// stays.
    pub fn free_finished(&mut self) {
        if self.finished.is_empty() {
            return;
        }
        let mut gone = [const { None }; BURST];
        let mut n = 0;
        for slot in self.finished {
            gone[n] = self.mbufs[slot].take();
            n += usize::from(gone[n].is_some());
        }
        free_bulk(&mut gone[..n]);
        self.finished = Mask::EMPTY;
    }
}

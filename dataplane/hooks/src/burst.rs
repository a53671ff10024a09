//! Up to 64 packets on their way through the pipeline.

use sluice_dpdk::{BURST, Mbuf, free_bulk};
use sluice_packet::{Descriptor, Family, Mask};
use sluice_policy::{InstanceId, InterfaceId, NextHopId};

use crate::hook::Packet;

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
    /// All packets are of the instance of the first.
    uniform: bool,
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
            uniform: false,
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
        self.uniform = false;
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
        self.uniform = false;
        self.set_descriptor(slot, descriptor);
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

    /// Says which of the packets are IPv6 and which are ARP; the others are IPv4.
    #[inline]
    pub fn set_kinds(&mut self, inet6: Mask, arp: Mask) {
        self.inet6 = inet6;
        self.arp = arp;
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

    /// Buffer and descriptor of a slot.
    #[inline]
    pub fn packet_mut(&mut self, slot: usize) -> Option<Packet<'_>> {
        let slot = slot & (BURST - 1);
        let mbuf = self.mbufs[slot].as_mut()?;
        Some(Packet { mbuf, descriptor: &mut self.descriptors[slot] })
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

    /// The descriptor of a packet, to be changed; its family must stay.
    #[inline]
    pub fn descriptor_mut(&mut self, slot: usize) -> &mut Descriptor {
        &mut self.descriptors[slot & (BURST - 1)]
    }

    /// Sets what decoding found about a packet.
    #[inline]
    pub fn set_descriptor(&mut self, slot: usize, descriptor: Descriptor) {
        match descriptor.key.family {
            Family::Inet => self.inet6.remove(slot),
            Family::Inet6 => self.inet6.insert(slot),
        }
        self.descriptors[slot & (BURST - 1)] = descriptor;
    }

    /// The instance a packet belongs to.
    #[inline]
    pub fn instance(&self, slot: usize) -> InstanceId {
        self.instances[slot & (BURST - 1)]
    }

    /// Says that all packets are of one instance, which spares
    /// [`same_instance`](Self::same_instance) from looking.
    #[inline]
    pub fn set_uniform(&mut self, uniform: bool) {
        self.uniform = uniform;
    }

    /// Says which instance a packet belongs to.
    #[inline]
    pub fn set_instance(&mut self, slot: usize, instance: InstanceId) {
        self.instances[slot & (BURST - 1)] = instance;
    }

    /// The live packets of the same instance as the first of `packets`, and that instance.
    #[inline]
    pub fn same_instance(&self, packets: Mask) -> Option<(InstanceId, Mask)> {
        let first = packets.into_iter().next()?;
        let instance = self.instances[first];
        if self.uniform {
            return Some((instance, packets));
        }
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
        self.ways[slot & (BURST - 1)]
    }

    /// The interface that a packet is to leave by, once its way is decided.
    #[inline]
    pub fn egress(&self, slot: usize) -> InterfaceId {
        self.egress[slot & (BURST - 1)]
    }

    /// Decides which way a packet leaves, and by which interface.
    #[inline]
    pub fn set_way(&mut self, slot: usize, way: Way, egress: InterfaceId) {
        self.ways[slot & (BURST - 1)] = way;
        self.egress[slot & (BURST - 1)] = egress;
    }

    /// Takes a live packet out of the burst: it is the caller's from now on.
    #[inline]
    pub fn take(&mut self, slot: usize) -> Option<Mbuf> {
        self.live.remove(slot);
        self.mbufs[slot & (BURST - 1)].take()
    }

    /// Takes a packet out of its slot but leaves it in [`live`](Self::live): the caller says later,
    /// of all that it lifted, that they have [`left`](Self::leave).
    #[inline]
    pub fn lift(&mut self, slot: usize) -> Option<Mbuf> {
        self.mbufs[slot & (BURST - 1)].take()
    }

    /// Says that these packets have been lifted.
    #[inline]
    pub fn leave(&mut self, lifted: Mask) {
        self.live &= !lifted;
    }

    /// Ends a packet's way without counting it; its buffer is freed with the others of the burst. Hooks use
    /// [`Context::drop`](crate::Context::drop) or `consume`, which also count.
    #[inline]
    pub fn end(&mut self, slot: usize) {
        self.live.remove(slot);
        self.finished.insert(slot);
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

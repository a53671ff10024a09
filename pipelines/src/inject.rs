//! Packets that authors inject (`net_inject`), on their way: those of the worker's own hooks, and
//! those of other threads, which come by a ring of one writer and one reader.

use rtrb::{Consumer, Producer, RingBuffer};
use sluice_channel::statistics::WorkerBlock;
use sluice_dpdk::Mbuf;
use sluice_hooks::inject::CAPACITY;
use sluice_hooks::{
    Burst, InjectError, Injected, Injection, OwnedPacket, Ports, Way, count_drop, decode_ip,
};
use sluice_packet::descriptor::number_of;
use sluice_packet::{Descriptor, DescriptorFlags, ethernet};
use sluice_policy::{DropReason, InstanceId, Policy};

use crate::decode;

/// The end of a ring by which a thread that is no worker gives packets to a worker.
pub struct Injector {
    ring: Producer<Injected>,
}

/// The worker's end of such a ring.
pub struct Injections {
    ring: Consumer<Injected>,
}

/// A ring to one worker.
pub fn ring() -> (Injector, Injections) {
    let (producer, consumer) = RingBuffer::new(CAPACITY);
    (Injector { ring: producer }, Injections { ring: consumer })
}

impl Injector {
    /// Gives the worker a packet to put on its way. A worker that may be asleep has to be woken.
    ///
    /// # Errors
    /// [`InjectError`]; the packet is freed.
    pub fn inject(
        &mut self,
        policy: &Policy,
        instance: InstanceId,
        packet: impl Into<OwnedPacket>,
        how: Injection,
    ) -> Result<(), InjectError> {
        let injected = Injected::new(policy, instance, packet, how)?;
        self.ring.push(injected).map_err(|_| InjectError::Full)
    }
}

impl Injections {
    /// Whether a packet is there.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// The next packet.
    pub fn take(&mut self) -> Option<Injected> {
        self.ring.pop().ok()
    }
}

/// Where injected packets begin their way. Only such of one kind go together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entrance {
    /// Before PHYSICAL_IN.
    In,
    /// Before ROUTE_DECISION.
    Out,
    /// Behind all hooks.
    Direct,
}

impl Entrance {
    pub(crate) fn of(how: Injection) -> Entrance {
        match how {
            Injection::QueueIn(_) => Entrance::In,
            Injection::QueueOut => Entrance::Out,
            Injection::DirectOut { .. } => Entrance::Direct,
        }
    }
}

/// Puts an injected packet into a burst that has room for it, or drops it by name. From here on it
/// is accounted for.
pub(crate) fn admit(
    policy: &Policy,
    ports: &Ports,
    statistics: WorkerBlock<'_>,
    burst: &mut Burst,
    injected: Injected,
) {
    statistics.core().generated.add(1);
    if let Err(reason) = admitted(policy, ports, burst, injected) {
        count_drop(statistics, reason);
    }
}

fn admitted(
    policy: &Policy,
    ports: &Ports,
    burst: &mut Burst,
    injected: Injected,
) -> Result<(), DropReason> {
    let Injected { packet: OwnedPacket { mut mbuf, metadata }, how, instance } = injected;
    let (descriptor, way) = match how {
        Injection::QueueIn(id) => {
            // The policy may have changed since it was injected.
            let interface = policy.interface(id).filter(|i| i.instance == instance);
            let interface = interface.ok_or(DropReason::InterfaceDown)?;
            if policy.is_down(id) {
                return Err(DropReason::IngressDown);
            }
            let facts = ports.get(interface.port).ok_or(DropReason::InterfaceDown)?;
            let ethertype = frame(&mut mbuf, facts.mac)?;
            let (mut descriptor, flags) = (Descriptor::default(), DescriptorFlags::empty());
            let start = ethernet::HEADER;
            decode::network(interface, ethertype, start, flags, &mut mbuf, &mut descriptor)?;
            (descriptor, Way::Undecided)
        }
        Injection::QueueOut => (own(&mut mbuf)?, Way::Undecided),
        Injection::DirectOut { interface, next_hop } => {
            let mut descriptor = own(&mut mbuf)?;
            // It is the neighbour stage alone that looks at it: that is whom to hand it to.
            descriptor.key.dst = number_of(next_hop);
            (descriptor, Way::Direct(interface))
        }
    };
    let Ok(slot) = burst.push(mbuf, descriptor, way) else { return Err(DropReason::NoBuffer) };
    burst.set_instance(slot, instance);
    burst.set_metadata(slot, &metadata);
    if let Way::Direct(interface) = way {
        burst.set_way(slot, way, interface);
    }
    Ok(())
}

/// Puts a link header before an IP packet, as it might have been received; yields its EtherType.
fn frame(mbuf: &mut Mbuf, station: [u8; 6]) -> Result<u16, DropReason> {
    let ethertype = match mbuf.data().first().map(|first| first >> 4) {
        Some(6) => ethernet::IPV6,
        _ => ethernet::IPV4,
    };
    let front = mbuf.prepend(ethernet::HEADER).ok_or(DropReason::FrameSplit)?;
    front.fill(0);
    front[..6].copy_from_slice(&station);
    front[12..].copy_from_slice(&ethertype.to_be_bytes());
    Ok(ethertype)
}

/// What a packet is that begins with the router.
fn own(mbuf: &mut Mbuf) -> Result<Descriptor, DropReason> {
    frame(mbuf, [0; 6])?;
    let decoded = decode_ip(mbuf, ethernet::HEADER);
    let mut descriptor = decoded.map_err(|_| DropReason::HookMalformed)?;
    mbuf.truncate(ethernet::HEADER + usize::from(descriptor.l3_length));
    descriptor.flags |= DescriptorFlags::LOCAL_ORIGIN;
    Ok(descriptor)
}

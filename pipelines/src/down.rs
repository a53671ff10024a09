//! Ports that are down. The agent publishes that a port is, and tells NIC_EVENTS once every worker has
//! adopted it: from then on no hook is shown a packet of the port's interfaces, neither one that came
//! in by them and lay in a ring or waited here, nor one that would leave by them.

use sluice_channel::statistics::WorkerBlock;
use sluice_hooks::{Burst, count_drop};
use sluice_packet::{DescriptorFlags, Mask};
use sluice_policy::{DropReason, InterfaceId, Policy};

/// Drops a burst that was received by a port that is down. Says how many bytes it had.
#[cold]
#[inline(never)]
pub(crate) fn refuse(statistics: WorkerBlock<'_>, burst: &mut Burst) -> u64 {
    let mut bytes = 0;
    for slot in burst.live() {
        bytes += burst.mbuf(slot).map_or(0, |mbuf| mbuf.pkt_len() as u64);
        burst.end(slot);
        count_drop(statistics, DropReason::IngressDown);
    }
    burst.free_finished();
    bytes
}

/// Drops those of `packets`, which waited here, that came in by a port that is down by now.
pub(crate) fn drop_received(
    policy: &Policy,
    statistics: WorkerBlock<'_>,
    burst: &mut Burst,
    packets: Mask,
) {
    if !policy.has_down() {
        return;
    }
    for slot in packets & burst.live() {
        let d = burst.descriptor(slot);
        let own = d.flags.contains(DescriptorFlags::LOCAL_ORIGIN);
        if !own && policy.is_down(InterfaceId(d.ingress)) {
            burst.end(slot);
            count_drop(statistics, DropReason::IngressDown);
        }
    }
}

/// Drops those of `packets` that would leave by a port that is down, ahead of hooks that look at what
/// leaves.
#[cold]
#[inline(never)]
pub(crate) fn drop_leaving(
    policy: &Policy,
    statistics: WorkerBlock<'_>,
    burst: &mut Burst,
    packets: Mask,
) {
    for slot in packets & burst.live() {
        if policy.is_down(burst.egress(slot)) {
            burst.end(slot);
            count_drop(statistics, DropReason::EgressDown);
        }
    }
}

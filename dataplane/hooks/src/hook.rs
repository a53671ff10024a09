//! The two shapes of a hook, and what it says of a packet.

use sluice_packet::Mask;
use sluice_policy::DropReason;

use crate::burst::Burst;
use crate::context::Context;
use crate::packet::Packet;
use crate::program::Wants;

/// What a hook says of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on to the next hook.
    Continue,
    /// It is dropped and counted under this reason; no later hook sees it.
    Drop(DropReason),
    /// It is dropped for a reason of the author's own: it is counted as
    /// [`HookDropped`](DropReason::HookDropped), and by the hook's counter at this place of
    /// [`Made::counters`](crate::Made::counters), whose name says why.
    DropAs(usize),
    /// Its way ends here without being a drop: the hook has used it up.
    Consumed,
}

/// A hook over a burst. One object exists for each worker, so that its state needs no lock.
pub trait Hook: Send {
    /// Looks at the packets of `burst` that `packets` selects: all of one instance and one
    /// protocol. Those that it drops or consumes are not shown to later hooks.
    fn process(&mut self, cx: &mut Context<'_>, burst: &mut Burst, packets: Mask);

    /// Which packets it is shown. It is asked when a worker gets the object.
    fn wants(&self) -> Wants {
        Wants::EveryPacket
    }

    /// Whether it is shown dropped packets at OBSERVING: [`Observer::sees_drops`].
    ///
    /// [`Observer::sees_drops`]: crate::Observer::sees_drops
    fn sees_drops(&self) -> bool {
        false
    }
}

/// A hook that is content with what [`Wants::FirstOfFlow`] shows it.
pub(crate) struct FirstOfFlow(pub(crate) Box<dyn Hook>);

impl Hook for FirstOfFlow {
    fn process(&mut self, cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
        self.0.process(cx, burst, packets);
    }

    fn wants(&self) -> Wants {
        Wants::FirstOfFlow
    }

    fn sees_drops(&self) -> bool {
        self.0.sees_drops()
    }
}

/// A hook over one packet at a time.
pub trait PacketHook: Send {
    /// Decides about one packet.
    fn packet(&mut self, cx: &mut Context<'_>, packet: Packet<'_>) -> Verdict;
}

/// Makes a [`Hook`] of a [`PacketHook`].
pub struct PerPacket<H>(pub H);

impl<H: PacketHook> Hook for PerPacket<H> {
    fn process(&mut self, cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
        for slot in packets {
            let Some(packet) = cx.packet(burst, slot) else { continue };
            let verdict = self.0.packet(cx, packet);
            settle(cx, burst, slot, verdict);
        }
    }
}

/// Does with a packet what a hook has said of it.
#[inline]
pub(crate) fn settle(cx: &mut Context<'_>, burst: &mut Burst, slot: usize, verdict: Verdict) {
    if burst.mbuf(slot).is_none() {
        // The hook has taken it, whatever it says.
        cx.statistics.core().consumed.add(1);
        return;
    }
    match verdict {
        Verdict::Continue => {}
        Verdict::Drop(reason) => cx.drop(burst, slot, reason),
        Verdict::DropAs(counter) => cx.drop_as(burst, slot, counter),
        Verdict::Consumed => cx.consume(burst, slot),
    }
}

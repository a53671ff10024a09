//! Sends what the router tells a sender about a packet that it did not deliver, within a rate
//! limit. What is told is [`sluice_policy::answer`]'s to say.

use sluice_hooks::{Burst, Context, Originated, Way};
use sluice_policy::DropReason;
use sluice_policy::answer::{self, ROOM};

pub use sluice_policy::answer::Answer;

/// Originates the answer to the packet in `slot`, if there may be one and the rate allows it.
#[cold]
#[inline(never)]
pub fn send(cx: &mut Context<'_>, burst: &Burst, slot: usize, answer: Answer) {
    let d = burst.descriptor(slot);
    let Some(answer) = answer.about(d) else { return };
    if !cx.outbox.errors.take(cx.now) {
        return;
    }
    let link_local = |port| cx.ports.get(port).map(|facts| facts.link_local);
    let Some(source) = answer::source(cx.policy, d, link_local) else { return };
    let Some(frame) = burst.mbuf(slot).map(|mbuf| mbuf.data()) else { return };
    let core = cx.statistics.core();
    let Some(mut mbuf) = cx.outbox.buffer() else {
        core.generated.add(1);
        cx.count_drop(DropReason::NoBuffer);
        return;
    };
    let written = mbuf.append(ROOM).and_then(|buffer| answer.write(buffer, source, d, frame));
    let Some((length, descriptor)) = written else { return };
    mbuf.truncate(length);
    let instance = burst.instance(slot);
    let packet = Originated { mbuf, descriptor, instance, way: Way::Undecided, arp: false };
    if cx.outbox.originate(packet).is_ok() {
        core.generated.add(1);
    }
}

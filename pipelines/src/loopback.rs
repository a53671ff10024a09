//! LOOPBACK_OUT and LOOPBACK_IN: packets that the routes of one instance lead out by an interface of
//! another. They pass LOOPBACK_OUT of the first and LOOPBACK_IN of the second between the route
//! decision and FORWARDING, and are shown to the first's OBSERVING as local. All other events are
//! those of the instance that the packet came in by: nobody's egress filter changes because a hook
//! looks.

use sluice_hooks::{Burst, Context, Direction};
use sluice_packet::Mask;
use sluice_policy::{Event, InstanceId};

use crate::run::Run;

/// Shows those of `packets` that go to another instance to the hooks that ask for them.
#[cold]
#[inline(never)]
pub(crate) fn process(run: &mut Run<'_>, cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
    let (policy, here) = (cx.policy, cx.instance);
    let goes_to = |burst: &Burst, slot| -> Option<InstanceId> {
        let instance = policy.interface(burst.egress(slot))?.instance;
        (instance != here.id).then_some(instance)
    };
    let mut leaving = Mask::EMPTY;
    for slot in packets & burst.live() {
        if goes_to(burst, slot).is_some() {
            leaving.insert(slot);
        }
    }
    if leaving.is_empty() {
        return;
    }
    run.observe(cx, burst, leaving, Direction::Local);
    run.run(cx, burst, leaving, Event::LoopbackOut);
    let mut rest = leaving & burst.live();
    while let Some(there) = rest.into_iter().next().and_then(|slot| goes_to(burst, slot)) {
        let mut together = Mask::EMPTY;
        for slot in rest {
            if goes_to(burst, slot) == Some(there) {
                together.insert(slot);
            }
        }
        rest &= !together;
        if let Some(instance) = policy.instance(there) {
            cx.instance = instance;
            run.run(cx, burst, together, Event::LoopbackIn);
        }
    }
    cx.instance = here;
}

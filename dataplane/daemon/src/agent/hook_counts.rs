//! What authors' hooks count by instance.
//!
//! A worker counts under the instance's number, and never resets a counter but when it gives the hook's
//! object back. A number may be an earlier instance's: what was counted under it before is noted when
//! an instance comes, and left out.

use std::collections::BTreeMap;

use sluice_channel::HookInInstance;
use sluice_channel::statistics::{Counter, HookInstanceCounters, Statistics};
use sluice_hooks::stack::{Entry, HookId};
use sluice_policy::{InstanceId, Policy};

/// What was counted under the numbers of instances before they came.
#[derive(Default)]
pub struct HookCounts(BTreeMap<(HookId, InstanceId), Counts>);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Counts {
    packets: u64,
    dropped: u64,
    cycles: u64,
}

impl HookCounts {
    /// Instances come, to these hooks.
    pub fn begin(
        &mut self,
        hooks: &[Entry],
        instances: impl Iterator<Item = InstanceId>,
        statistics: &Statistics,
    ) {
        self.0.retain(|(id, _), _| hooks.iter().any(|hook| hook.id == *id));
        for instance in instances {
            for hook in hooks {
                match read(hook, instance, statistics) {
                    Some(counts) => self.0.insert((hook.id, instance), counts),
                    None => self.0.remove(&(hook.id, instance)),
                };
            }
        }
    }

    /// What a hook did in each instance that it stands in and that is counted by itself.
    pub fn of(
        &self,
        hook: &Entry,
        policy: &Policy,
        statistics: &Statistics,
    ) -> Vec<HookInInstance> {
        let at = |name| hook.hook.instance.as_ref().is_none_or(|only| only == name);
        let counted = policy.instances().filter(|instance| at(&instance.name));
        let counted = counted.filter_map(|instance| {
            let now = read(hook, instance.id, statistics)?;
            let before = self.0.get(&(hook.id, instance.id)).copied().unwrap_or_default();
            Some(HookInInstance {
                instance: instance.name.clone(),
                packets: now.packets.wrapping_sub(before.packets),
                drops: now.dropped.wrapping_sub(before.dropped),
                cycles: now.cycles.wrapping_sub(before.cycles),
            })
        });
        counted.collect()
    }
}

/// What is counted under a number, on all workers.
fn read(hook: &Entry, instance: InstanceId, statistics: &Statistics) -> Option<Counts> {
    let slot = hook.slot?;
    statistics.blocks().next()?.hook_by_instance(slot).get(instance.index())?;
    let sum = |of: fn(&HookInstanceCounters) -> &Counter| {
        statistics.sum(|block| of(&block.hook_by_instance(slot)[instance.index()]).get())
    };
    Some(Counts {
        packets: sum(|c| &c.packets),
        dropped: sum(|c| &c.dropped),
        cycles: sum(|c| &c.cycles),
    })
}

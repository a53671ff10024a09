//! What the workers' time goes into, worked out of readings of the statistics segment.

use sluice_channel::Statistics;
use sluice_channel::statistics::{MAX_HOOKS, WorkerBlock};
use sluice_control_api::Work;
use sluice_policy::Stage;

/// What stands in counters of calls, packets and cycles.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) calls: u64,
    pub(crate) packets: u64,
    pub(crate) cycles: u64,
}

impl Counted {
    /// What has come since `earlier`; counters wrap.
    fn since(self, earlier: Counted) -> Counted {
        Counted {
            calls: self.calls.wrapping_sub(earlier.calls),
            packets: self.packets.wrapping_sub(earlier.packets),
            cycles: self.cycles.wrapping_sub(earlier.cycles),
        }
    }

    /// The same of a hook, whose counters begin anew with the next hook in its place.
    fn of_hook_since(self, earlier: Counted) -> Counted {
        if self.calls < earlier.calls { self } else { self.since(earlier) }
    }

    fn plus(self, other: Counted) -> Counted {
        Counted {
            calls: self.calls.wrapping_add(other.calls),
            packets: self.packets.wrapping_add(other.packets),
            cycles: self.cycles.wrapping_add(other.cycles),
        }
    }
}

impl From<Counted> for Work {
    fn from(Counted { calls, packets, cycles }: Counted) -> Work {
        Work::new(calls, packets, cycles)
    }
}

/// A worker's counters of time at one moment, or what has come since another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reading {
    /// Cycles of the turns that found packets.
    busy: u64,
    stages: [Counted; Stage::ALL.len()],
    hooks: [Counted; MAX_HOOKS],
}

impl Reading {
    /// Nothing.
    pub(crate) const ZERO: Reading = Reading {
        busy: 0,
        stages: [Counted { calls: 0, packets: 0, cycles: 0 }; Stage::ALL.len()],
        hooks: [Counted { calls: 0, packets: 0, cycles: 0 }; MAX_HOOKS],
    };

    /// The counters of each worker now.
    pub(crate) fn all(statistics: &Statistics) -> Vec<Reading> {
        statistics.blocks().map(Reading::of).collect()
    }

    fn of(block: WorkerBlock<'_>) -> Reading {
        let stage = |stage: Stage| {
            let counters = block.stage(stage);
            Counted {
                calls: counters.bursts.get(),
                packets: counters.packets.get(),
                cycles: counters.cycles.get(),
            }
        };
        let hook = |slot: usize| {
            let counters = block.hook(slot);
            Counted {
                calls: counters.bursts.get(),
                packets: counters.packets.get(),
                cycles: counters.cycles.get(),
            }
        };
        Reading {
            busy: block.core().busy_cycles.get(),
            stages: Stage::ALL.map(stage),
            hooks: std::array::from_fn(hook),
        }
    }

    /// What has come since `earlier`.
    pub(crate) fn since(&self, earlier: &Reading) -> Reading {
        Reading {
            busy: self.busy.wrapping_sub(earlier.busy),
            stages: std::array::from_fn(|n| self.stages[n].since(earlier.stages[n])),
            hooks: std::array::from_fn(|n| self.hooks[n].of_hook_since(earlier.hooks[n])),
        }
    }

    /// Both together.
    pub(crate) fn plus(&self, other: &Reading) -> Reading {
        Reading {
            busy: self.busy.wrapping_add(other.busy),
            stages: std::array::from_fn(|n| self.stages[n].plus(other.stages[n])),
            hooks: std::array::from_fn(|n| self.hooks[n].plus(other.hooks[n])),
        }
    }

    /// What a stage did.
    pub(crate) fn stage(&self, stage: Stage) -> Counted {
        Stage::ALL.iter().position(|s| *s == stage).map_or(Counted::default(), |n| self.stages[n])
    }

    /// What the hook in a slot did.
    pub(crate) fn hook(&self, slot: u16) -> Counted {
        self.hooks.get(usize::from(slot)).copied().unwrap_or_default()
    }

    /// The bursts that were handled, and all the time that went into them.
    pub(crate) fn work(&self) -> Work {
        let Counted { calls, packets, .. } = self.stage(Stage::Decode);
        Work::new(calls, packets, self.busy)
    }

    /// Percent of `seconds` that went into turns which found packets, on each of `workers`.
    pub(crate) fn load(&self, seconds: f64, hertz: u64, workers: usize) -> f64 {
        let all = seconds * hertz as f64 * workers as f64;
        if all > 0.0 { (self.busy as f64 / all * 1000.0).round().min(1000.0) / 10.0 } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use sluice_channel::Limits;

    use super::*;

    #[test]
    fn readings_tell_what_came_in_between() {
        let limits = Limits { workers: 2, ports: 1, rules: 1 };
        let statistics = Statistics::in_memory(limits).unwrap();
        let [one, two] = [0, 1].map(|worker| statistics.worker(worker));
        one.stage(Stage::Decode).packets.set(u64::MAX);
        one.hook(3).bursts.set(500);
        let before = Reading::all(&statistics);
        for block in [one, two] {
            block.core().busy_cycles.add(700);
            block.stage(Stage::Decode).bursts.add(2);
            block.stage(Stage::Decode).packets.add(70);
            block.stage(Stage::Decode).cycles.add(350);
        }
        // Another hook took the slot meanwhile.
        one.hook(3).reset();
        one.hook(3).bursts.add(4);
        let now = Reading::all(&statistics);
        let of: Vec<Reading> = now.iter().zip(&before).map(|(n, b)| n.since(b)).collect();
        assert_eq!(of[0].work(), Work::new(2, 70, 700), "counters wrap");
        assert_eq!(of[0].hook(3), Counted { calls: 4, ..Counted::default() });
        let both = of[0].plus(&of[1]);
        assert_eq!(both.stage(Stage::Decode), Counted { calls: 4, packets: 140, cycles: 700 });
        assert_eq!(both.load(1.0, 1400, 2), 50.0);
        assert_eq!(of[0].load(0.5, 2800, 1), 50.0);
        assert_eq!(of[0].load(0.0, 2800, 1), 0.0);
        assert_eq!(Reading::ZERO.work(), Work::default());
    }
}

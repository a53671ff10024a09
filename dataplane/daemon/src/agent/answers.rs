//! Answers to questions of the control process.

use std::sync::atomic::Ordering;

use sluice_channel::statistics::{Counter, HookCounters};
use sluice_channel::{
    Command, HookOrigin, HookReport, HookState, HookStatus, ModuleStatus, PortStatus,
    ProgramStatus, Reply, RuleStatus, Status, WorkerStatus,
};
use sluice_hooks::stack::{self, Origin};
use sluice_policy::PortEntry;
use sluice_policy::model::{MacAddress, Name};

use super::Agent;
use super::modules::LoadedModule;
use crate::files::HookFile;

impl Agent {
    pub(super) fn tell(&self, question: &Command) -> Reply {
        let policy = &self.publisher.current().policy;
        match question {
            Command::Status => Reply::Status(self.status()),
            Command::State { tables } => Reply::State(policy.state().only(tables)),
            Command::Neighbours => Reply::Neighbours(self.neighbours.report(policy, self.now())),
            Command::Ports => {
                self.ports.read_devices(&self.statistics);
                Reply::Ports(policy.ports().map(|entry| self.port(entry)).collect())
            }
            Command::Workers => {
                Reply::Workers((0..self.workers.len()).map(|index| self.worker(index)).collect())
            }
            Command::Rules => Reply::Rules(self.rules()),
            Command::Hooks => Reply::Hooks(self.hooks()),
            Command::HookFile { path } => match HookFile::read(path) {
                Ok(file) => Reply::HookFile { digest: file.digest },
                Err(error) => Reply::Refused(vec![error.to_string()]),
            },
            other => Reply::Refused(vec![format!("`{}` is not known here", other.name())]),
        }
    }

    fn status(&self) -> Status {
        let policy = &self.publisher.current().policy;
        Status {
            generation: policy.generation(),
            digests: policy.digests(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            hugepages: self.ports.hugepages(),
            memory_mib: self.ports.memory_mib(),
            mempools: self.ports.mempools(),
            limits: self.limits,
            max_neighbours: self.neighbours.limit(),
            crash: self.crash.clone(),
        }
    }

    fn port(&self, entry: &PortEntry) -> PortStatus {
        let attached = self.ports.get(entry.id);
        let link = attached.map(|port| port.facts.link.load(Ordering::Relaxed));
        PortStatus {
            id: entry.id,
            name: entry.name.clone(),
            device: entry.spec.device.clone(),
            driver: attached.map(|port| port.driver.clone()).unwrap_or_default(),
            mac: attached.map(|port| MacAddress(port.facts.mac)).unwrap_or_default(),
            link: link.unwrap_or(false),
            speed_mbps: attached.and_then(|port| port.device_link().speed_mbps),
            mtu: entry.spec.mtu,
            rx_queues: attached.map_or(0, |port| port.workers.len() as u16),
            tx_queues: attached.map_or(0, |port| port.tx_queues),
            workers: attached.map(|port| port.workers.clone()).unwrap_or_default(),
            error: attached.is_none().then(|| match self.ports.lost(entry.id) {
                Some(lost) => lost.reason.clone(),
                None => "the device is not attached".to_owned(),
            }),
        }
    }

    fn worker(&self, index: usize) -> WorkerStatus {
        let policy = &self.publisher.current().policy;
        let mut queues = Vec::new();
        for entry in policy.ports() {
            let Some(attached) = self.ports.get(entry.id) else { continue };
            for (queue, &worker) in attached.workers.iter().enumerate() {
                if usize::from(worker) == index {
                    queues.push((entry.name.clone(), queue as u16));
                }
            }
        }
        let counted = self.statistics.worker(index).core();
        WorkerStatus {
            worker: index as u16,
            core: self.workers[index].core,
            generation: counted.generation.get(),
            sleeping: self.workers[index].doorbell.is_asleep(),
            loops: counted.loops.get(),
            busy_loops: counted.busy_loops.get(),
            stalled_ms: self.watchdog.stalled_ms(index, self.now()),
            queues,
        }
    }

    fn rules(&self) -> Vec<RuleStatus> {
        let policy = &self.publisher.current().policy;
        let status = |instance: &Name, point, name: &str, slot| {
            let counted = self.statistics.rule(slot);
            let (packets, bytes) = self.rule_log.since_baseline(slot, counted);
            RuleStatus {
                instance: instance.clone(),
                point,
                name: name.into(),
                slot,
                packets,
                bytes,
            }
        };
        let rules = policy.rules().map(|r| status(r.instance, Some(r.point), r.name, r.slot));
        let policy_routes =
            policy.policy_routes().map(|p| status(p.instance, None, &p.route.name, p.slot));
        rules.chain(policy_routes).collect()
    }

    fn hooks(&self) -> HookReport {
        let policy = &self.publisher.current().policy;
        let programs = self.programs.iter().map(|program| ProgramStatus {
            name: program.name.as_str().into(),
            summary: program.summary.clone(),
            settings: program.settings.clone(),
            events: program.events.clone(),
        });
        let loaded = |name: &Name| policy.hooks().find(|(n, _)| *n == name);
        let hooks = self.stack.hooks().iter().map(|entry| {
            let sum = |of: fn(&HookCounters) -> &Counter| {
                entry.slot.map_or(0, |slot| self.statistics.sum(|b| of(b.hook(slot)).get()))
            };
            let own = entry.slot.into_iter().flat_map(|slot| {
                entry.counters.iter().enumerate().map(move |(place, name)| {
                    (name.to_string(), self.statistics.sum(|b| b.own(slot)[place].get()))
                })
            });
            let configured = entry.origin == Origin::Configured;
            HookStatus {
                hook: entry.hook.clone(),
                slot: entry.slot.map(|slot| slot as u16),
                origin: match &entry.origin {
                    Origin::Configured => HookOrigin::Configured,
                    Origin::Module(name) => HookOrigin::Module(name.clone()),
                    Origin::Fault => HookOrigin::Fault,
                    Origin::Capture => HookOrigin::Capture,
                },
                version: entry.version,
                packets: sum(|c| &c.packets),
                bursts: sum(|c| &c.bursts),
                drops: sum(|c| &c.dropped),
                cycles: sum(|c| &c.cycles),
                panics: sum(|c| &c.panics),
                state: match &entry.state {
                    stack::HookState::Running => HookState::Running,
                    stack::HookState::TakenOut(reason) => HookState::TakenOut(reason.clone()),
                },
                counters: own.collect(),
                instances: self.hook_counts.of(entry, policy, &self.statistics),
                added_at: loaded(&entry.hook.name)
                    .filter(|_| configured)
                    .map_or(0, |(_, hook)| hook.generation),
            }
        });
        let modules = self.stack.modules().map(|(name, instances)| ModuleStatus {
            name: name.into(),
            failures: instances.iter().filter(|(_, state)| state.starts_with("failed")).count()
                as u64,
            loaded: self.modules.iter().find(|m| m.has(name)).map(|m| m.hook.clone()),
            problem: None,
            counters: self
                .modules
                .iter()
                .find(|m| m.has(name))
                .map(LoadedModule::statistics)
                .unwrap_or_default(),
            instances,
        });
        let idle = self.modules.iter().filter_map(|module| {
            Some(ModuleStatus {
                name: module.hook.clone(),
                instances: Vec::new(),
                failures: 0,
                loaded: Some(module.hook.clone()),
                problem: Some(module.problem()?.to_owned()),
                counters: Vec::new(),
            })
        });
        HookReport {
            programs: programs.collect(),
            hooks: hooks.collect(),
            modules: modules.chain(idle).collect(),
        }
    }
}

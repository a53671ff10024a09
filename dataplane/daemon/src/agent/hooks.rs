//! The agent's part in hooks: it hands objects to the workers and takes them back, publishes
//! orders, and makes the operator's hooks of the policy.

use std::collections::BTreeMap;
use std::mem::take;
use std::time::{Duration, Instant};

use rtrb::Consumer;
use sluice_dpdk::Mbuf;
use sluice_hooks::abi::Opened;
use sluice_hooks::stack::{
    Body, Configured, Entry, InstanceHandle, NicChange, Nics, Plan, Plane, Slot, Unanswered,
};
use sluice_hooks::{
    Hook, HookOrder, InjectError, Injection, Made, Note, OwnedPacket, Ports, Stack, TokenBucket,
};
use sluice_pipelines::Authors;
use sluice_policy::model::{LoadedHook, Name};
use sluice_policy::{Event, InstanceId, Policy, PortId};
use sluice_quiescent::Epoch;

use super::{Agent, LOOK};
use crate::files::HookFile;
use crate::worker::{Order, Returned};

/// Lines of the log a second for one hook, and how many at once.
const LOG: (u64, u64) = (5, 10);
/// How long workers may take to give a hook's objects back.
const RETURN: Duration = Duration::from_secs(1);

/// What is left to be done once a generation is published.
pub struct FollowUp {
    hooks: Vec<Entry>,
    instances: Vec<InstanceHandle>,
}

/// What a worker has given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Given {
    /// Everything of a port.
    Port(PortId),
    /// A hook's object.
    Hook(Slot),
}

impl Plane for Agent {
    fn policy(&self) -> &Policy {
        self.staged.as_ref().unwrap_or(&self.publisher.current().policy)
    }

    fn ports(&self) -> &Ports {
        &self.publisher.current().ports
    }

    fn workers(&self) -> usize {
        self.workers.len()
    }

    fn buffer(&self) -> Option<Mbuf> {
        self.ports.standard_pool().alloc()
    }

    fn inject(
        &mut self,
        instance: InstanceId,
        packet: OwnedPacket,
        how: Injection,
    ) -> Result<(), InjectError> {
        // All by one worker: what one thread injects stays in order.
        let Some(worker) = self.workers.first_mut() else { return Err(InjectError::Full) };
        let policy = &self.publisher.current().policy;
        let injected = worker.injector.inject(policy, instance, packet, how);
        worker.doorbell.ring();
        injected
    }

    fn give(
        &mut self,
        slot: Slot,
        guarded: bool,
        objects: Vec<Box<dyn Hook>>,
    ) -> Result<(), Unanswered> {
        let mut unanswered = Vec::new();
        for (index, object) in objects.into_iter().enumerate() {
            if !self.workers[index].orders.give(Order::Hook { slot, object, guarded }) {
                unanswered.push(index);
            }
        }
        if unanswered.is_empty() { Ok(()) } else { Err(Unanswered(unanswered)) }
    }

    fn publish(&mut self, order: HookOrder) {
        // What is staged is published with the policy.
        if self.staged.is_none() {
            let current = self.publisher.current();
            let next = current.followed_by(current.policy.clone(), order, self.ports.facts());
            self.publisher.publish(Box::new(next));
        }
    }

    fn take_back(&mut self, slot: Slot) -> Result<(), Unanswered> {
        for worker in &mut self.workers {
            worker.orders.owe(Order::TakeHook(slot));
        }
        let missing = self.wait_for_return(Given::Hook(slot), RETURN);
        self.publisher.reclaim();
        if missing.is_empty() { Ok(()) } else { Err(Unanswered(missing)) }
    }
}

impl Agent {
    /// Has the stack do something for which it needs the agent.
    pub(super) fn with_stack<R>(&mut self, act: impl FnOnce(&mut Stack, &mut Agent) -> R) -> R {
        let mut stack = take(&mut self.stack);
        let result = act(&mut stack, self);
        for slot in self.late.drain(..) {
            stack.came_back(slot);
        }
        self.stack = stack;
        result
    }

    /// Asks for what could not be asked for yet, takes in what workers give back, and drops it. Returns the workers that gave what is
    /// `awaited`. A hook's object that nobody waits for any more has come late: the stack is told
    /// when it has the agent next.
    pub(super) fn take_returns(&mut self, awaited: Option<Given>) -> Vec<usize> {
        self.workers.iter_mut().for_each(|worker| worker.orders.settle());
        let returns = self.workers.iter_mut().map(|worker| &mut worker.returns);
        take_in(returns, awaited, &mut self.late)
    }

    /// Waits until every worker has given something back. Returns those that do not within `limit`.
    pub(super) fn wait_for_return(&mut self, awaited: Given, limit: Duration) -> Vec<usize> {
        let deadline = Instant::now() + limit;
        let mut missing: Vec<usize> = (0..self.workers.len()).collect();
        loop {
            let gave = self.take_returns(Some(awaited));
            missing.retain(|worker| !gave.contains(worker));
            if missing.is_empty() || Instant::now() >= deadline {
                return missing;
            }
            self.beat();
            std::thread::sleep(LOOK);
        }
    }

    /// What becomes of the operator's hooks with this policy: everything that can fail.
    /// `restores` says that it is what was committed before this dataplane started: a file that
    /// cannot be loaded any more is left out then, and said.
    pub(super) fn plan_hooks(&self, policy: &Policy, restores: bool) -> Result<Plan, Vec<String>> {
        let current = &self.publisher.current().policy;
        let mut errors = Vec::new();
        let mut hooks = Vec::new();
        for (name, loaded) in policy.hooks() {
            let Some(hook) = loaded.foreign(name) else { continue };
            if current.hooks().any(|(n, is)| n == name && is.runs_as(loaded)) {
                hooks.push(Configured { hook, body: Body::AsItWas });
                continue;
            }
            let told = |error: String| format!("{}: hook `{name}`: {error}", loaded.position);
            match self.make(loaded, hook.event) {
                Ok(made) => hooks.push(Configured { hook, body: Body::New(made) }),
                Err(reason) if restores && loaded.file().is_some() => {
                    tracing::error!("{}: it is left out", told(reason.clone()));
                    hooks.push(Configured { hook, body: Body::Missing(reason) });
                }
                Err(reason) => errors.push(told(reason)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        self.stack.plan(policy, hooks).map_err(|error| vec![error.to_string()])
    }

    /// Makes a hook of the operator's, of a program or of a file.
    fn make(&self, loaded: &LoadedHook, event: Event) -> Result<Made, String> {
        let workers = self.workers.len();
        let settings = &loaded.settings;
        let made = match loaded.file() {
            None => match self.programs.iter().find(|program| *program.name == *loaded.program) {
                Some(program) => program.make(event, settings, workers),
                None => return Err(self.unknown_program(&loaded.program)),
            },
            Some(path) => {
                let file = HookFile::committed(path, loaded.digest.as_ref());
                match file.and_then(HookFile::open).map_err(|error| error.to_string())? {
                    Opened::Hook(hook) => {
                        let made = hook.make(event, settings, workers);
                        return made.map_err(|error| format!("{path}: {error}"));
                    }
                    Opened::Module(_) => {
                        return Err(format!(
                            "{path} is a module, which registers its hooks itself: leave `event` out"
                        ));
                    }
                }
            }
        };
        made.map_err(|error| error.to_string())
    }

    /// Gives the hooks of a policy that is about to be published to the workers: instances that
    /// come are created. Returns the policy and the order to publish.
    pub(super) fn stage_hooks(
        &mut self,
        policy: Policy,
        plan: Plan,
    ) -> (Policy, HookOrder, FollowUp) {
        let there: Vec<(InstanceHandle, Name)> =
            self.stack.instances().map(|(handle, name)| (handle, name.clone())).collect();
        let gone: Vec<InstanceHandle> = there
            .iter()
            .filter(|(_, name)| policy.instance_named(name).is_none())
            .map(|(handle, _)| *handle)
            .collect();
        let new: Vec<Name> = policy
            .instances()
            .map(|instance| instance.name.clone())
            .filter(|name| !there.iter().any(|(_, there)| there == name))
            .collect();
        let ids = new.iter().filter_map(|name| Some(policy.instance_named(name)?.id));
        self.hook_counts.begin(self.stack.hooks(), ids, &self.statistics);
        self.staged = Some(policy);
        let (hooks, order) = self.with_stack(|stack, agent| {
            let hooks = stack.adopt(agent, plan);
            for name in &new {
                stack.create_instance(agent, name);
            }
            // Each of them was looked at as it came.
            (hooks, stack.order(agent.policy()).unwrap_or_default())
        });
        let staged = self.staged.take();
        let policy = staged.unwrap_or_else(|| self.publisher.current().policy.clone());
        (policy, order, FollowUp { hooks, instances: gone })
    }

    /// What follows once the generation is published and adopted: no packet is in an instance that
    /// goes.
    pub(super) fn finish_hooks(&mut self, follow_up: FollowUp) {
        let FollowUp { hooks, instances } = follow_up;
        self.stop_gone_modules();
        self.with_stack(|stack, agent| {
            for (name, unanswered) in stack.retire(agent, hooks) {
                tracing::error!(
                    hook = %name,
                    "the hook is out of the order, but {unanswered}: its objects stay until they do"
                );
            }
            for instance in instances {
                stack.shut_down_instance(agent, instance);
                stack.destroy_instance(agent, instance);
            }
        });
    }

    /// Takes hooks out that panic too often, and takes in objects that come late.
    pub(super) fn watch_hooks(&mut self) {
        self.take_returns(None);
        let panics = |slot| self.statistics.sum(|block| block.hook(slot).panics.get());
        let bad: Vec<(Slot, Name, u64)> = self
            .stack
            .hooks()
            .iter()
            .filter_map(|e| Some((e.slot?, e.hook.name.clone(), panics(e.slot?))))
            .filter(|(_, _, panics)| *panics >= Authors::PANICS)
            .collect();
        if bad.is_empty() && self.late.is_empty() {
            return;
        }
        self.with_stack(|stack, agent| {
            for (slot, name, panics) in bad {
                let reason = format!("it panicked {panics} times");
                tracing::error!(hook = %name, "the hook is taken out: {reason}");
                if let Err(unanswered) = stack.take_out(agent, slot, &reason) {
                    tracing::error!(hook = %name, "{unanswered}: its objects stay until they do");
                }
            }
        });
    }

    /// Writes what a hook says of a packet to the log, if the hook has not had its share.
    pub(super) fn log_of_hook(&mut self, note: &Note, now: u64) {
        let fresh = || TokenBucket::new(LOG.0, LOG.1, 1000);
        let Some(entry) = self.stack.hook_in(note.hook) else { return };
        if !self.hook_log.entry(note.hook).or_insert_with(fresh).take(now) {
            return;
        }
        let key = &note.descriptor.key;
        tracing::info!(
            hook = %entry.hook.name,
            event = note.event.name(),
            source = %key.src_ip(),
            destination = %key.dst_ip(),
            protocol = key.protocol,
            sport = key.src_port,
            dport = key.dst_port,
            length = note.descriptor.l3_length,
            "hook"
        );
    }

    /// The name of the author's hook that a worker is in.
    pub(super) fn hook_of_worker(&self, worker: usize) -> Option<Name> {
        let slot = self.statistics.worker(worker).core().in_hook.get().checked_sub(1)?;
        self.stack.hook_in(slot as Slot).map(|entry| entry.hook.name.clone())
    }

    /// Tells NIC_EVENTS of what has changed. An interface that went down is told of when no worker
    /// is at one of its packets any more.
    pub(super) fn tell_of_nics(&mut self, epoch: Epoch) {
        let now = self.nics_now();
        let changes = self.nics.changes(now);
        if changes.is_empty() {
            return;
        }
        if changes.iter().any(|(_, _, _, change)| *change == NicChange::Down) {
            self.wait_for_adoption(epoch);
        }
        self.with_stack(|stack, agent| {
            for (instance, interface, id, change) in changes {
                if let Some(handle) = stack.instance_named(&instance) {
                    stack.nic_event(agent, handle, (id, &interface), &change);
                }
            }
        });
    }

    fn unknown_program(&self, name: &str) -> String {
        let known: Vec<_> = self.programs.iter().map(|p| format!("`{}`", p.name)).collect();
        format!("no program is named `{name}`; there are {}", known.join(", "))
    }

    /// What interfaces are now.
    fn nics_now(&self) -> BTreeMap<(Name, Name), Nics> {
        let policy = &self.publisher.current().policy;
        let down = self.ports.down(policy);
        let facts = policy.interfaces().filter_map(|interface| {
            let instance = policy.instance(interface.instance)?.name.clone();
            let nics = Nics {
                interface: interface.id,
                up: !down.contains(&interface.port),
                mtu: interface.mtu,
                addresses: interface.addresses.to_vec(),
            };
            Some(((instance, interface.name.clone()), nics))
        });
        facts.collect()
    }
}

/// Empties the workers' rings. Returns the workers that gave what is `awaited`; hooks' slots that
/// came unawaited are `late`.
fn take_in<'a>(
    returns: impl Iterator<Item = &'a mut Consumer<Returned>>,
    awaited: Option<Given>,
    late: &mut Vec<Slot>,
) -> Vec<usize> {
    let mut gave = Vec::new();
    for (worker, returns) in returns.enumerate() {
        while let Ok(returned) = returns.pop() {
            let given = match returned {
                Returned::Port(port, _) => Given::Port(port),
                Returned::Hook(slot, _) => Given::Hook(slot),
            };
            match given {
                given if Some(given) == awaited => gave.push(worker),
                Given::Hook(slot) => late.push(slot),
                // A port that is closed late is looked after by itself.
                Given::Port(_) => {}
            }
        }
    }
    gave
}

#[cfg(test)]
mod tests {
    use rtrb::RingBuffer;

    use super::*;

    #[test]
    fn a_hooks_object_that_comes_while_something_else_is_awaited_is_late() {
        let rings = (0..2).map(|_| RingBuffer::new(8));
        let (mut give, mut returns): (Vec<_>, Vec<_>) = rings.unzip();
        let port = |id| Returned::Port(PortId(id), (Vec::new(), None));
        let mut given = |worker: usize, what| assert!(give[worker].push(what).is_ok());
        given(0, Returned::Hook(3, None));
        given(0, port(1));
        given(1, port(2));
        given(1, Returned::Hook(5, None));
        let mut late = Vec::new();
        let awaited = Some(Given::Port(PortId(1)));
        assert_eq!(take_in(returns.iter_mut(), awaited, &mut late), [0]);
        assert_eq!(late, [3, 5]);
        given(1, Returned::Hook(5, None));
        given(0, Returned::Hook(5, None));
        assert_eq!(take_in(returns.iter_mut(), Some(Given::Hook(5)), &mut late), [0, 1]);
        assert_eq!(take_in(returns.iter_mut(), None, &mut late), [0; 0]);
        assert_eq!(late, [3, 5], "what was awaited is not late");
    }
}

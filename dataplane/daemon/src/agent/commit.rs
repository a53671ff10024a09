//! Transactions: from the first operation to the generation that every worker has adopted.
//!
//! Everything that can fail is done before the new generation is published: the policy is
//! compiled, limits are checked, the hooks' order is resolved, new ports are attached. Publishing
//! is the commit point and is never undone.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use sluice_channel::Reply;
use sluice_policy::model::{Delta, FilterPoint, Name, Port};
use sluice_policy::{Names, Packed, Policy, PortEntry, PortId, RuleSlot};
use sluice_quiescent::Epoch;

use super::hooks::Given;
use super::modules::Started;
use super::ports::Handles;
use super::{Agent, LOOK};
use crate::worker::Order;

/// How long workers may take to adopt what is published.
const ADOPTION: Duration = Duration::from_secs(1);
/// How long a port's queues may take to come back from the workers.
const RETURN: Duration = Duration::from_secs(2);
/// Operations of one transaction; a larger change is committed in parts.
const MAX_OPERATIONS: usize = 4_000_000;

/// A transaction that has begun and not ended.
pub struct Transaction {
    /// The generation that it makes.
    generation: u64,
    delta: Delta,
    /// Those of what came so far, and of what it is applied to.
    names: Names,
    /// What was compiled before the commit, and the edition that it was made from.
    compiled: Option<(u64, Policy)>,
}

impl Agent {
    pub(super) fn begin(&mut self, expected: u64, generation: u64) -> Reply {
        let current = &self.publisher.current().policy;
        let (live, names) = (current.generation(), Names::of(current));
        self.transaction = None;
        if expected != live {
            return Reply::Conflict { generation: live };
        }
        if generation <= live {
            return Reply::Refused(vec![format!(
                "generation {generation} cannot follow generation {live}: numbers only grow"
            )]);
        }
        let delta = Delta::default();
        self.transaction = Some(Transaction { generation, delta, names, compiled: None });
        Reply::Done
    }

    pub(super) fn apply(&mut self, part: Packed) -> Reply {
        let Some(transaction) = &mut self.transaction else {
            return Reply::Refused(vec!["no transaction has begun: send `begin` first".into()]);
        };
        let count = transaction.delta.operations.len() + part.len();
        if count > MAX_OPERATIONS {
            self.transaction = None;
            return Reply::Refused(vec![format!(
                "the transaction has {count} operations, {MAX_OPERATIONS} are allowed: commit it in parts"
            )]);
        }
        transaction.delta.operations.extend(part.unpack(&mut transaction.names));
        transaction.compiled = None;
        Reply::Done
    }

    /// Compiles the transaction ahead of its commit. What is wrong with it the commit says.
    pub(super) fn compile(&mut self) -> Reply {
        let Some(transaction) = &mut self.transaction else {
            return Reply::Refused(vec!["no transaction has begun: send `begin` first".into()]);
        };
        let current = &self.publisher.current().policy;
        let compiled = current.apply_as(transaction.generation, &transaction.delta).ok();
        transaction.compiled = compiled.map(|policy| (current.edition(), policy));
        Reply::Done
    }

    pub(super) fn commit(&mut self) -> Reply {
        let Some(Transaction { generation, delta, compiled, names: _ }) = self.transaction.take()
        else {
            return Reply::Refused(vec!["no transaction has begun: send `begin` first".into()]);
        };
        let reply = match self.prepare(generation, &delta, compiled) {
            Ok(prepared) => self.publish(prepared),
            Err(reasons) => {
                self.statistics.agent().refusals.add(1);
                Reply::Refused(reasons)
            }
        };
        self.solicit_neighbours();
        self.spent = delta;
        reply
    }

    /// Everything that can fail.
    fn prepare(
        &mut self,
        generation: u64,
        delta: &Delta,
        compiled: Option<(u64, Policy)>,
    ) -> Result<Prepared, Vec<String>> {
        let current = &self.publisher.current().policy;
        let live = current.generation();
        let policy = match compiled {
            Some((edition, policy)) if edition == current.edition() => policy,
            // Not compiled yet, or the ports are not as they were then.
            _ => current
                .apply_as(generation, delta)
                .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?,
        };
        self.check_limits(&policy)?;
        // What has taken effect before is taken as it is: a port, or a file, that has gone meanwhile
        // must not keep all others from coming back.
        let restores = live == 0 && generation > 1;
        let modules = self.start_modules(&policy, restores)?;
        let hooks = match self.plan_hooks(&policy, restores) {
            Ok(hooks) => hooks,
            Err(errors) => {
                self.undo_modules(modules);
                return Err(errors);
            }
        };

        let gone: Vec<PortId> =
            self.ports.ids().into_iter().filter(|&id| policy.port(id).is_none()).collect();
        let changed: Vec<PortEntry> =
            policy.ports().filter(|entry| self.needs_restart(entry)).cloned().collect();
        let new: Vec<PortEntry> = policy
            .ports()
            .filter(|entry| self.ports.get(entry.id).is_none() && !self.stays_lost(entry))
            .cloned()
            .collect();

        // A changed port is a new one with an old one in its place; so is a new one that takes the
        // device of one that goes. Those have to leave first, and come back if anything fails.
        let taken_over = |id: &PortId| {
            let device = self.ports.get(*id).map(|port| &port.spec.device);
            new.iter().chain(&changed).any(|entry| Some(&entry.spec.device) == device)
        };
        let (early, late): (Vec<PortId>, Vec<PortId>) = gone.into_iter().partition(taken_over);
        let mut replaced: Vec<PortEntry> = Vec::new();
        let old = self.publisher.current();
        for id in early.iter().copied().chain(changed.iter().map(|entry| entry.id)) {
            replaced.extend(old.policy.port(id).cloned());
        }
        for entry in &replaced {
            self.release(entry.id);
        }
        let mut handles: Vec<(PortId, Handles)> = Vec::new();
        let mut missing = Vec::new();
        let mut errors = Vec::new();
        for entry in new.iter().chain(&changed) {
            match self.ports.attach(entry, &mut self.links) {
                Ok(of_port) => handles.push((entry.id, of_port)),
                Err(error) if restores => missing.push((entry.clone(), format!("{error:#}"))),
                Err(error) => errors.push(format!(
                    "{}:{}: port `{}`: {error:#}",
                    entry.spec.position.file, entry.spec.position.line, entry.name
                )),
            }
        }
        if errors.is_empty() {
            for (entry, reason) in missing {
                self.announce_loss(&entry, reason);
            }
            let policy = policy.with_down(self.ports.down(&policy));
            return Ok(Prepared { policy, hooks, modules, handles, leaving: late });
        }
        self.undo_modules(modules);
        for (id, of_port) in handles {
            drop(of_port);
            self.ports.close(id);
        }
        let mut back = Vec::new();
        for entry in &replaced {
            match self.ports.attach(entry, &mut self.links) {
                Ok(of_port) => back.push((entry.id, of_port)),
                Err(error) => {
                    let reason = format!("it could not be put back as it was: {error:#}");
                    errors.push(format!("port `{}`: {reason}", entry.name));
                    self.announce_loss(entry, reason);
                }
            }
        }
        if !replaced.is_empty() {
            // The same policy, but the ports that were put back may have another link address.
            self.follow_ports();
        }
        for (id, of_port) in back {
            self.hand_out(id, of_port);
        }
        Err(errors)
    }

    fn check_limits(&self, policy: &Policy) -> Result<(), Vec<String>> {
        let mut errors = Vec::new();
        let (ports, max) = (policy.ports().count(), usize::from(self.limits.ports));
        if ports > max || policy.ports().any(|entry| entry.id.index() >= max) {
            errors.push(format!(
                "{ports} ports are configured, the dataplane was started for {max}: raise \
                 `dataplane.limits.ports` and restart"
            ));
        }
        if policy.rule_slots() > self.limits.rules {
            errors.push(format!(
                "{} rules are configured, the dataplane was started for {}: raise \
                 `dataplane.limits.rules` and restart",
                policy.rule_slots(),
                self.limits.rules
            ));
        }
        let workers = self.workers.len();
        for entry in policy.ports() {
            for &worker in entry.spec.workers.iter().filter(|&&w| usize::from(w) >= workers) {
                errors.push(format!(
                    "{}:{}: port `{}`: worker {worker} does not exist: `dataplane.cores` makes \
                     workers 0 to {}",
                    entry.spec.position.file,
                    entry.spec.position.line,
                    entry.name,
                    workers - 1
                ));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Whether `entry` is a lost port as it was: it is waited for, and no reason to refuse.
    fn stays_lost(&self, entry: &PortEntry) -> bool {
        self.ports
            .lost(entry.id)
            .is_some_and(|lost| lost.name == entry.name && !is_another(&lost.spec, &entry.spec))
    }

    /// Whether an attached port has to be attached anew to become what `entry` says.
    fn needs_restart(&self, entry: &PortEntry) -> bool {
        self.ports.get(entry.id).is_some_and(|attached| is_another(&attached.spec, &entry.spec))
    }

    /// The commit point and what follows from it.
    fn publish(&mut self, prepared: Prepared) -> Reply {
        let Prepared { policy, hooks, modules, handles, leaving } = prepared;
        let generation = policy.generation();
        let old = self.publisher.current().policy.clone();
        self.rule_baselines(&old, &policy);
        for problem in self.neighbours.follow(&old, &policy, self.now()) {
            tracing::warn!("{problem}");
        }
        let ports = self.ports.facts();
        self.keep_modules(modules);
        let (policy, order, follow_up) = self.stage_hooks(policy, hooks);
        let next = self.publisher.current().followed_by(policy, order, ports);
        let epoch = self.publisher.publish(Box::new(next));
        self.statistics.agent().generation.set(generation);
        self.statistics.agent().commits.add(1);
        let attached: Vec<PortId> = handles.iter().map(|(id, _)| *id).collect();
        for (id, of_port) in handles {
            self.hand_out(id, of_port);
        }

        let waiting = self.wait_for_adoption(epoch);
        for id in leaving {
            self.release(id);
        }
        self.tell_of_nics(epoch);
        self.finish_hooks(follow_up);
        self.ports.forget_found(&self.publisher.current().policy);
        self.publisher.reclaim();
        self.statistics.agent().retired.set(self.publisher.retired() as u64);
        tracing::info!(generation, ?waiting, "committed");
        for id in attached {
            self.announce_addresses(Some(id));
        }
        self.ports.read_devices(&self.statistics);
        Reply::Committed { generation, waiting }
    }

    /// Waits until every worker runs what was published as `epoch`. Returns those that do not
    /// within [`ADOPTION`].
    pub(super) fn wait_for_adoption(&mut self, epoch: Epoch) -> Vec<u16> {
        let deadline = Instant::now() + ADOPTION;
        while !self.publisher.adopted(epoch) && Instant::now() < deadline {
            self.beat();
            std::thread::sleep(LOOK);
        }
        self.publisher.waiting(epoch).into_iter().map(|worker| worker as u16).collect()
    }

    /// Gives workers their parts of a port.
    pub(super) fn hand_out(&mut self, id: PortId, handles: Handles) {
        for (worker, (queues, way)) in self.workers.iter_mut().zip(handles.by_worker) {
            if !worker.orders.give(Order::Attach { port: id, queues, way }) {
                tracing::error!("a worker does not take orders; port {} stays without it", id.0);
            }
        }
    }

    /// Takes a port back from the workers and detaches it.
    pub(super) fn release(&mut self, id: PortId) {
        for worker in &mut self.workers {
            worker.orders.give(Order::Detach(id));
        }
        self.wait_for_return(Given::Port(id), RETURN);
        self.ports.close(id);
    }

    /// Notes what the counters of newly given slots stand at, so that a rule's count begins at 0
    /// although workers never reset a counter.
    fn rule_baselines(&mut self, old: &Policy, new: &Policy) {
        let (was, is) = (old.state(), new.state());
        if was.filters.ptr_eq(&is.filters) && was.policy_routes.ptr_eq(&is.policy_routes) {
            return;
        }
        let before: HashSet<_> = counted(old).collect();
        for rule in counted(new).filter(|rule| !before.contains(rule)) {
            let (_, _, _, slot) = rule;
            self.rule_log.set_baseline(slot, self.statistics.rule(slot));
        }
    }
}

/// What is counted by slot: the rules of filters, and policy routes.
fn counted(policy: &Policy) -> impl Iterator<Item = (&Name, Option<FilterPoint>, &str, RuleSlot)> {
    let rules = policy.rules().map(|r| (r.instance, Some(r.point), r.name, r.slot));
    rules.chain(policy.policy_routes().map(|p| (p.instance, None, &*p.route.name, p.slot)))
}

/// Whether a port that is as `is` says has to be attached anew to become what `be` says.
fn is_another(is: &Port, be: &Port) -> bool {
    (&is.device, is.mac, is.queues, &is.workers, is.mtu)
        != (&be.device, be.mac, be.queues, &be.workers, be.mtu)
}

/// A transaction that cannot fail any more.
struct Prepared {
    policy: Policy,
    hooks: sluice_hooks::stack::Plan,
    modules: Started,
    handles: Vec<(PortId, Handles)>,
    leaving: Vec<PortId>,
}

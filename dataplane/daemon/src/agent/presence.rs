//! Ports come and go.
//!
//! A port whose interface is deleted, renamed or moved away is closed in order: its link is noted
//! as down, so that workers stop sending at once; the policy is published without the routes by
//! it; the workers give their queues back; the device is detached. It stays configured, `show
//! ports` says why it is not there, and it is attached again by itself when an interface of its
//! name is there. A link that goes down withdraws routes alike and closes nothing.
//!
//! No other port is touched by any of this, and the generation stays: what was asked for has not
//! changed.

use sluice_channel::Notice;
use sluice_pipelines::Generation;
use sluice_policy::model::Name;
use sluice_policy::{PortEntry, PortId};

use super::Agent;
use crate::kernel;

impl Agent {
    /// Follows what the kernel reports of its interfaces.
    pub(super) fn follow_links(&mut self) {
        let mut news = Vec::new();
        let mut gone = Vec::new();
        for change in self.links.drain() {
            let up = change.up && !change.removed;
            news.extend(
                self.ports.set_link(change.index, up).into_iter().map(|(id, n)| (id, n, up)),
            );
            if !change.removed {
                self.ports.interface_came(&change.name);
            } else if let Some(id) = self.ports.on_interface(change.index) {
                gone.push((id, change.name));
            }
        }
        self.links_changed(&news);
        for (id, interface) in gone {
            self.lose(id, &interface);
        }
    }

    /// Looks at the links that nobody reports.
    pub(super) fn poll_links(&mut self) {
        let news = self.ports.poll_links();
        self.links_changed(&news);
    }

    /// Tries to attach the ports that are lost and due, and to detach what is left of others.
    pub(super) fn find_lost(&mut self) {
        if self.ports.is_closing() {
            self.take_returns(None);
            self.ports.finish_closing();
        }
        for id in self.ports.due() {
            let current = &self.publisher.current().policy;
            let Some(entry) = current.port(id).cloned() else { continue };
            let interface = kernel::device_interface(&entry.spec.device);
            if interface.is_some_and(|name| self.links.state(name).is_none()) {
                self.ports.still_lost(id, None);
                continue;
            }
            match self.ports.attach(&entry, &mut self.links) {
                Ok(handles) => {
                    self.ports.forget_found(&self.publisher.current().policy);
                    self.follow_ports();
                    self.hand_out(id, handles);
                    tracing::info!(port = %entry.name, "the port is back");
                    self.server.event(&Notice::PortBack { port: entry.name });
                    self.announce_addresses(Some(id));
                }
                Err(error) => {
                    let reason = format!("{error:#}");
                    if self.ports.still_lost(id, Some(&reason)) {
                        tracing::warn!(port = %entry.name, "the port is not back yet: {reason}");
                    }
                }
            }
        }
    }

    /// Publishes the ports as they are now, and withdraws the routes by those that are down: first
    /// where others share the flows, which takes no time, then all.
    pub(super) fn follow_ports(&mut self) {
        let current = self.publisher.current();
        let (live, order) = (current.policy.clone(), current.order.clone());
        let (down, ports) = (self.ports.down(&live), self.ports.facts());
        if let Some(policy) = live.sparing(down.iter().copied()) {
            let (order, ports) = (order.clone(), ports.clone());
            self.publisher.publish(Box::new(Generation { policy, order, ports }));
        }
        let policy = live.with_down(down);
        let epoch = self.publisher.publish(Box::new(Generation { policy, order, ports }));
        self.tell_of_nics(epoch);
    }

    /// Notes that a configured port is not there, and says so.
    pub(super) fn announce_loss(&mut self, entry: &PortEntry, reason: String) {
        tracing::warn!(port = %entry.name, "the port is lost: {reason}");
        let port = entry.name.clone();
        self.statistics.port_gauges(entry.id).link.set(0);
        self.server.event(&Notice::PortLost { port: port.clone(), reason: reason.clone() });
        self.ports.lose(entry.id, port, entry.spec.clone(), reason);
    }

    /// Closes a port whose interface has gone.
    fn lose(&mut self, id: PortId, interface: &str) {
        let Some(entry) = self.publisher.current().policy.port(id).cloned() else { return };
        let reason =
            format!("interface `{interface}` is gone; the port is back by itself when it is");
        let policy = &self.publisher.current().policy;
        let on_port: Vec<_> = policy.interfaces().filter(|i| i.port == id).map(|i| i.id).collect();
        for interface in on_port {
            self.neighbours.forget(interface);
        }
        self.release(id);
        self.announce_loss(&entry, reason);
        self.follow_ports();
    }

    /// Withdraws, or brings back, the routes by ports whose link has changed, and says so.
    fn links_changed(&mut self, news: &[(PortId, Name, bool)]) {
        if news.is_empty() {
            return;
        }
        self.follow_ports();
        for (id, port, up) in news {
            tracing::info!(port = %port, up, "link");
            self.statistics.port_gauges(*id).link.set(u64::from(*up));
            self.server.event(&Notice::Link { port: port.clone(), up: *up });
            if *up {
                self.announce_addresses(Some(*id));
            }
        }
    }
}

//! NIC_EVENTS: what happens to interfaces, in one ordered stream on the agent's thread
//! (`hook_nic_event_t`).
//!
//! The stream is the difference between what interfaces were and what they are ([`NicWatch`]),
//! whatever the cause was: a commit, a link that came or went, a device that vanished. So nothing
//! is told twice, and nothing out of order: an interface is plumbed before it is up, and down before
//! it is unplumbed.

use std::collections::BTreeMap;
use std::time::Instant;

use ipnet::IpNet;
use sluice_policy::model::Name;
use sluice_policy::order::Place;
use sluice_policy::{Event, InterfaceId, Protocol, order};

use super::{Api, Entry, InstanceHandle, Plane, ProtocolHandle, Stack};

/// What happened to an interface (`nic_event_t`). A listener leaves alone what it does not know.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NicChange {
    /// It has come to be (`NE_PLUMB`).
    Plumb,
    /// It has gone (`NE_UNPLUMB`); nothing more is heard of it.
    Unplumb,
    /// It may now bring packets (`NE_UP`).
    Up,
    /// It brings no more packets (`NE_DOWN`): no worker is at one of its packets any more.
    Down,
    /// It has an address more (`NE_ADDRESS_CHANGE`, `NE_LIF_UP`).
    AddressAdded(IpNet),
    /// It has an address less (`NE_ADDRESS_CHANGE`, `NE_LIF_DOWN`).
    AddressRemoved(IpNet),
    /// Its largest packet is now of so many bytes.
    Mtu(u16),
}

/// An event of NIC_EVENTS.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NicEvent {
    /// For whom (`hne_protocol`): each protocol of the instance hears it.
    pub protocol: ProtocolHandle,
    /// The interface (`hne_nic`).
    pub interface: InterfaceId,
    /// Its name.
    pub name: Name,
    /// What happened.
    pub change: NicChange,
}

/// A hook at NIC_EVENTS. It is shown what happened and changes nothing of it; it may call
/// everything of the [`Api`].
pub trait NicListener: Send + Sync {
    /// An event, after all earlier ones.
    fn changed(&self, api: &mut Api<'_>, event: &NicEvent);
}

/// What is told of one interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nics {
    /// Its number.
    pub interface: InterfaceId,
    /// Whether it carries packets.
    pub up: bool,
    /// Its MTU.
    pub mtu: u16,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
}

/// By instance and interface.
type All = BTreeMap<(Name, Name), Nics>;

/// What was last told of the interfaces.
#[derive(Default)]
pub struct NicWatch(All);

impl NicWatch {
    /// The changes from what was told to what is, in the order in which they are to be told:
    /// first what goes, then what comes.
    pub fn changes(&mut self, now: All) -> Vec<(Name, Name, InterfaceId, NicChange)> {
        let mut changes = Vec::new();
        let mut push = |key: &(Name, Name), id: InterfaceId, change: NicChange| {
            changes.push((key.0.clone(), key.1.clone(), id, change));
        };
        for (key, was) in self.0.iter().rev() {
            let is = now.get(key).filter(|is| is.interface == was.interface);
            if was.up && !is.is_some_and(|is| is.up) {
                push(key, was.interface, NicChange::Down);
            }
            for address in &was.addresses {
                if !is.is_some_and(|is| is.addresses.contains(address)) {
                    push(key, was.interface, NicChange::AddressRemoved(*address));
                }
            }
            if is.is_none() {
                push(key, was.interface, NicChange::Unplumb);
            }
        }
        for (key, is) in &now {
            let was = self.0.get(key).filter(|was| was.interface == is.interface);
            if was.is_none() {
                push(key, is.interface, NicChange::Plumb);
            }
            if was.is_some_and(|was| was.mtu != is.mtu) {
                push(key, is.interface, NicChange::Mtu(is.mtu));
            }
            for address in &is.addresses {
                if !was.is_some_and(|was| was.addresses.contains(address)) {
                    push(key, is.interface, NicChange::AddressAdded(*address));
                }
            }
            if is.up && !was.is_some_and(|was| was.up) {
                push(key, is.interface, NicChange::Up);
            }
        }
        self.0 = now;
        changes
    }
}

impl Stack {
    /// Tells the listeners of the instance, protocol by protocol, in the order of their hints.
    /// While the instance shuts down they still hear what goes.
    pub fn nic_event(
        &mut self,
        plane: &mut dyn Plane,
        instance: InstanceHandle,
        interface: (InterfaceId, &Name),
        change: &NicChange,
    ) {
        let Some(of) = self.instances.name(instance).cloned() else { return };
        for protocol in Protocol::ALL {
            for listener in self.listeners(plane, &of, protocol) {
                let event = NicEvent {
                    protocol: ProtocolHandle { instance, protocol },
                    interface: interface.0,
                    name: interface.1.clone(),
                    change: change.clone(),
                };
                let started = Instant::now();
                listener.changed(&mut self.api(plane), &event);
                self.took(started);
            }
        }
    }

    fn listeners(
        &self,
        plane: &dyn Plane,
        instance: &Name,
        protocol: Protocol,
    ) -> Vec<std::sync::Arc<dyn NicListener>> {
        let stands = |e: &&Entry| e.stands_at(instance, protocol, Event::NicEvents);
        let with: Vec<_> = self.hooks().iter().filter(stands).collect();
        if with.is_empty() {
            return Vec::new();
        }
        let Some(found) = plane.policy().instance_named(instance) else {
            // The instance is going: who is still there hears it in the order of registration.
            return with.into_iter().filter_map(|entry| entry.listener.clone()).collect();
        };
        let foreign: Vec<_> = with.iter().map(|entry| &entry.hook).collect();
        let places = order::resolved(found, protocol, Event::NicEvents, &foreign);
        let of = |place| match place {
            Place::Foreign(index) => with.get(index).and_then(|entry| entry.listener.clone()),
            Place::Stage(_) => None,
        };
        places.unwrap_or_default().into_iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(interfaces: &[(&str, u32, bool, &[&str])]) -> All {
        let nics = interfaces.iter().map(|&(name, id, up, addresses)| {
            let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
            let facts = Nics { interface: InterfaceId(id as u16), up, mtu: 1500, addresses };
            ((Name::from("default"), Name::from(name)), facts)
        });
        nics.collect()
    }

    fn told(watch: &mut NicWatch, now: All) -> Vec<(String, NicChange)> {
        watch.changes(now).into_iter().map(|(_, name, _, c)| (name.to_string(), c)).collect()
    }

    #[test]
    fn j1_to_j5_and_j8_an_interface_lives_in_order() {
        let mut watch = NicWatch::default();
        let net: IpNet = "192.0.2.1/24".parse().unwrap();
        let lan = |change| ("lan".to_owned(), change);
        let up = told(&mut watch, all(&[("lan", 1, true, &["192.0.2.1/24"])]));
        let expected = [NicChange::Plumb, NicChange::AddressAdded(net), NicChange::Up];
        assert_eq!(up, expected.map(lan));
        let again = told(&mut watch, all(&[("lan", 1, true, &["192.0.2.1/24"])]));
        assert_eq!(again, []);
        let down = told(&mut watch, all(&[("lan", 1, false, &["192.0.2.1/24"])]));
        assert_eq!(down, [lan(NicChange::Down)]);
        let gone = told(&mut watch, all(&[]));
        assert_eq!(gone, [NicChange::AddressRemoved(net), NicChange::Unplumb].map(lan));
        assert_eq!(told(&mut watch, all(&[])), []);
    }

    #[test]
    fn j2_one_that_was_made_anew_is_another() {
        let mut watch = NicWatch::default();
        told(&mut watch, all(&[("lan", 1, true, &[])]));
        let lan = |change| ("lan".to_owned(), change);
        let anew = told(&mut watch, all(&[("lan", 2, true, &[])]));
        let expected = [NicChange::Down, NicChange::Unplumb, NicChange::Plumb, NicChange::Up];
        assert_eq!(anew, expected.map(lan));
    }
}

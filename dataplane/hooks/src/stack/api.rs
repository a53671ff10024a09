//! What a callback is given.

use sluice_dpdk::Mbuf;
use sluice_policy::model::Name;
use sluice_policy::{Event, InstanceId, Protocol};

use super::instances::{InstanceHandle, ProtocolHandle};
use super::{Plane, Stack, StackError};
use crate::inject::{InjectError, Injection};
use crate::packet::OwnedPacket;
use crate::query::{Interfaces, QueryError};

/// The interface that modules and their callbacks use. It is there for as long as a callback runs,
/// on the agent's thread.
pub struct Api<'a> {
    pub(super) stack: &'a mut Stack,
    pub(super) plane: &'a mut dyn Plane,
    /// The module whose callback this is.
    pub(super) module: Option<Name>,
}

impl Api<'_> {
    /// The instances that are not shutting down.
    pub fn instances(&self) -> Vec<InstanceHandle> {
        self.stack.instances.live().map(|(handle, _)| handle).collect()
    }

    /// An instance's name (`net_netidtozonid`).
    ///
    /// # Errors
    /// [`StackError::NotFound`].
    pub fn instance_name(&self, instance: InstanceHandle) -> Result<Name, StackError> {
        let name = self.stack.instances.name(instance).cloned();
        name.ok_or_else(|| StackError::NotFound(format!("instance {instance}")))
    }

    /// The live instance of that name (`net_zoneidtonetid`).
    pub fn instance_named(&self, name: &str) -> Option<InstanceHandle> {
        self.stack.instance_named(name)
    }

    /// A protocol of an instance (`net_protocol_lookup`); `None` when it is not there, or no longer.
    pub fn protocol(&self, instance: InstanceHandle, protocol: Protocol) -> Option<ProtocolHandle> {
        let found = self.stack.instances.protocols(instance).any(|p| p == protocol);
        found.then_some(ProtocolHandle { instance, protocol })
    }

    /// The protocols of an instance (`net_protocol_walk`); none once it shuts down.
    pub fn protocols(&self, instance: InstanceHandle) -> Vec<ProtocolHandle> {
        let protocols = self.stack.instances.protocols(instance);
        protocols.map(|protocol| ProtocolHandle { instance, protocol }).collect()
    }

    /// The events of a protocol; none once its instance shuts down.
    pub fn events(&self, handle: ProtocolHandle) -> Vec<Event> {
        self.stack.instances.events(handle).collect()
    }

    /// The policy as it is, or as it is about to be while an instance comes to be.
    pub fn policy(&self) -> &sluice_policy::Policy {
        self.plane.policy()
    }

    /// The interfaces of an instance, as a protocol sees them (`net_phygetnext` and its kin).
    ///
    /// # Errors
    /// [`QueryError::Shutdown`] once the instance shuts down.
    pub fn interfaces(&self, handle: ProtocolHandle) -> Result<Interfaces<'_>, QueryError> {
        let id = self.instance_id(handle).ok_or(QueryError::Shutdown)?;
        Interfaces::of(self.plane.policy(), self.plane.ports(), id, handle.protocol)
    }

    /// An empty buffer for a packet to be [injected](Self::inject); `None` when there is none.
    pub fn buffer(&self) -> Option<Mbuf> {
        self.plane.buffer()
    }

    /// Has a worker put a packet on its way, in the handle's instance (`net_inject`).
    ///
    /// # Errors
    /// [`InjectError`]; the packet is freed.
    pub fn inject(
        &mut self,
        handle: ProtocolHandle,
        packet: impl Into<OwnedPacket>,
        how: Injection,
    ) -> Result<(), InjectError> {
        let id = self.instance_id(handle).ok_or(InjectError::Shutdown)?;
        if handle.protocol == Protocol::Arp {
            return Err(InjectError::Unsupported);
        }
        self.plane.inject(id, packet.into(), how)
    }

    /// The number that the policy calls an instance by, until that shuts down.
    fn instance_id(&self, handle: ProtocolHandle) -> Option<InstanceId> {
        let name = self.stack.instances.open(handle.instance).ok()?;
        Some(self.plane.policy().instance_named(name)?.id)
    }

    /// The module of this name, for one that wants to look whether another is there.
    pub fn has_module(&self, name: &str) -> bool {
        self.stack.modules().any(|(module, _)| module == name)
    }

    /// How many objects a hook needs: one for each worker.
    pub fn workers(&self) -> usize {
        self.plane.workers()
    }
}

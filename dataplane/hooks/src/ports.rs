//! What the pipeline needs to know of the ports that the policy does not say: the link address
//! that the device really has, and whether it has link.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sluice_policy::PortId;

/// Facts about one port.
#[derive(Clone, Debug)]
pub struct PortFacts {
    /// Its link address.
    pub mac: [u8; 6],
    /// Its IPv6 link-local address, made of the link address (RFC 4291 appendix A).
    pub link_local: u128,
    /// Whether the link is up; the agent writes it, the workers read it.
    pub link: Arc<AtomicBool>,
}

/// Facts about all ports of one generation, by [`PortId`].
#[derive(Clone, Debug, Default)]
pub struct Ports(Vec<Option<PortFacts>>);

impl Ports {
    /// Sets or clears the facts of a port.
    pub fn set(&mut self, port: PortId, facts: Option<PortFacts>) {
        if self.0.len() <= port.index() {
            self.0.resize(port.index() + 1, None);
        }
        self.0[port.index()] = facts;
    }

    /// The facts of a port; `None` when it is not attached.
    #[inline]
    pub fn get(&self, port: PortId) -> Option<&PortFacts> {
        self.0.get(port.index())?.as_ref()
    }

    /// Whether a port is attached and has link.
    #[inline]
    pub fn link(&self, port: PortId) -> bool {
        self.get(port).is_some_and(|facts| facts.link.load(Ordering::Relaxed))
    }
}

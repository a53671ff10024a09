//! Living beside the kernel: the interfaces that DPDK takes from it, and what it alone knows.
//!
//! A port on `net_af_packet` or `net_af_xdp` stands on an interface that the kernel still sees.
//! Left alone, the kernel answers ARP, neighbour discovery, ping and MLD in our name, next to us.
//!
//! * [`KernelInterface`] makes the kernel deaf and mute on an interface for as long as it is
//!   taken, and gives everything back as it was, after a SIGKILL as well.
//! * [`LinkWatch`] ([`link`]) follows link state over rtnetlink, because those drivers report "up" on an
//!   interface without carrier.
//!
//! Both speak rtnetlink in the network namespace of the thread that calls them. Neither is used
//! on the path of a packet.

mod error;
mod interface;
pub mod link;
mod netlink;
mod record;

#[cfg(test)]
mod namespace;

pub use error::KernelError;
pub use interface::{KernelInterface, device_interface, restore_abandoned};
pub use link::LinkWatch;

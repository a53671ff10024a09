//! A safe layer over DPDK: EAL, mempools, packet buffers, ports and their queues.
//!
//! Everything that touches DPDK's C interface in Sluice is in this crate and in `sluice-dpdk-sys`;
//! the rest of the dataplane is safe Rust on top of these invariants:
//!
//! * An [`Mbuf`] is owned. It is not `Clone`, is freed exactly once, and is given up by value when a
//!   [`TxQueue`] takes it.
//! * An [`RxQueue`] or [`TxQueue`] exists once and is used through `&mut`: DPDK's queues may not be
//!   polled by two threads at once, and here they cannot be.
//! * A port is reconfigured, stopped or detached only when nothing of it is out any more: queues and
//!   descriptors are counted.
//! * Code of hook authors runs when it has been verified, and reaches the memory it was verified for
//!   ([`bpf`]).
//! * A pool lives as long as a buffer of it is in anyone's hands, and EAL as long as pools and ports.
//! * DPDK's inline functions are called through the C shim once per burst; the fields of an mbuf are
//!   read and written here, inlined, at offsets taken from the installed headers.
//!
//! ```no_run
//! use sluice_dpdk::{BURST, Eal, EalOptions, Mempool, Port, PortSetup};
//!
//! # fn main() -> Result<(), sluice_dpdk::DpdkError> {
//! let eal = Eal::init(&EalOptions { name: "example", memory_mib: 64, ..EalOptions::default() })?;
//! let pool = Mempool::new(&eal, "packets", 2047, 2048)?;
//! let mut port = Port::attach(&eal, "net_null0")?;
//! let (mut rx, mut tx) = port.configure(PortSetup::new(&pool))?;
//! port.start()?;
//! let mut burst = [const { None }; BURST];
//! let received = rx[0].rx(&mut burst);
//! let sent = tx[0].tx(&mut burst, received);
//! assert!(sent <= received);
//! # Ok(())
//! # }
//! ```

mod attach;
pub mod bpf;
mod capability;
mod clock;
mod descriptor;
mod device;
mod eal;
mod error;
mod hugepages;
mod interface;
mod log;
mod mbuf;
mod mempool;
mod port;
mod queue;
mod thread;
mod xdp;

pub use clock::{tsc, tsc_hz};
pub use descriptor::{DescriptorKind, KernelStatistics, QueueDescriptor};
pub use device::{Device, Driver, device_with_frame_size, device_with_queues, required_data_room};
pub use eal::{Eal, EalOptions, Hugepages, LogLevel};
pub use error::{CloseError, DpdkError};
pub use mbuf::{Mbuf, Segments, free_bulk};
pub use mempool::Mempool;
pub use port::{Link, Port, PortInfo, PortSetup, PortStats, RSS_KEY_WORD, Rss};
pub use queue::{RxQueue, TxQueue, Unsendable};
pub use thread::{ThreadGuard, keep_off_cores, pin_current_thread, register_thread};

/// The most packets that one call receives or sends.
pub const BURST: usize = 64;

/// What a function of this crate returns.
pub type Result<T, E = DpdkError> = std::result::Result<T, E>;

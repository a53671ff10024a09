//! Raw bindings to the system's DPDK (22.11 or later) and a C shim for what it offers only inline.
//!
//! The library is found through pkg-config (`libdpdk`) and linked dynamically; drivers are plugins
//! that EAL loads at start. Symbols and types are allow-listed in `build.rs`. The fields of an mbuf
//! are reached through the `SLUICE_MBUF_*` offsets, which the compiler takes from the installed
//! headers, so that the same code builds on releases that nest the fields differently.
//!
//! The only user of this crate is `sluice-dpdk`, which makes it safe.

/// What bindgen generates, and the types that stay opaque.
#[allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod generated {
    /// A packet buffer; its fields are at the `SLUICE_MBUF_*` offsets.
    #[repr(C)]
    pub struct rte_mbuf {
        opaque: [u8; 0],
        neither_send_nor_sync: core::marker::PhantomData<*mut u8>,
    }

    /// A pool of packet buffers.
    #[repr(C)]
    pub struct rte_mempool {
        opaque: [u8; 0],
        neither_send_nor_sync: core::marker::PhantomData<*mut u8>,
    }

    /// A program that librte_bpf has loaded.
    #[repr(C)]
    pub struct rte_bpf {
        opaque: [u8; 0],
        neither_send_nor_sync: core::marker::PhantomData<*mut u8>,
    }

    /// A device on one of EAL's buses.
    #[repr(C)]
    pub struct rte_device {
        opaque: [u8; 0],
        neither_send_nor_sync: core::marker::PhantomData<*mut u8>,
    }

    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use generated::*;

//! The structures of Solaris' interface that C code written for it fills in and reads, as
//! `include/sluice/solaris/sluice/solaris.h` has them, and the table of functions that the header's
//! functions call. A test has a C compiler say that both agree; what each field means, the manual pages
//! say.
#![allow(non_camel_case_types, missing_docs)]

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::ptr;

/// The version of the table.
pub const SLUICE_SOLARIS_ABI: u32 = 1;

/// `net_handle_t`: a number, not an address.
pub type net_handle_t = usize;
/// `phy_if_t`: the interface's number and one; 0 is none.
pub type phy_if_t = usize;
/// `lif_if_t`.
pub type lif_if_t = u64;
/// `netid_t`, `zoneid_t`.
pub type netid_t = c_int;

/// `mblk_t`.
#[repr(C)]
pub struct mblk_t {
    pub b_next: *mut mblk_t,
    pub b_prev: *mut mblk_t,
    pub b_cont: *mut mblk_t,
    pub b_rptr: *mut u8,
    pub b_wptr: *mut u8,
    pub b_datap: *mut dblk_t,
    pub b_band: u8,
    pub b_tag: u8,
    pub b_flag: u16,
}

/// `dblk_t`.
#[repr(C)]
pub struct dblk_t {
    pub db_base: *mut u8,
    pub db_lim: *mut u8,
    pub db_ref: u8,
    pub db_type: u8,
}

/// A message block with its data block: what an object sees of a packet.
#[repr(C)]
pub struct Message {
    pub mblk: mblk_t,
    pub dblk: dblk_t,
}

// SAFETY: the addresses in it are only followed by whoever holds the message.
unsafe impl Send for Message {}

impl Default for Message {
    fn default() -> Message {
        let none = ptr::null_mut();
        Message {
            mblk: mblk_t {
                b_next: none,
                b_prev: none,
                b_cont: none,
                b_rptr: ptr::null_mut(),
                b_wptr: ptr::null_mut(),
                b_datap: ptr::null_mut(),
                b_band: 0,
                b_tag: 0,
                b_flag: 0,
            },
            dblk: dblk_t {
                db_base: ptr::null_mut(),
                db_lim: ptr::null_mut(),
                db_ref: 1,
                db_type: 0,
            },
        }
    }
}

/// `hook_pkt_event_t`.
#[repr(C)]
pub struct hook_pkt_event_t {
    pub hpe_protocol: net_handle_t,
    pub hpe_ifp: phy_if_t,
    pub hpe_ofp: phy_if_t,
    pub hpe_hdr: *mut c_void,
    pub hpe_mp: *mut *mut mblk_t,
    pub hpe_mb: *mut mblk_t,
    pub hpe_flags: c_int,
    pub hpe_reserved: [*mut c_void; 2],
}

/// `hook_pkt_observe_t`, with the numbers in the host's order.
#[repr(C)]
pub struct hook_pkt_observe_t {
    pub hpo_version: u8,
    pub hpo_family: u8,
    pub hpo_htype: u16,
    pub hpo_pktlen: u32,
    pub hpo_ifindex: u32,
    pub hpo_grifindex: u32,
    pub hpo_zsrc: u32,
    pub hpo_zdst: u32,
    pub hpo_pkt: *mut mblk_t,
    pub hpo_ctx: *mut c_void,
}

/// `hook_nic_event_t`.
#[repr(C)]
pub struct hook_nic_event_t {
    pub hne_protocol: net_handle_t,
    pub hne_nic: phy_if_t,
    pub hne_lif: lif_if_t,
    pub hne_event: c_int,
    pub hne_data: *mut c_void,
    pub hne_datalen: usize,
}

/// `hook_func_t`.
pub type hook_func_t =
    unsafe extern "C" fn(token: *mut c_void, data: *mut c_void, arg: *mut c_void) -> c_int;
/// `hook_notify_fn_t`.
pub type hook_notify_fn_t = unsafe extern "C" fn(
    cmd: c_int,
    arg: *mut c_void,
    name1: *const c_char,
    name2: *const c_char,
    name3: *const c_char,
) -> c_int;

/// `hook_t`.
#[repr(C)]
pub struct hook_t {
    pub h_version: c_int,
    pub h_func: Option<hook_func_t>,
    pub h_name: *mut c_char,
    pub h_flags: c_uint,
    pub h_hint: c_int,
    pub h_hintvalue: usize,
    pub h_arg: *mut c_void,
}

/// `net_instance_t`.
#[repr(C)]
pub struct net_instance_t {
    pub nin_version: c_int,
    pub nin_name: *mut c_char,
    pub nin_create: Option<unsafe extern "C" fn(id: netid_t) -> *mut c_void>,
    pub nin_destroy: Option<unsafe extern "C" fn(id: netid_t, kept: *mut c_void)>,
    pub nin_shutdown: Option<unsafe extern "C" fn(id: netid_t, kept: *mut c_void)>,
}

/// `net_inject_t`.
#[repr(C)]
pub struct net_inject_t {
    pub ni_version: c_int,
    pub ni_netid: netid_t,
    pub ni_packet: *mut mblk_t,
    /// A `struct sockaddr_storage`.
    pub ni_addr: sockaddr,
    pub ni_physical: phy_if_t,
}

/// The bytes of a `struct sockaddr_storage`.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct sockaddr(pub [u8; 128]);

/// `kstat_named_t`, of which numbers of 64 bits are shown.
#[repr(C)]
pub struct kstat_named_t {
    pub name: [c_char; 31],
    pub data_type: u8,
    pub value: u64,
}

/// `kstat_t`.
#[repr(C)]
pub struct kstat_t {
    pub ks_module: [c_char; 31],
    pub ks_name: [c_char; 31],
    pub ks_class: [c_char; 31],
    pub ks_instance: c_int,
    pub ks_type: u8,
    pub ks_flags: u8,
    pub ks_ndata: c_uint,
    pub ks_data: *mut c_void,
    pub ks_private: *mut c_void,
    pub ks_update: *mut c_void,
    pub ks_lock: *mut c_void,
}

/// The functions of the header.
#[repr(C)]
pub struct sluice_solaris {
    pub abi: u32,
    pub size: u32,
    pub allocb: unsafe extern "C" fn(size: usize) -> *mut mblk_t,
    pub freeb: unsafe extern "C" fn(message: *mut mblk_t),
    pub pullupmsg: unsafe extern "C" fn(message: *mut mblk_t, length: c_long) -> c_int,
    pub log: unsafe extern "C" fn(level: c_int, text: *const c_char),
    pub instance_register: unsafe extern "C" fn(module: *const net_instance_t) -> c_int,
    pub instance_unregister: unsafe extern "C" fn(module: *const net_instance_t) -> c_int,
    pub instance_notify: unsafe extern "C" fn(
        id: netid_t,
        callback: hook_notify_fn_t,
        arg: *mut c_void,
        begin: c_int,
    ) -> c_int,
    pub protocol_lookup: unsafe extern "C" fn(id: netid_t, name: *const c_char) -> net_handle_t,
    pub protocol_walk: unsafe extern "C" fn(id: netid_t, after: net_handle_t) -> net_handle_t,
    pub protocol_release: unsafe extern "C" fn(handle: net_handle_t) -> c_int,
    pub protocol_notify: unsafe extern "C" fn(
        handle: net_handle_t,
        callback: hook_notify_fn_t,
        arg: *mut c_void,
        begin: c_int,
    ) -> c_int,
    pub event_notify: unsafe extern "C" fn(
        handle: net_handle_t,
        event: *const c_char,
        callback: hook_notify_fn_t,
        arg: *mut c_void,
        begin: c_int,
    ) -> c_int,
    pub hook_register: unsafe extern "C" fn(
        handle: net_handle_t,
        event: *const c_char,
        hook: *const hook_t,
    ) -> c_int,
    pub hook_unregister: unsafe extern "C" fn(
        handle: net_handle_t,
        event: *const c_char,
        hook: *const hook_t,
    ) -> c_int,
    pub getnetid: unsafe extern "C" fn(handle: net_handle_t) -> netid_t,
    pub is_instance: unsafe extern "C" fn(id: netid_t) -> c_int,
    pub phygetnext: unsafe extern "C" fn(handle: net_handle_t, after: phy_if_t) -> phy_if_t,
    pub phylookup: unsafe extern "C" fn(handle: net_handle_t, name: *const c_char) -> phy_if_t,
    pub getifname: unsafe extern "C" fn(
        handle: net_handle_t,
        interface: phy_if_t,
        name: *mut c_char,
        room: usize,
    ) -> c_int,
    pub lifgetnext: unsafe extern "C" fn(
        handle: net_handle_t,
        interface: phy_if_t,
        after: lif_if_t,
    ) -> lif_if_t,
    pub getlifaddr: unsafe extern "C" fn(
        handle: net_handle_t,
        interface: phy_if_t,
        address: lif_if_t,
        count: c_int,
        kinds: *const c_int,
        out: *mut c_void,
    ) -> c_int,
    pub getlifflags: unsafe extern "C" fn(
        handle: net_handle_t,
        interface: phy_if_t,
        address: lif_if_t,
        flags: *mut u64,
    ) -> c_int,
    pub getlifzone: unsafe extern "C" fn(
        handle: net_handle_t,
        interface: phy_if_t,
        address: lif_if_t,
        zone: *mut netid_t,
    ) -> c_int,
    pub getmtu:
        unsafe extern "C" fn(handle: net_handle_t, interface: phy_if_t, address: lif_if_t) -> c_int,
    pub getpmtuenabled: unsafe extern "C" fn(handle: net_handle_t) -> c_int,
    pub routeto: unsafe extern "C" fn(
        handle: net_handle_t,
        destination: *const c_void,
        next: *mut c_void,
    ) -> phy_if_t,
    pub inject: unsafe extern "C" fn(
        handle: net_handle_t,
        style: c_int,
        packet: *mut net_inject_t,
    ) -> c_int,
    pub ispartialchecksum:
        unsafe extern "C" fn(handle: net_handle_t, message: *mut mblk_t) -> c_int,
    pub isvalidchecksum: unsafe extern "C" fn(handle: net_handle_t, message: *mut mblk_t) -> c_int,
    pub kstat_install: unsafe extern "C" fn(statistics: *mut kstat_t),
    pub kstat_delete: unsafe extern "C" fn(statistics: *mut kstat_t),
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;
    use std::mem::offset_of;
    use std::process::{Command, Stdio};

    use super::*;

    /// A compiler is asked, as authors have one.
    #[test]
    fn the_header_lays_structures_out_as_they_are_here() {
        let mut source = String::from("#include <sluice/solaris.h>\n");
        macro_rules! same {
            ($($of:ident as $c:literal { $first:ident $(, $field:ident)* })*) => {$(
                let _ = writeln!(
                    source,
                    "_Static_assert(sizeof({}) == {}, \"{}\");", $c, size_of::<$of>(), $c
                );
                for (field, place) in [
                    (stringify!($first), offset_of!($of, $first))
                    $(, (stringify!($field), offset_of!($of, $field)))*
                ] {
                    let _ = writeln!(
                        source,
                        "_Static_assert(offsetof({}, {field}) == {place}, \"{field}\");", $c
                    );
                }
            )*};
        }
        same! {
            mblk_t as "mblk_t" { b_next, b_prev, b_cont, b_rptr, b_wptr, b_datap, b_band, b_tag, b_flag }
            dblk_t as "dblk_t" { db_base, db_lim, db_ref, db_type }
            hook_pkt_event_t as "hook_pkt_event_t" {
                hpe_protocol, hpe_ifp, hpe_ofp, hpe_hdr, hpe_mp, hpe_mb, hpe_flags, hpe_reserved
            }
            hook_pkt_observe_t as "hook_pkt_observe_t" {
                hpo_version, hpo_family, hpo_htype, hpo_pktlen, hpo_ifindex, hpo_grifindex, hpo_zsrc,
                hpo_zdst, hpo_pkt, hpo_ctx
            }
            hook_nic_event_t as "hook_nic_event_t" {
                hne_protocol, hne_nic, hne_lif, hne_event, hne_data, hne_datalen
            }
            hook_t as "hook_t" { h_version, h_func, h_name, h_flags, h_hint, h_hintvalue, h_arg }
            net_instance_t as "net_instance_t" {
                nin_version, nin_name, nin_create, nin_destroy, nin_shutdown
            }
            net_inject_t as "net_inject_t" { ni_version, ni_netid, ni_packet, ni_addr, ni_physical }
            kstat_named_t as "kstat_named_t" { name, data_type, value }
            kstat_t as "kstat_t" {
                ks_module, ks_name, ks_class, ks_instance, ks_type, ks_flags, ks_ndata, ks_data,
                ks_private, ks_update, ks_lock
            }
            sluice_solaris as "struct sluice_solaris" {
                abi, size, allocb, freeb, pullupmsg, log, instance_register, instance_notify,
                protocol_walk, hook_register, hook_unregister, getnetid, phygetnext, getlifaddr,
                routeto, inject, isvalidchecksum, kstat_install, kstat_delete
            }
        }
        let include = concat!(env!("CARGO_MANIFEST_DIR"), "/../../include/sluice/solaris");
        let compiler = Command::new("cc")
            .args(["-x", "c", "-fsyntax-only", "-Wall", "-Werror", "-I", include, "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut compiler = compiler.expect("a C compiler (`make deps`)");
        compiler.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
        let done = compiler.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

//! A network namespace of the test's own, and the far end of a cable in it.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::run;

/// Moves the calling thread into a network namespace that ends with it. Commands that it starts run
/// there too.
pub(crate) fn own_namespace() {
    // SAFETY: no precondition; only the calling thread moves.
    let failed = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(failed, 0, "{}", io::Error::last_os_error());
    // A kernel that keeps quiet: no router solicitations, no multicast reports.
    std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
}

/// Makes a cable with the ends `near` and `far`, both up.
pub(crate) fn cable(near: &str, far: &str, mtu: u16) {
    run(&format!("ip link add {near} type veth peer name {far}"));
    for end in [near, far] {
        run(&format!("ip link set {end} mtu {mtu} arp off up"));
    }
}

/// What an interface's `ip -details -json link show` holds behind `"key":`.
pub(crate) fn link(interface: &str, key: &str) -> String {
    let output = run(&format!("ip -details -json link show {interface}"));
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, value) = text.split_once(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{text}"));
    value.split([',', '}']).next().unwrap().trim_matches('"').to_owned()
}

/// A packet socket on an interface: what a host at that end sends and sees.
pub(crate) struct Host(OwnedFd);

impl Host {
    pub(crate) fn on(interface: &str) -> Host {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: creates a descriptor; no precondition.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, protocol.into()) };
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        // SAFETY: the descriptor was just created.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let name = std::ffi::CString::new(interface).unwrap();
        // SAFETY: a sockaddr_ll is plain integers, for which zero is valid.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        // SAFETY: the name is a C string.
        address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
        // SAFETY: the address is as long as is said.
        let failed = unsafe {
            libc::bind(
                fd,
                (&raw const address).cast(),
                mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        assert_eq!(failed, 0, "{interface}: {}", io::Error::last_os_error());
        Host(socket)
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        // SAFETY: the buffer is as long as is said.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
    }

    /// The next frame that came in from the other end; None after half a second without.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        loop {
            if !readable(&self.0, Duration::from_millis(500)) {
                return None;
            }
            let mut frame = vec![0; 65_536];
            // SAFETY: a sockaddr_ll is plain integers, for which zero is valid.
            let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
            let mut length = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            // SAFETY: both buffers are as long as is said.
            let received = unsafe {
                libc::recvfrom(
                    self.0.as_raw_fd(),
                    frame.as_mut_ptr().cast(),
                    frame.len(),
                    0,
                    (&raw mut from).cast(),
                    &raw mut length,
                )
            };
            frame.truncate(usize::try_from(received).expect("a frame"));
            if from.sll_pkttype != libc::PACKET_OUTGOING {
                return Some(frame);
            }
        }
    }
}

/// Whether a descriptor becomes readable in time.
pub(crate) fn readable(fd: &impl AsFd, patience: Duration) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // A tap driver's signal may interrupt the call.
    loop {
        // SAFETY: one pollfd.
        let ready = unsafe { libc::poll(&raw mut poll, 1, patience.as_millis() as libc::c_int) };
        if ready >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return ready > 0 && poll.revents & libc::POLLIN != 0;
        }
    }
}

/// An Ethernet frame of `len` bytes with an experimental EtherType and a payload that differs by `seed`.
pub(crate) fn frame(to: [u8; 6], len: usize, seed: u8) -> Vec<u8> {
    let mut frame = vec![0; len];
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0xee]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    for (i, byte) in frame[14..].iter_mut().enumerate() {
        *byte = (i as u8).wrapping_mul(31).wrapping_add(seed);
    }
    frame
}

/// How many descriptors the process has open.
pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::namespace::{self, command, commands};
use super::*;

/// Waits on the descriptor, as the agent does, until `done` is satisfied with all changes so far.
fn changes_until(watch: &mut LinkWatch, done: impl Fn(&[LinkChange]) -> bool) -> Vec<LinkChange> {
    let mut all = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !done(&all) {
        assert!(Instant::now() < deadline, "not yet, after {all:?}");
        let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&timeout)).unwrap();
        all.extend(watch.drain());
    }
    all
}

fn says(name: &'static str, up: bool, removed: bool) -> impl Fn(&[LinkChange]) -> bool {
    move |all| {
        let last = all.iter().rfind(|change| change.name == name);
        last.is_some_and(|change| (change.up, change.removed) == (up, removed))
    }
}

#[test]
fn what_happens_to_a_link_is_reported_as_it_happens() {
    namespace::run(|| {
        let mut watch = LinkWatch::new().unwrap();
        assert_eq!(watch.drain(), []);
        command("ip link add veth0 mtu 1400 address 02:00:00:00:00:07 type veth peer name veth1");
        let seen = changes_until(&mut watch, says("veth0", false, false));
        let index = seen.iter().find(|change| change.name == "veth0").unwrap().index;
        let link = watch.state("veth0").unwrap();
        let mac = Some([2, 0, 0, 0, 0, 7]);
        assert_eq!(link, Link { index, up: false, mtu: 1400, mac });
        commands("ip link set veth0 up\nip link set veth1 up");
        changes_until(&mut watch, says("veth0", true, false));
        assert!(watch.state("veth0").unwrap().up);
        command("ip link set veth1 down");
        changes_until(&mut watch, says("veth0", false, false));
        assert!(!watch.state("veth0").unwrap().up, "up without carrier is down");
        command("ip link delete veth0");
        changes_until(&mut watch, says("veth0", false, true));
        assert_eq!(watch.state("veth0"), None);
        assert_eq!(watch.drain(), []);
    });
}

#[test]
fn a_rename_removes_the_old_name() {
    namespace::run(|| {
        commands("ip link add veth0 type veth peer name veth1");
        let mut watch = LinkWatch::new().unwrap();
        commands("ip link set veth0 name other0");
        let seen = changes_until(&mut watch, says("other0", false, false));
        assert!(says("veth0", false, true)(&seen), "{seen:?}");
    });
}

#[test]
fn leaving_a_bridge_is_not_going_away() {
    namespace::run(|| {
        commands("ip link add veth0 type veth peer name veth1");
        let mut watch = LinkWatch::new().unwrap();
        commands(
            "ip link add br0 type bridge
             ip link set veth0 master br0
             ip link set veth0 nomaster
             ip link add last type veth peer name last1",
        );
        let seen = changes_until(&mut watch, says("last", false, false));
        assert!(!seen.iter().any(|change| change.removed), "{seen:?}");
    });
}

#[test]
fn changes_that_the_kernel_could_not_queue_are_found_by_listing() {
    namespace::run(|| {
        commands("ip link add veth0 type veth peer name veth1\nip link set veth1 up");
        let mut watch = LinkWatch::new().unwrap();
        watch.events.set_rx_buf_sz(4096).unwrap();
        for _ in 0..20 {
            commands("ip link set veth0 up\nip link set veth0 down");
        }
        commands("ip link delete veth0\nip link add new0 type veth peer name new1");
        let seen = changes_until(&mut watch, |all| {
            says("veth0", false, true)(all) && says("new0", false, false)(all)
        });
        assert!(seen.len() < 40, "most notifications had no room: {seen:?}");
        assert_eq!(watch.drain(), []);
    });
}

#[test]
fn interfaces_of_no_name_have_no_state() {
    let mut watch = LinkWatch::new().unwrap();
    for name in ["", "nonesuch", "a-name-longer-than-fifteen-bytes"] {
        assert_eq!(watch.state(name), None);
    }
    assert!(watch.state("lo").unwrap().mtu > 0);
}

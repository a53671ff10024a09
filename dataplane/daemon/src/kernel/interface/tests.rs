use std::time::{Duration, Instant};

use super::super::namespace::{self, command, commands};
use super::*;

#[test]
fn a_device_string_names_the_interface_that_its_driver_leaves_to_the_kernel() {
    for (device, interface) in [
        ("net_af_packet0,iface=veth0", Some("veth0")),
        ("net_af_packet_lan,blocksz=16384, iface=eth0.10 ,qpairs=2", Some("eth0.10")),
        ("eth_af_packet1,iface=a", Some("a")),
        ("net_af_xdp0,iface=eth1,start_queue=0", Some("eth1")),
        ("net_af_packet0,iface=", None),
        ("net_af_packet0", None),
        ("net_tap0,iface=dtap0", None),
        ("virtio_user0,path=/dev/vhost-net,iface=tap0", None),
        ("0000:03:00.0", None),
        ("", None),
    ] {
        assert_eq!(device_interface(device), interface, "{device}");
    }
}

const SETTINGS: [&str; 2] = ["ipv6/conf/veth0/disable_ipv6", "ipv4/conf/veth0/forwarding"];

/// All that the kernel says of `veth0`, once duplicate address detection has come to rest.
fn state() -> String {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let addresses = command("ip -oneline address show dev veth0");
        if !addresses.contains("tentative") || Instant::now() > deadline {
            // The kernel gives an interface its queueing discipline the first time it is up.
            let link = command("ip -oneline link show dev veth0").replace("noop", "noqueue");
            let mut lines = vec![link];
            lines.extend(addresses.lines().map(str::to_owned));
            lines.push(command("ip -4 route show table all dev veth0"));
            lines.push(command("ip -6 route show table all dev veth0"));
            lines.extend(SETTINGS.map(setting));
            lines[1..].sort();
            return lines.join("\n");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn setting(key: &str) -> String {
    format!("{key} {}", fs::read_to_string(sysctl_path(key)).unwrap())
}

fn is_silent() -> bool {
    let link = command("ip -oneline link show dev veth0");
    ["NOARP", "ALLMULTI", "UP"].iter().all(|flag| link.contains(flag))
        && command("ip address show dev veth0").lines().all(|line| !line.contains("inet"))
        && setting(SETTINGS[0]).contains('1')
        && setting(SETTINGS[1]).contains('0')
}

const PAIR: &str = "
    ip link add veth0 mtu 1400 type veth peer name veth1
    ip link set veth1 up";

const IN_USE: &str = "
    sysctl -qw net.ipv4.ip_forward=1
    ip link set veth0 up
    ip address add 10.1.0.1/24 brd + dev veth0
    ip address add 10.1.0.2/24 dev veth0
    ip address add 10.9.0.1 peer 10.9.0.2/32 dev veth0 label veth0:p2p
    ip address add fd00:1::1/64 dev veth0
    ip route add 169.254.7.1 dev veth0 scope link
    ip route add default via 169.254.7.1 dev veth0 metric 50
    ip route add 10.2.0.0/16 via 10.1.0.9
    ip route add fd00:2::/48 via fd00:1::9";

#[test]
fn an_unused_interface_is_silenced_and_given_back_down_as_it_was() {
    namespace::run(|| {
        commands(PAIR);
        let directory = tempfile::tempdir().unwrap();
        let before = state();
        let interface = KernelInterface::take("veth0", false, directory.path()).unwrap();
        assert!(is_silent(), "{}", state());
        assert_eq!(interface.name(), "veth0");
        interface.restore().unwrap();
        assert_eq!(state(), before);
        assert_eq!(record::names(directory.path()), [""; 0]);
    });
}

#[test]
fn link_local_addresses_are_no_obstacle_and_come_back() {
    namespace::run(|| {
        commands(PAIR);
        commands("ip link set veth0 up\nip address add fe80::77/64 dev veth0");
        let directory = tempfile::tempdir().unwrap();
        let before = state();
        assert_eq!(before.matches("inet6 fe80::").count(), 2, "the kernel's and ours: {before}");
        let interface = KernelInterface::take("veth0", false, directory.path()).unwrap();
        assert!(is_silent(), "{}", state());
        drop(interface);
        assert_eq!(state(), before);
    });
}

#[test]
fn an_interface_with_addresses_is_refused_and_left_alone() {
    namespace::run(|| {
        commands(PAIR);
        commands(IN_USE);
        let directory = tempfile::tempdir().unwrap();
        let before = state();
        let error = KernelInterface::take("veth0", false, directory.path()).err().unwrap();
        let text = error.to_string();
        assert!(matches!(error, KernelError::HasAddresses { .. }), "{text}");
        for part in ["`veth0`", "10.1.0.1/24", "10.1.0.2/24", "fd00:1::1/64", "steal: true"] {
            assert!(text.contains(part), "{part} in: {text}");
        }
        assert!(!text.contains("fe80"), "{text}");
        assert_eq!(state(), before);
        assert_eq!(record::names(directory.path()), [""; 0]);
    });
}

#[test]
fn a_stolen_interface_gets_its_addresses_and_routes_back() {
    namespace::run(|| {
        commands(PAIR);
        commands(IN_USE);
        let directory = tempfile::tempdir().unwrap();
        let before = state();
        let interface = KernelInterface::take("veth0", true, directory.path()).unwrap();
        assert!(is_silent(), "{}", state());
        // What a driver changes comes back too.
        commands(
            "ip link set veth0 mtu 9000
             ip link set veth0 promisc on
             ip link set veth0 address 02:00:00:00:00:77",
        );
        interface.restore().unwrap();
        assert_eq!(state(), before);
    });
}

#[test]
fn after_a_sigkill_the_state_before_is_what_is_restored() {
    namespace::run(|| {
        commands(PAIR);
        commands(IN_USE);
        let directory = tempfile::tempdir().unwrap();
        let before = state();
        for _ in 0..2 {
            // No destructor runs in a process that is killed.
            std::mem::forget(KernelInterface::take("veth0", true, directory.path()).unwrap());
        }
        assert!(is_silent(), "{}", state());
        let interface = KernelInterface::take("veth0", false, directory.path()).unwrap();
        interface.restore().unwrap();
        assert_eq!(state(), before);
    });
}

#[test]
fn what_nobody_takes_again_after_a_sigkill_is_given_back_at_the_end() {
    namespace::run(|| {
        commands(PAIR);
        commands(IN_USE);
        let directory = tempfile::tempdir().unwrap();
        let before = state();
        std::mem::forget(KernelInterface::take("veth0", true, directory.path()).unwrap());
        restore_abandoned(directory.path());
        assert_eq!(state(), before);
        assert_eq!(record::names(directory.path()), [""; 0]);
    });
}

#[test]
fn the_record_of_another_interface_of_that_name_is_not_believed() {
    namespace::run(|| {
        commands(PAIR);
        commands(IN_USE);
        let directory = tempfile::tempdir().unwrap();
        std::mem::forget(KernelInterface::take("veth0", true, directory.path()).unwrap());
        command("ip link delete veth0");
        commands(PAIR);
        let before = state();
        let interface = KernelInterface::take("veth0", false, directory.path()).unwrap();
        interface.restore().unwrap();
        assert_eq!(state(), before, "not the addresses of its predecessor");
        // Nor is a damaged record.
        fs::write(record::path(directory.path(), "veth0"), "{\"identity\":").unwrap();
        KernelInterface::take("veth0", false, directory.path()).unwrap().restore().unwrap();
        assert_eq!(state(), before);
    });
}

#[test]
fn an_interface_that_was_deleted_or_renamed_meanwhile_is_no_trouble() {
    namespace::run(|| {
        commands(PAIR);
        let directory = tempfile::tempdir().unwrap();
        let before = state();
        let interface = KernelInterface::take("veth0", false, directory.path()).unwrap();
        command("ip link set veth0 name other0");
        interface.restore().unwrap();
        commands("ip link set other0 down\nip link set other0 name veth0");
        assert_eq!(state(), before);

        let interface = KernelInterface::take("veth0", false, directory.path()).unwrap();
        command("ip link delete veth0");
        interface.restore().unwrap();
        assert_eq!(record::names(directory.path()), [""; 0]);
    });
}

#[test]
fn what_does_not_exist_or_cannot_be_recorded_is_refused_by_name() {
    namespace::run(|| {
        let directory = tempfile::tempdir().unwrap();
        for name in ["veth9", "", "a-name-longer-than-fifteen-bytes", "../veth0"] {
            let error = KernelInterface::take(name, true, directory.path()).err().unwrap();
            assert!(matches!(error, KernelError::NoSuchInterface { .. }), "{name}: {error}");
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        }
        commands(PAIR);
        let before = state();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = KernelInterface::take("veth0", false, &file).err().unwrap();
        assert!(matches!(error, KernelError::Record { .. }), "{error}");
        assert_eq!(state(), before);
    });
}

#[test]
fn with_a_read_only_proc_sys_link_local_addresses_are_switched_off_instead() {
    namespace::run(|| {
        #[expect(deprecated, reason = "unsound with FILES only, which is not asked for")]
        if let Err(error) = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS) {
            eprintln!("skipped: needs a mount namespace of its own, so run it as root ({error})");
            return;
        }
        commands(PAIR);
        commands("ip link set veth0 up\nip address add fe80::77/64 dev veth0");
        let directory = tempfile::tempdir().unwrap();
        let before = state();
        commands(
            "mount --make-rprivate /
             mount --bind /proc/sys /proc/sys
             mount -o remount,ro,bind /proc/sys",
        );
        let interface = KernelInterface::take("veth0", false, directory.path()).unwrap();
        let link = command("ip -details link show dev veth0");
        assert!(link.contains("addrgenmode none"), "{link}");
        assert!(!command("ip address show dev veth0").contains("inet"));
        interface.restore().unwrap();
        assert_eq!(state(), before);
    });
}

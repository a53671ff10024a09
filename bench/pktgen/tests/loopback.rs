//! The generator against itself: what it sends into a ring comes back by it; and against testpmd over
//! vhost-user sockets, there and back.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The generator without hugepages, on the first core that this process may use.
fn pktgen(tx: &str, rx: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice-pktgen"));
    let core = core().to_string();
    command.args(["--no-huge", "--memory", "96", "--router", "02:00:00:00:00:01", "--json"]);
    command.args(["--core", &core, "--tx", tx, "--rx", rx]);
    command
}

fn core() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells of us");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.expect("it tells our cores").trim().split([',', '-']).next();
    first.and_then(|core| core.parse().ok()).expect("a core has a number")
}

fn rows(output: &Output) -> Vec<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn ring(arguments: &[&str]) -> Vec<Value> {
    rows(&pktgen("net_ring0", "net_ring0").args(arguments).output().expect("it starts"))
}

#[test]
fn what_goes_into_a_ring_comes_back_in_order() {
    for traffic in [
        &["--flows", "100"][..],
        &["--pattern", "zipf", "--new-flows", "1000", "--transport", "tcp", "--size", "imix"],
        &["--pattern", "flood", "--transport", "syn", "--vlan", "7"],
        &["--source", "fd00::2", "--destination", "fd01::1", "--size", "512"],
    ] {
        let mut arguments = traffic.to_vec();
        arguments.extend(["run", "--rate", "20000", "--time", "0.2"]);
        let rows = ring(&arguments);
        let run = &rows[0];
        assert!(run["sent"].as_u64() > Some(0), "{run}");
        assert_eq!((&run["lost"], &run["disordered"]), (&0.into(), &0.into()), "{run}");
        assert!(run["latency"]["p50"].as_u64() > Some(0), "{run}");
    }
}

#[test]
fn captures_are_replayed() {
    let directory = tempfile::tempdir().expect("a directory");
    let capture = directory.path().join("in.pcap");
    let mut writer =
        pcap_file::pcap::PcapWriter::new(std::fs::File::create(&capture).expect("a file"))
            .expect("a header");
    for n in 0..3_u8 {
        let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]);
        let mut frame = Vec::new();
        let builder = builder.ipv4([10, 0, 0, n], [10, 1, 0, 1], 64).udp(1000, 53);
        builder.write(&mut frame, b"a question").expect("a frame");
        let packet = pcap_file::pcap::PcapPacket::new(Duration::ZERO, frame.len() as u32, &frame);
        writer.write_packet(&packet).expect("a packet");
    }
    drop(writer);
    let capture = capture.to_str().expect("a name");
    let rows = ring(&["--replay", capture, "run", "--rate", "20000", "--time", "0.2"]);
    assert!(rows[0]["sent"].as_u64() > Some(0), "{}", rows[0]);
    assert_eq!((&rows[0]["lost"], &rows[0]["latency"]), (&0.into(), &Value::Null));
}

#[test]
fn rates_and_bursts_are_searched() {
    let plot = tempfile::NamedTempFile::new().expect("a file");
    let file = plot.path().to_str().expect("a name");
    // Whatever is lost may be lost: this is about the search having an end on any machine.
    let found = ring(&["--plot-latency", file, "search", "--time", "0.05", "--loss", "0.9,1"]);
    let names: Vec<_> = found.iter().map(|row| row["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["found", "10 %", "50 %", "90 %", "100 % may be lost"]);
    assert!(found[0]["rate"].as_f64() > Some(1000.0), "{}", found[0]);
    assert!(std::fs::read_to_string(file).expect("a plot").contains("<polyline"));

    let bursts = ring(&["back-to-back", "--longest", "0.05", "--repeat", "2"]);
    assert_eq!(bursts[0]["searches"], 2);
    assert!(bursts[0]["longest"].as_u64() > Some(0), "{}", bursts[0]);
}

/// Ends a process when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn packets_are_turned_round_at_the_far_end() {
    if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() != 0) {
        eprintln!("skipped: two EALs that share memory need root");
        return;
    }
    if Command::new("dpdk-testpmd").arg("--version").output().is_err() {
        eprintln!("skipped: there is no dpdk-testpmd (Debian package dpdk-dev)");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let socket = |name: &str| directory.path().join(name).display().to_string();
    let (near, far) = (socket("near"), socket("far"));
    let generator = pktgen(&format!("net_vhost0,iface={near}"), &format!("net_vhost1,iface={far}"))
        .args(["--two-way", "run", "--rate", "5000", "--time", "0.3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // If there are none in time, it ends by itself and says why.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !(Path::new(&near).exists() && Path::new(&far).exists()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _testpmd = Running(
        Command::new("dpdk-testpmd")
            .args(["--no-huge", "-m", "128", "--no-pci", "--no-shconf", "--no-telemetry"])
            .arg(format!("--lcores=0@{0},1@{0}", core()))
            .arg(format!("--file-prefix=pktgen-test-{}", std::process::id()))
            .arg(format!("--vdev=net_virtio_user0,path={near}"))
            .arg(format!("--vdev=net_virtio_user1,path={far}"))
            .args(["--", "--forward-mode=io", "--total-num-mbufs=4096"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("testpmd starts"),
    );
    let output = generator.wait_with_output().expect("it ends");
    let rows = rows(&output);
    let run = &rows[0];
    assert!(run["sent"].as_u64() > run["lost"].as_u64(), "something came home: {run}");
    let time = |way: &str| run[way]["p50"].as_u64().unwrap_or(0);
    assert!(time("latency") > 0 && time("two_way") > time("latency"), "{run}");
}

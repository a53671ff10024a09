//! What happens, told to those who watch.

mod common;

use common::control::Control;
use common::fake::FakeDataplane;
use common::{configuration, eventually};
use sluice_channel::{NeighbourState, Notice};
use sluice_control_api::{Applied, Commit, CommitKind, WatchKind};
use sluice_policy::DropReason;

const LIVE_ROUTE: &str = r#"{"to":"10.9.0.0/16","via":[{"address":"10.0.2.2"}]}"#;

fn start(directory: &std::path::Path) -> (FakeDataplane, Control) {
    let dataplane = FakeDataplane::start(directory);
    let control = Control::with_config(directory, &configuration(""), &[]);
    control.committed();
    (dataplane, control)
}

#[test]
fn commits_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let (_dataplane, control) = start(directory.path());
    let mut watch = control.watch("");
    let _: Applied = control.done("POST", "/v1/routes?confirm=600", LIVE_ROUTE);
    let commit = watch.until("the commit", |event| match event {
        WatchKind::Commit { commit } => Some(commit.clone()),
        _ => None,
    });
    assert_eq!((commit.generation, commit.confirm.unwrap().base), (2, 1));
    let _: Commit = control.done("POST", "/v1/confirm", "");
    let confirmed = watch.until("the confirmation", |event| match event {
        WatchKind::Confirm { generation, .. } => Some(*generation),
        _ => None,
    });
    assert_eq!(confirmed, 2);
    let _: Applied = control.done("POST", "/v1/rollback?generation=1", "");
    let back = watch.until("the rollback", |event| match event {
        WatchKind::RolledBack { commit } => Some(commit.kind.clone()),
        _ => None,
    });
    assert_eq!(back, CommitKind::Rollback { to: 1 });
}

#[test]
fn the_dataplane_and_what_it_says_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let mut watch = control.watch("");
    let lan = || "lan".into();
    for notice in [
        Notice::Link { port: lan(), up: false },
        Notice::PortLost { port: lan(), reason: "deleted".into() },
        Notice::PortBack { port: lan() },
        Notice::Neighbour {
            interface: lan(),
            address: "10.0.1.2".parse().unwrap(),
            mac: None,
            state: NeighbourState::Failed,
        },
        Notice::WorkerStalled { worker: 1, core: 3, for_ms: 600 },
        Notice::WorkerRecovered { worker: 1, core: 3, for_ms: 900 },
        Notice::Stopping,
    ] {
        dataplane.notify(notice);
    }
    let told: Vec<WatchKind> = (0..6).map(|_| watch.next().unwrap()).collect();
    assert_eq!(
        told,
        [
            WatchKind::Link { port: lan(), up: false },
            WatchKind::PortLost { port: lan(), reason: "deleted".into() },
            WatchKind::PortBack { port: lan() },
            WatchKind::Neighbour {
                interface: lan(),
                address: "10.0.1.2".parse().unwrap(),
                mac: None,
                state: "failed".into(),
            },
            WatchKind::WorkerStalled { worker: 1, core: 3, for_ms: 600 },
            WatchKind::WorkerRecovered { worker: 1 },
        ]
    );
    drop(dataplane);
    watch.until("its end", |event| matches!(event, WatchKind::DataplaneLost { .. }).then_some(()));
    let _dataplane = FakeDataplane::start(directory.path());
    let generation = watch.until("its return", |event| match event {
        WatchKind::DataplaneAttached { generation, .. } => Some(*generation),
        _ => None,
    });
    assert_eq!(generation, 1);
}

#[test]
fn drops_above_a_rate_are_told_to_who_asked() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let mut watch = control.watch("?drops=100");
    let worker = dataplane.statistics.worker(0);
    let reason = DropReason::ALL[0];
    let dropping = || worker.drops()[0].add(1000);
    std::thread::scope(|scope| {
        let (done, stop) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            let pause = std::time::Duration::from_millis(50);
            while stop.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                dropping();
            }
        });
        let (name, rate) = watch.until("the drops", |event| match event {
            WatchKind::Drops { reason, rate, threshold: 100 } => Some((reason.clone(), *rate)),
            _ => None,
        });
        assert_eq!(name, reason.name());
        assert!(rate > 100, "{rate}");
        drop(done);
    });
    control.fails(400, "GET", "/v1/watch?drops=many", "");
}

#[test]
fn an_agent_that_stands_still_is_told_and_so_is_its_recovery() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let mut watch = control.watch("");
    let now = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000
    };
    let heartbeat = &dataplane.statistics.agent().heartbeat;
    heartbeat.set(now() - 3000);
    let for_ms = watch.until("the stall", |event| match event {
        WatchKind::AgentStalled { for_ms } => Some(*for_ms),
        _ => None,
    });
    assert!(for_ms >= 3000, "{for_ms}");
    let status: sluice_control_api::Status = control.get("/v1/status");
    assert!(status.agent_stalled_ms.unwrap() >= 3000);
    // Far ahead, so that it does not stand still while the test goes on.
    heartbeat.set(now() + 60_000);
    watch.until("the recovery", |event| (*event == WatchKind::AgentRecovered).then_some(()));
    eventually("the status is as it was", || {
        let status: sluice_control_api::Status = control.get("/v1/status");
        status.agent_stalled_ms.is_none().then_some(())
    });
}

#[test]
fn a_reader_that_does_not_keep_up_is_told_what_it_missed() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let mut slow = control.watch("");
    let mut quick = control.watch("");
    // Long enough to fill whatever lies between us and the reader.
    const STORM: u64 = 20_000;
    let interface: std::sync::Arc<str> = "x".repeat(1000).into();
    let mut seen = 0;
    while seen < STORM {
        for _ in 0..500 {
            dataplane.notify(Notice::Neighbour {
                interface: interface.clone(),
                address: "10.0.1.2".parse().unwrap(),
                mac: None,
                state: NeighbourState::Failed,
            });
        }
        for _ in 0..500 {
            match quick.next().unwrap() {
                WatchKind::Missed { count } => seen += count,
                WatchKind::Neighbour { .. } => seen += 1,
                _ => {}
            }
            if seen % 500 == 0 {
                break;
            }
        }
    }
    let missed = slow.until("what was missed", |event| match event {
        WatchKind::Missed { count } => Some(*count),
        _ => None,
    });
    assert!(missed > 0);
    assert_eq!(control.get::<sluice_control_api::Status>("/v1/status").live_routes, 0);
}

#[test]
fn watching_ends_with_the_process_and_does_not_keep_it() {
    let directory = tempfile::tempdir().unwrap();
    let (_dataplane, mut control) = start(directory.path());
    let mut watch = control.watch("?drops=1");
    assert_eq!(control.terminate(), Some(0));
    assert!(watch.next().is_none());
}

#[test]
fn a_log_may_be_json() {
    let directory = tempfile::tempdir().unwrap();
    // Something to say: a commit that is torn.
    let commits = directory.path().join("state/commits");
    std::fs::create_dir_all(&commits).unwrap();
    std::fs::write(commits.join("0000000001.ndjson"), "").unwrap();
    let output = std::process::Command::new(common::control::PROGRAM)
        .args(["--log-format", "json", "--config", "/nonexistent.yaml", "--dir"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(line["level"], "ERROR", "{line}");
    assert!(line["message"].as_str().unwrap().contains("torn"), "{line}");
}

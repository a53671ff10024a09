//! Either process dies at the worst moment; nothing is lost, nothing is undone.

mod common;

use std::process::Command;

use common::control::{Control, PROGRAM};
use common::fake::FakeDataplane;
use common::{configuration, eventually};
use sluice_control_api::{Applied, Status};
use sluice_policy::model::Owner;

const LIVE_ROUTE: &str = r#"{"to":"10.9.0.0/16","via":[{"address":"10.0.2.2"}]}"#;
const BLACKHOLE: &str = "routes: [ { to: 10.8.0.0/16, blackhole: true } ]\n";

fn owners(dataplane: &FakeDataplane) -> Vec<Owner> {
    dataplane.state().routes.keys().map(|key| key.owner.clone()).collect()
}

#[test]
fn a_dataplane_that_comes_back_gets_everything_again() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(BLACKHOLE), &[]);
    control.committed();
    let _: Applied = control.done("POST", "/v1/routes", LIVE_ROUTE);
    let before = dataplane.state();
    drop(dataplane);
    eventually("the loss is noticed", || {
        let failure = control.request("GET", "/v1/ports", "");
        (failure.0 == 503).then_some(())
    });
    let failure = control.fails(503, "POST", "/v1/apply", &configuration(""));
    assert!(failure.error.contains("no dataplane"), "{failure}");

    let dataplane = FakeDataplane::start(directory.path());
    assert_eq!(control.committed(), 2, "under the number that it always had");
    assert_eq!((dataplane.generation(), dataplane.state()), (2, before));
}

#[test]
fn a_control_process_that_starts_again_keeps_what_was_committed() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(BLACKHOLE), &[]);
    control.committed();
    let _: Applied = control.done("POST", "/v1/routes", LIVE_ROUTE);
    control.kill();
    assert_eq!(dataplane.generation(), 2, "the dataplane goes on");

    let control = Control::with_config(directory.path(), &configuration(BLACKHOLE), &[]);
    assert_eq!(control.committed(), 2, "nothing was pushed: the file is as it was");
    assert_eq!(owners(&dataplane), [Owner::Static, Owner::Cli]);
    control.kill();

    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    assert_eq!(control.reaches(3), 3, "the file was edited");
    assert_eq!(owners(&dataplane), [Owner::Cli], "the live route stays");
    assert_eq!(control.get::<Status>("/v1/status").live_routes, 1);
    control.kill();

    let control = Control::start(directory.path(), &[]);
    assert_eq!(control.committed(), 3, "without a file it is the same");
}

#[test]
fn a_control_process_killed_in_the_middle_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();
    dataplane.behaviour().silent_at_commit = true;
    let pushing = std::thread::scope(|scope| {
        let request = scope.spawn(|| {
            let mut stream = std::os::unix::net::UnixStream::connect(control.socket()).unwrap();
            let body = configuration(BLACKHOLE);
            use std::io::{Read, Write};
            write!(
                stream,
                "POST /v1/apply HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
            let mut answer = String::new();
            // The connection breaks off.
            let _ = stream.read_to_string(&mut answer);
            answer
        });
        eventually("the transaction is open", || {
            (dataplane.behaviour().parts.len() == 2).then_some(())
        });
        let pid = rustix::process::Pid::from_raw(control.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        request.join().unwrap()
    });
    assert_eq!(pushing, "", "no answer was given");
    eventually("the dataplane discards it", || {
        (dataplane.behaviour().discarded == 1).then_some(())
    });
    assert_eq!(dataplane.generation(), 1);
    assert!(owners(&dataplane).is_empty());

    dataplane.behaviour().silent_at_commit = false;
    drop(control);
    let control = Control::with_config(directory.path(), &configuration(BLACKHOLE), &[]);
    assert_eq!(control.committed(), 2, "the socket and the lock of the dead one are no hindrance");
}

#[test]
fn a_dataplane_lost_during_the_commit_decides_by_its_state() {
    let directory = tempfile::tempdir().unwrap();
    let mut dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();

    dataplane.behaviour().die_after_commit = true;
    let failure = control.fails(503, "POST", "/v1/apply", &configuration(BLACKHOLE));
    assert!(failure.error.contains("lost during the commit"), "{failure}");
    assert_eq!(control.committed(), 2, "it took effect, and is not undone");
    assert_eq!(owners(&dataplane), [Owner::Static]);

    dataplane.behaviour().die_before_commit = true;
    control.fails(503, "POST", "/v1/apply", &configuration(""));
    eventually("the dataplane is dead", || dataplane.dead().then_some(()));
    drop(dataplane);
    dataplane = FakeDataplane::start(directory.path());
    control.committed();
    assert_eq!(owners(&dataplane), [Owner::Static], "it did not, and what was before came back");
}

#[test]
fn the_second_control_process_is_told_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let first = Control::start(directory.path(), &[]);
    let second = Command::new(PROGRAM).arg("--dir").arg(directory.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains(&format!("pid {}", first.pid())), "{text}");
    first.fails(503, "GET", "/v1/ports", "");
}

#[test]
fn a_wrong_file_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wrong.yaml");
    std::fs::write(&file, "ports: { lan: { devcie: net_null0 } }\n").unwrap();
    let output = Command::new(PROGRAM)
        .arg("--dir")
        .arg(directory.path())
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("wrong.yaml:1:") && text.contains("devcie"), "{text}");
    assert!(!directory.path().join("control.sock").exists());
}

#[test]
fn it_stops_cleanly_and_the_dataplane_stays() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let mut control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();
    assert_eq!(control.terminate(), Some(0));
    assert!(!control.socket().exists());
    eventually("the session is over", || (!dataplane.behaviour().attached).then_some(()));
    assert_eq!(dataplane.generation(), 1);
}

#[test]
fn it_ends_with_its_parent_when_asked_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut parent = Command::new("sh")
        .args(["-c", "\"$0\" --dir \"$1\" --die-with-parent & wait", PROGRAM])
        .arg(directory.path())
        .spawn()
        .unwrap();
    let socket = directory.path().join("control.sock");
    eventually("it listens", || socket.exists().then_some(()));
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually("it is gone", || (!socket.exists()).then_some(()));
}

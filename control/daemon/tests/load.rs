//! Streams of operations: as many lines as one likes, and one commit.

mod common;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use common::control::Control;
use common::fake::FakeDataplane;
use common::{configuration, eventually};
use sluice_control_api::{Applied, Commit, Route};
use sluice_policy::model::Owner;

const PATH: &str = "/v1/routes/load";

fn line(i: u32) -> String {
    format!("{{\"set\":{{\"to\":\"20.{}.{}.0/24\",\"via\":\"10.0.2.2\"}}}}\n", i / 256, i % 256)
}

fn routes_of(control: &Control, owner: &Owner) -> usize {
    let routes: Vec<Route> = control.get("/v1/routes");
    routes.iter().filter(|route| route.owner == *owner).count()
}

#[test]
fn a_stream_is_one_commit() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();
    let text: String = (0..20_000).map(line).collect();
    let path = format!("{PATH}?owner=bgp&message=full%20table");
    let applied: Applied = control.done("POST", &path, &text);
    assert_eq!((applied.generation, applied.changes.routes.added), (2, 20_000));
    assert_eq!(dataplane.state().routes.len(), 20_000);
    assert_eq!(dataplane.behaviour().prepared, 1, "compiled while it is written");
    let again: Applied = control.done("POST", &path, &text);
    assert_eq!((again.generation, again.changes.is_empty()), (2, true), "nothing to do");

    // All that the owner has, from now on: the rest goes.
    let text: String = (10_000..20_001).map(line).collect();
    let applied: Applied = control.done("POST", &format!("{path}&replace=true"), &text);
    assert_eq!(applied.changes.to_string(), "+1 route, -10000 routes");
    assert_eq!(routes_of(&control, &Owner::Bgp), 10_001);
    let nothing: Applied = control.done("POST", &format!("{PATH}?owner=bgp&replace=true"), "");
    assert_eq!(nothing.changes.to_string(), "-10001 routes");
    let commits: Vec<Commit> = control.get("/v1/commits");
    assert_eq!(commits[1].message.as_deref(), Some("full table"));
}

#[test]
fn many_operations_that_do_not_fit_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();
    let before = dataplane.state();
    // Of a typed route it is known only when it is compiled, while all of them are sent.
    let wrong = r#"{"set":{"to":"30.0.0.0/8","via":"172.16.0.1"}}"#;
    let text: String = (0..10_000).map(line).chain([wrong.to_owned()]).collect();
    let failure = control.fails(400, "POST", PATH, &text);
    assert!(failure.details[0].contains("line 10001"), "{failure}");
    assert_eq!((dataplane.generation(), dataplane.state()), (1, before));
    let applied: Applied = control.done("POST", PATH, &line(0));
    assert_eq!((applied.generation, dataplane.generation()), (2, 2), "nothing is left open");
}

#[test]
fn a_line_may_be_any_operation_and_say_what_it_wants() {
    let directory = tempfile::tempdir().unwrap();
    let _dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();
    let _: Applied = control.done("POST", &format!("{PATH}?owner=bgp"), &(line(0) + &line(1)));
    let text = r#"
        {"expect":{"prefix":"20.0.0.0/24","owner":"bgp"}}
        {"delete":{"to":"20.0.1.0/24","expect":{"generation":2}}}
        {"set":{"to":"20.0.0.0/24","blackhole":true,"owner":"cli","tag":3}}
        {"withdraw":{"owner":"ospf"}}
    "#;
    let applied: Applied = control.done("POST", &format!("{PATH}?owner=bgp"), text);
    assert_eq!(applied.changes.to_string(), "+1 route, -1 route");

    let failure = control.fails(409, "POST", &format!("{PATH}?owner=bgp"), text);
    let conflict = &failure.conflicts[0];
    assert_eq!((&*conflict.at, &*conflict.expected), ("line 2", "bgp's in use"));
    assert_eq!(conflict.present.len(), 2);
    control.fails(409, "POST", &format!("{PATH}?owner=bgp&generation=2"), &line(5));
}

#[test]
fn what_is_wrong_is_told_by_line_and_nothing_changes() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();
    let path = format!("{PATH}?owner=bgp");
    let many: String = (0..3000).map(line).collect();
    for (wrong, says) in [
        ("{\"set\":{\"to\":\"20.0.0.0/33\"}}".to_owned(), "line 3001: set.to: invalid IP address"),
        (line(7), "line 3001: bgp's route to 20.0.7.0/24 is there already, in line 8"),
        ("routes:".into(), "line 3001: expected value"),
        (
            "{\"set\":{\"to\":\"224.1.0.0/24\",\"blackhole\":true}}".into(),
            "line 3001: route 224.1.0.0/24 of instance default: to: 224.1.0.0/24 is not routed",
        ),
        ("x".repeat(70_000), "line 3001: a line of more than 65536 bytes"),
    ] {
        let failure = control.fails(400, "POST", &path, &format!("{many}{wrong}"));
        assert!(failure.to_string().contains(says), "{failure}");
    }
    for query in ["owner=static", "owner=connected&replace=true"] {
        let failure = control.fails(400, "POST", &format!("{PATH}?{query}"), &line(0));
        assert!(failure.to_string().contains("routes of owner"), "{failure}");
    }
    let mut all_wrong = String::new();
    for i in 0..100_000 {
        writeln!(all_wrong, "{i}").unwrap();
    }
    let failure = control.fails(400, "POST", &path, &all_wrong);
    assert!(failure.details.len() <= 66, "{}", failure.details.len());
    assert_eq!((dataplane.generation(), dataplane.state().routes.len()), (1, 0));
}

/// Begins a request of which more is to come than is sent.
fn begin(control: &Control, query: &str) -> UnixStream {
    let mut stream = UnixStream::connect(control.socket()).unwrap();
    write!(
        stream,
        "POST {PATH}?{query} HTTP/1.1\r\nhost: sluice\r\nconnection: close\r\n\
         transfer-encoding: chunked\r\n\r\n"
    )
    .unwrap();
    send(&mut stream, &line(0));
    stream
}

fn send(stream: &mut UnixStream, text: &str) {
    write!(stream, "{:x}\r\n{text}\r\n", text.len()).unwrap();
}

#[test]
fn half_a_stream_is_no_commit_and_one_is_read_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();
    // Whether the first is being read shows by the answer to a second, which may be the earlier.
    let first = eventually("a second stream is refused", || {
        let first = begin(&control, "owner=bgp");
        let (code, answer) = control.request("POST", PATH, "");
        (code == 503).then(|| {
            assert!(answer.to_string().contains("another stream"), "{answer}");
            first
        })
    });
    let _: Applied = control.done("POST", "/v1/routes", r#"{"to":"10.9.0.0/16","reject":true}"#);
    first.shutdown(Shutdown::Both).unwrap();
    drop(first);
    eventually("the place is free again", || {
        (control.request("POST", PATH, "").0 == 200).then_some(())
    });
    assert_eq!((dataplane.generation(), routes_of(&control, &Owner::Bgp)), (2, 0));

    let mut whole = begin(&control, "owner=bgp");
    send(&mut whole, &line(1));
    write!(whole, "0\r\n\r\n").unwrap();
    let mut answer = String::new();
    whole.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(routes_of(&control, &Owner::Bgp), 2);
}

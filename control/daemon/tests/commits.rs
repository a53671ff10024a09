//! Commits: who did what, what differs, and the ways back.

mod common;

use std::io::Read;

use common::control::Control;
use common::fake::FakeDataplane;
use common::{configuration, eventually};
use serde_json::Value;
use sluice_control_api::{Applied, Commit, CommitKind, Diff, DiffKind, Status};
use sluice_policy::model::Owner;

const LIVE_ROUTE: &str = r#"{"to":"10.9.0.0/16","via":[{"address":"10.0.2.2"}]}"#;
const BLACKHOLE: &str = "routes: [ { to: 10.8.0.0/16, blackhole: true } ]\n";

fn start(directory: &std::path::Path) -> (FakeDataplane, Control) {
    let dataplane = FakeDataplane::start(directory);
    let control = Control::with_config(directory, &configuration(""), &[]);
    assert_eq!(control.committed(), 1);
    (dataplane, control)
}

fn commits(control: &Control) -> Vec<Commit> {
    control.get("/v1/commits")
}

fn routes(dataplane: &FakeDataplane) -> usize {
    dataplane.state().routes.len()
}

#[test]
fn everything_that_took_effect_is_a_commit_with_an_author() {
    let directory = tempfile::tempdir().unwrap();
    let (_dataplane, control) = start(directory.path());
    let user = commits_author();
    let _: Applied = control.done("POST", "/v1/routes?message=for%20the%20lab", LIVE_ROUTE);
    let _: Applied = control.done("POST", "/v1/apply?file=next.yaml", &configuration(BLACKHOLE));
    let _: Applied = control.done("POST", "/v1/apply?file=next.yaml", &configuration(BLACKHOLE));
    let found = commits(&control);
    assert_eq!(found.iter().map(|commit| commit.generation).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(found[0].kind, CommitKind::File { file: "next.yaml".into() });
    assert_eq!(found[0].changes.to_string(), "+1 route");
    assert!(found[0].live && !found[1].live);
    assert_eq!(
        (&found[1].kind, found[1].message.as_deref()),
        (&CommitKind::Route { owners: vec![Owner::Cli], stale: Vec::new() }, Some("for the lab"))
    );
    assert_eq!((&*found[1].author, &*found[2].author), (&*user, "sluice-control"));
    assert!(found[0].time.ends_with('Z') && found[0].time.contains('T'), "{}", found[0].time);
    assert_eq!(control.get::<Vec<Commit>>("/v1/commits?limit=1").len(), 1);

    if user == "root" {
        let mut answer = String::new();
        control
            .send("DELETE", "/v1/routes?to=10.9.0.0/16", "", "x-sluice-author: alice\r\n")
            .read_to_string(&mut answer)
            .unwrap();
        assert_eq!(commits(&control)[0].author, "alice (sudo)");
    }
    for message in ["a%0Ab", "%1b[31m", &"x".repeat(2000)] {
        let failure =
            control.fails(400, "POST", &format!("/v1/routes?message={message}"), LIVE_ROUTE);
        assert!(failure.error.contains("one line"), "{failure}");
    }
}

/// The name of the user who runs this test.
fn commits_author() -> String {
    let output = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn what_differs_is_said_in_the_words_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let _: Applied = control.done("POST", "/v1/routes", LIVE_ROUTE);
    let diff: Diff = control.get("/v1/diff?from=1&to=2");
    assert_eq!((diff.from, diff.to, diff.entries.len()), (1, Some(2), 1));
    let entry = &diff.entries[0];
    assert_eq!((entry.kind, &*entry.name), (DiffKind::Route, "default 10.9.0.0/16 cli"));
    assert_eq!((&entry.before, entry.after.as_deref()), (&None, Some("{ via: 10.0.2.2 }")));
    let back: Diff = control.get("/v1/diff?from=2&to=1");
    assert_eq!((&back.entries[0].before, &back.entries[0].after), (&entry.after, &None));
    let live: Diff = control.get("/v1/diff?from=1");
    assert_eq!(live, diff);
    let from_nothing: Diff = control.get("/v1/diff?from=0&to=1");
    assert!(from_nothing.entries.iter().any(|entry| entry.kind == DiffKind::Port));

    let file: Diff = control.done("POST", "/v1/diff?file=x.yaml", &configuration(BLACKHOLE));
    assert_eq!((file.from, file.to), (2, None));
    assert_eq!(file.entries.len(), 1, "the live route stays: {file:?}");
    let dry: Applied =
        control.done("POST", "/v1/apply?file=x.yaml&dry_run=true", &configuration(BLACKHOLE));
    assert_eq!(dry.diff, Some(file));
    assert_eq!(dataplane.generation(), 2);

    let failure = control.fails(404, "GET", "/v1/diff?from=1&to=9", "");
    assert!(failure.error.contains("no commit 9; there are 1 to 2"), "{failure}");
}

#[test]
fn an_earlier_state_comes_back_as_a_new_commit() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let first = dataplane.state();
    let _: Applied = control.done("POST", "/v1/routes", LIVE_ROUTE);
    let _: Applied = control.done("POST", "/v1/apply?file=next.yaml", &configuration(BLACKHOLE));
    let dry: Applied = control.done("POST", "/v1/rollback?generation=1&dry_run=true", "");
    assert_eq!(dry.changes.to_string(), "-2 routes");
    assert_eq!(dataplane.generation(), 3);
    let applied: Applied = control.done("POST", "/v1/rollback?generation=1&message=oops", "");
    assert_eq!(applied.generation, 4);
    assert_eq!(dataplane.state(), first);
    let last = commits(&control).remove(0);
    assert_eq!(
        (last.kind, last.message.as_deref()),
        (CommitKind::Rollback { to: 1 }, Some("oops"))
    );
    assert!(control.get::<Status>("/v1/status").file.unwrap().ends_with("router.yaml"));
    let again: Applied = control.done("POST", "/v1/rollback?generation=3", "");
    assert_eq!((again.generation, routes(&dataplane)), (5, 2), "and forth again");
    let none: Applied = control.done("POST", "/v1/rollback?generation=5", "");
    assert_eq!((none.generation, none.changes.is_empty()), (5, true));
    control.fails(404, "POST", "/v1/rollback?generation=99", "");
    control.fails(404, "POST", "/v1/rollback?generation=0", "");
}

#[test]
fn what_is_confirmed_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    control.fails(409, "POST", "/v1/confirm", "");
    let path = "/v1/apply?file=next.yaml&confirm=600";
    let applied: Applied = control.done("POST", path, &configuration(BLACKHOLE));
    let confirm = applied.confirm.unwrap();
    assert_eq!(confirm.base, 1);
    assert!((590..=600).contains(&confirm.remaining_seconds), "{confirm:?}");
    assert_eq!(control.get::<Status>("/v1/status").confirm.unwrap().base, 1);
    assert_eq!(commits(&control)[0].confirm.unwrap().base, 1);
    let failure = control.fails(409, "POST", "/v1/routes?confirm=5", LIVE_ROUTE);
    assert!(failure.error.contains("sluice confirm"), "{failure}");
    let commit: Commit = control.done("POST", "/v1/confirm", "");
    assert_eq!((commit.generation, commit.confirm, commit.live), (2, None, true));
    assert_eq!(control.get::<Status>("/v1/status").confirm, None);
    control.kill();

    let control = Control::start(directory.path(), &[]);
    assert_eq!(control.committed(), 2);
    assert_eq!(control.get::<Status>("/v1/status").confirm, None, "also after a restart");
    assert_eq!(routes(&dataplane), 1);
    for seconds in ["0", "86401", "-1", "soon"] {
        control.fails(400, "POST", &format!("/v1/routes?confirm={seconds}"), LIVE_ROUTE);
    }
}

#[test]
fn what_nobody_confirms_is_rolled_back_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let first = dataplane.state();
    let path = "/v1/apply?file=next.yaml&confirm=4";
    let _: Applied = control.done("POST", path, &configuration(BLACKHOLE));
    let route: Applied = control.done("POST", "/v1/routes", LIVE_ROUTE);
    assert_eq!(route.confirm.unwrap().base, 1, "it belongs to what waits");
    assert_eq!(routes(&dataplane), 2);
    control.reaches(4);
    assert_eq!(dataplane.state(), first, "everything since");
    let last = commits(&control).remove(0);
    assert_eq!(last.kind, CommitKind::Expired { to: 1 });
    assert_eq!(last.message.as_deref(), Some("not confirmed within 4 s"));
    assert_eq!((last.author.as_str(), last.confirm), ("sluice-control", None));
    control.fails(409, "POST", "/v1/confirm", "");
}

#[test]
fn going_back_by_hand_ends_the_wait() {
    let directory = tempfile::tempdir().unwrap();
    let (_dataplane, control) = start(directory.path());
    let _: Applied = control.done("POST", "/v1/routes?confirm=600", LIVE_ROUTE);
    let applied: Applied = control.done("POST", "/v1/rollback?generation=1", "");
    assert_eq!(applied.confirm, None);
    control.fails(409, "POST", "/v1/confirm", "");
}

#[test]
fn the_count_goes_on_without_the_control_process() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let first = dataplane.state();
    let _: Applied = control.done("POST", "/v1/routes?confirm=600", LIVE_ROUTE);
    control.kill();
    let control = Control::start(directory.path(), &[]);
    control.committed();
    let left = control.get::<Status>("/v1/status").confirm.unwrap().remaining_seconds;
    assert!(left <= 600, "it goes on, it does not start again: {left}");
    let _: Commit = control.done("POST", "/v1/confirm", "");

    // It passes while nobody is there to notice.
    let _: Applied = control.done("POST", "/v1/rollback?generation=1&confirm=3", "");
    control.kill();
    std::thread::sleep(std::time::Duration::from_millis(3100));
    assert_eq!(dataplane.state(), first);
    let control = Control::start(directory.path(), &[]);
    control.reaches(4);
    assert_eq!(routes(&dataplane), 1, "what was before the rollback came back");
}

#[test]
fn a_restart_of_the_machine_rolls_back() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let first = dataplane.state();
    let _: Applied = control.done("POST", "/v1/routes?confirm=600", LIVE_ROUTE);
    control.kill();
    drop(dataplane);

    // The same record, written before another boot.
    let record = directory.path().join("state/commits/0000000002.ndjson");
    let text = std::fs::read_to_string(&record).unwrap();
    let (content, _) = text.trim_end().rsplit_once('\n').unwrap();
    let start = content.find(r#""boot":""#).unwrap() + 8;
    let boot = &content[start..start + content[start..].find('"').unwrap()];
    let content = content.replace(boot, "another") + "\n";
    let crc32c = crc32c::crc32c(content.as_bytes());
    let operations = content.lines().count() - 1;
    let trailer = format!("{{\"operations\":{operations},\"crc32c\":{crc32c}}}\n");
    std::fs::write(&record, content + &trailer).unwrap();

    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::start(directory.path(), &[]);
    control.reaches(3);
    assert_eq!(dataplane.state(), first);
    assert_eq!(commits(&control)[0].kind, CommitKind::Expired { to: 1 });
}

#[test]
fn an_expiry_that_the_dataplane_refuses_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let _: Applied = control.done("POST", "/v1/routes?confirm=3", LIVE_ROUTE);
    dataplane.behaviour().refuse = vec!["not now".into()];
    assert_eq!(control.refused(), ["not now"]);
    dataplane.behaviour().refuse.clear();
    control.reaches(3);
    assert_eq!(routes(&dataplane), 0);
}

#[test]
fn a_generation_that_was_keeps_its_number_after_both_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let _: Applied = control.done("POST", "/v1/routes", LIVE_ROUTE);
    let _: Applied = control.done("DELETE", "/v1/routes?to=10.9.0.0/16", "");
    control.kill();
    drop(dataplane);
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::start(directory.path(), &[]);
    assert_eq!(control.committed(), 3);
    assert_eq!(dataplane.generation(), 3);
    let diff: Diff = control.get("/v1/diff?from=2");
    assert_eq!(diff.entries.len(), 1);
    let _: Applied = control.done("POST", "/v1/rollback?generation=2", "");
    assert_eq!(dataplane.state().routes.keys().next().unwrap().owner, Owner::Cli);
    let value: Value = control.get("/v1/config");
    assert_eq!(value["generation"], 4);
    eventually("the commits are four", || (commits(&control).len() == 4).then_some(()));
}

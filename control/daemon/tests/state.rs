//! The state directory: what survives, what is refused, what is taken over, and what is said.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::control::{Control, PROGRAM};
use common::fake::FakeDataplane;
use common::{configuration, eventually};
use sluice_control_api::{Applied, Commit, CommitKind, Status};
use sluice_policy::Table;
use sluice_policy::model::Owner;

const LIVE_ROUTE: &str = r#"{"to":"10.9.0.0/16","via":[{"address":"10.0.2.2"}]}"#;
const BLACKHOLE: &str = "routes: [ { to: 10.8.0.0/16, blackhole: true } ]\n";

fn record(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("state/commits/{generation:010}.ndjson"))
}

fn owners(dataplane: &FakeDataplane) -> Vec<Owner> {
    dataplane.state().routes.keys().map(|key| key.owner.clone()).collect()
}

/// A dataplane and a control process with a file and a live route: generation 2.
fn start(directory: &Path) -> (FakeDataplane, Control) {
    let dataplane = FakeDataplane::start(directory);
    let control = Control::with_config(directory, &configuration(BLACKHOLE), &[]);
    assert_eq!(control.committed(), 1);
    let _: Applied = control.done("POST", "/v1/routes", LIVE_ROUTE);
    (dataplane, control)
}

#[test]
fn a_file_that_is_as_it_was_undoes_nothing_and_one_that_was_edited_takes_effect() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let _: Applied = control.done("POST", "/v1/apply?file=other.yaml", &configuration(""));
    assert_eq!(owners(&dataplane), [Owner::Cli]);
    control.kill();

    let control = Control::with_config(directory.path(), &configuration(BLACKHOLE), &[]);
    assert_eq!(control.committed(), 3, "what was applied since stays");
    assert_eq!(control.get::<Status>("/v1/status").file.unwrap(), "other.yaml");
    control.kill();

    let edited = configuration("routes: [ { to: 10.7.0.0/16, reject: true } ]\n");
    let control = Control::with_config(directory.path(), &edited, &[]);
    control.reaches(4);
    assert_eq!(owners(&dataplane), [Owner::Static, Owner::Cli]);
    let _: Applied = control.done("POST", "/v1/rollback?generation=2", "");
    control.kill();

    let control = Control::with_config(directory.path(), &edited, &[]);
    assert_eq!(control.committed(), 5, "a rollback is not undone either");
    control.kill();

    // The file of the start is applied by hand, before the start sees the edit.
    let file = directory.path().join("router.yaml");
    let control = Control::start(directory.path(), &[]);
    control.committed();
    let path = format!("/v1/apply?file=router.yaml&path={}", file.display());
    let _: Applied = control.done("POST", &path, &configuration(""));
    let _: Applied = control.done("POST", "/v1/rollback?generation=5", "");
    control.kill();
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    assert_eq!(control.committed(), 7, "that content was read");
}

#[test]
fn a_wrong_file_at_the_start_is_said_and_what_was_committed_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    control.kill();
    let control = Control::with_config(directory.path(), "ports: [", &[]);
    assert_eq!(control.committed(), 2);
    let status: Status = control.get("/v1/status");
    assert!(status.notes[0].contains("router.yaml:1:"), "{:?}", status.notes);
    control.kill();
    fs::remove_file(directory.path().join("router.yaml")).unwrap();
    let gone = directory.path().join("router.yaml");
    let control = Control::start(directory.path(), &["--config", gone.to_str().unwrap()]);
    assert_eq!(control.committed(), 2);
    control.kill();

    dataplane.behaviour().refuse = vec!["port lan: busy".into()];
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    assert_eq!(control.committed(), 2, "the dataplane runs what it ran");
    let status: Status = control.get("/v1/status");
    assert!(status.notes[0].contains("port lan: busy"), "{:?}", status.notes);
    dataplane.behaviour().refuse.clear();
    let _: Applied = control.done("POST", "/v1/apply?file=x", &configuration(""));
    assert!(control.get::<Status>("/v1/status").notes.is_empty(), "said no longer");
}

#[test]
fn it_is_read_again_on_a_signal() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let hang_up = || {
        let pid = rustix::process::Pid::from_raw(control.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    };
    fs::write(directory.path().join("router.yaml"), configuration("")).unwrap();
    for _ in 0..100 {
        hang_up();
    }
    control.reaches(3);
    assert_eq!(owners(&dataplane), [Owner::Cli]);
    fs::write(directory.path().join("router.yaml"), "ports: [").unwrap();
    hang_up();
    let _: Applied = control.done("DELETE", "/v1/routes?to=10.9.0.0/16", "");
    assert_eq!(control.committed(), 4, "a storm of signals is no commit, nor is a wrong file");
}

#[test]
fn only_tables_that_differ_are_asked_for_and_only_what_differs_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let state = dataplane.state();
    control.kill();
    // It comes back with one route less, and an older number.
    drop(dataplane);
    let dataplane = FakeDataplane::start(directory.path());
    {
        let mut behaviour = dataplane.behaviour();
        let mut old = state.clone();
        let last = old.routes.keys().next_back().cloned().unwrap();
        old.routes.remove(&last);
        let delta = behaviour.policy.state().difference(&old);
        behaviour.policy = behaviour.policy.apply_as(1, &delta).unwrap();
        behaviour.generation = 1;
    }
    let control = Control::start(directory.path(), &[]);
    assert_eq!(control.committed(), 2);
    assert_eq!(dataplane.state(), state);
    assert_eq!(dataplane.behaviour().asked, [Table::Routes]);
    assert_eq!(dataplane.behaviour().parts, [1]);
}

#[test]
fn what_a_dataplane_runs_that_is_not_known_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let state = dataplane.state();
    control.kill();
    fs::remove_dir_all(directory.path().join("state")).unwrap();

    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    assert_eq!(control.committed(), 2, "under the number that it has");
    assert_eq!(dataplane.state(), state, "and nothing was pushed");
    let commits: Vec<Commit> = control.get("/v1/commits");
    assert_eq!((commits.len(), &commits[0].kind), (1, &CommitKind::Adopted));
    let notes = control.get::<Status>("/v1/status").notes;
    assert!(notes[0].contains("router.yaml was not applied"), "{notes:?}");
    control.kill();

    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    assert_eq!(control.committed(), 2, "nor at the next start");
    let _: Applied = control.done("DELETE", "/v1/routes?to=10.9.0.0/16", "");
    control.kill();

    // Another state under a number that is known here.
    dataplane.behaviour().policy = {
        let behaviour = dataplane.behaviour();
        let delta = behaviour.policy.state().difference(&state);
        behaviour.policy.apply_as(3, &delta).unwrap()
    };
    let control = Control::start(directory.path(), &[]);
    control.reaches(4);
    assert_eq!(dataplane.state(), state, "it is not overwritten");
    let commits: Vec<Commit> = control.get("/v1/commits");
    assert_eq!(commits[0].kind, CommitKind::Adopted);
}

#[test]
fn a_damaged_directory_is_said_and_the_last_readable_commit_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let _: Applied = control.done("DELETE", "/v1/routes?to=10.9.0.0/16", "");
    let state = dataplane.state();
    control.kill();
    let text = fs::read_to_string(record(directory.path(), 3)).unwrap();
    fs::write(record(directory.path(), 3), &text[..text.len() - 10]).unwrap();

    let control = Control::start(directory.path(), &[]);
    assert_eq!(control.committed(), 3, "the dataplane still had it");
    assert_eq!(dataplane.state(), state);
    let persistence = control.get::<Status>("/v1/status").persistence;
    assert_eq!(persistence.error, None);
    assert_eq!(persistence.damaged.len(), 1);
    assert!(persistence.damaged[0].file.ends_with("0000000003.ndjson.damaged"), "{persistence:?}");
    assert!(persistence.damaged[0].problem.contains("torn"), "{persistence:?}");
    control.kill();

    let text = fs::read_to_string(record(directory.path(), 3)).unwrap();
    fs::write(record(directory.path(), 3), text.replacen("\"format\":", "\"format\":7", 1))
        .unwrap();
    drop(dataplane);
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::start(directory.path(), &[]);
    assert_eq!(control.committed(), 2, "nobody has it any more");
    assert_eq!(owners(&dataplane), [Owner::Static, Owner::Cli]);
    let damaged = control.get::<Status>("/v1/status").persistence.damaged;
    assert!(damaged.iter().any(|file| file.problem.contains("later release")), "{damaged:?}");
    let applied: Applied = control.done("DELETE", "/v1/routes?to=10.9.0.0/16", "");
    assert_eq!(applied.generation, 4, "no number means two things");
}

#[test]
fn without_a_place_for_it_nothing_is_changed_but_packets_are_forwarded() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let args = ["--state", "/proc/nowhere/state"];
    let control = Control::with_config(directory.path(), &configuration(BLACKHOLE), &args);
    assert_eq!(control.committed(), 1, "the file of the start is applied all the same");
    let persistence = control.get::<Status>("/v1/status").persistence;
    assert_eq!(persistence.directory, "/proc/nowhere/state");
    assert!(persistence.error.as_ref().unwrap().contains("/proc/nowhere"), "{persistence:?}");
    let failure = control.fails(507, "POST", "/v1/routes", LIVE_ROUTE);
    assert!(failure.error.contains("/proc/nowhere") && failure.error.contains("--state"));
    let failure = control.fails(507, "POST", "/v1/apply", &configuration(""));
    assert!(failure.error.contains("was not made"), "{failure}");
    assert_eq!((dataplane.generation(), owners(&dataplane)), (1, vec![Owner::Static]));
}

#[test]
fn two_processes_do_not_share_a_state_directory() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let first = Control::start(directory.path(), &[]);
    let other = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .args(["--dir", other.path().to_str().unwrap(), "--state", state.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(&format!("pid {}", first.pid())) && text.contains("state"), "{text}");
}

/// A small file system of the process's own, which it and those who look into its namespace see.
/// Without the right to mount there is none.
fn in_small_file_system(directory: &Path, before: &str) -> Option<Command> {
    let isolate: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["-m"],
        false => &["-rm"],
    };
    let state = directory.join("state");
    fs::create_dir_all(&state).unwrap();
    let mount = format!("mount -t tmpfs -o size=128k tmpfs '{}'", state.display());
    let may = Command::new("unshare").args(isolate).args(["sh", "-c", &mount]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: nothing can be mounted here");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(isolate).args(["sh", "-c"]);
    command.arg(format!("{mount} && {before} exec '{PROGRAM}' \"$@\"")).arg("sh");
    Some(command)
}

fn fill(state: &Path) {
    use std::io::Write as _;
    let mut file = fs::File::create(state.join("filler")).unwrap();
    for size in [4096, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

#[test]
fn a_full_disk_refuses_changes_and_is_used_again_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let Some(command) = in_small_file_system(directory.path(), "") else { return };
    let dataplane = FakeDataplane::start(directory.path());
    let file = directory.path().join("router.yaml");
    fs::write(&file, configuration(BLACKHOLE)).unwrap();
    let args = ["--config", file.to_str().unwrap()];
    let control = Control::start_by(command, directory.path(), &args);
    assert_eq!(control.committed(), 1);
    let state = directory.path().join("state");
    let inside = PathBuf::from(format!("/proc/{}/root{}", control.pid(), state.display()));
    assert!(inside.join("commits/0000000001.ndjson").exists());
    let mut watch = control.watch("");

    fill(&inside);
    let before = dataplane.state();
    let failure = control.fails(507, "POST", "/v1/routes", LIVE_ROUTE);
    assert!(failure.error.contains("pending.ndjson"), "{failure}");
    assert!(failure.error.contains("make room"), "{failure}");
    control.fails(507, "POST", "/v1/apply", &configuration(""));
    // So many that they are sent while they are written.
    let many: String = (0..10_000)
        .map(|i| {
            format!("{{\"set\":{{\"to\":\"20.{}.{}.0/24\",\"reject\":true}}}}\n", i >> 8, i & 255)
        })
        .collect();
    let failure = control.fails(507, "POST", "/v1/routes/load", &many);
    assert!(failure.error.contains("make room"), "{failure}");
    assert_eq!((dataplane.generation(), dataplane.state()), (1, before));
    assert!(control.get::<Status>("/v1/status").persistence.error.is_some());
    watch.until("the problem is told", |event| match event {
        sluice_control_api::WatchKind::Persistence { problem } => problem.clone(),
        _ => None,
    });

    fs::remove_file(inside.join("filler")).unwrap();
    eventually("there is room again", || {
        control.get::<Status>("/v1/status").persistence.error.is_none().then_some(())
    });
    let applied: Applied = control.done("POST", "/v1/routes", LIVE_ROUTE);
    assert_eq!(applied.generation, 2);
}

#[test]
fn a_disk_that_is_full_or_read_only_at_the_start_is_a_warning() {
    for (before, cure) in [
        ("dd if=/dev/zero of=$PWD/state/filler bs=1k 2>/dev/null;", "make room"),
        ("mount -o remount,ro $PWD/state &&", "mount it writable"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let Some(mut command) = in_small_file_system(directory.path(), before) else { return };
        command.current_dir(directory.path());
        let dataplane = FakeDataplane::start(directory.path());
        let file = directory.path().join("router.yaml");
        fs::write(&file, configuration(BLACKHOLE)).unwrap();
        let args = ["--config", file.to_str().unwrap()];
        let control = Control::start_by(command, directory.path(), &args);
        assert_eq!(control.committed(), 1, "it forwards");
        let error = control.get::<Status>("/v1/status").persistence.error.unwrap();
        assert!(error.contains(cure), "{error}");
        let failure = control.fails(507, "POST", "/v1/routes", LIVE_ROUTE);
        assert!(failure.error.contains(cure), "{failure}");
        assert_eq!(dataplane.generation(), 1);
        let commits: Vec<Commit> = control.get("/v1/commits");
        assert_eq!(commits.len(), 1, "what runs is listed, on disk or not");
    }
}

//! SIGKILL at any moment, of either process or both: what was answered as committed stays, the
//! dataplane is on a committed generation, and nobody finds anything that nobody asked for.
//!
//! `SLUICE_KILLS` says how often; the default is what is bearable at every commit.

mod common;

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use common::configuration;
use common::control::Control;
use common::fake::FakeDataplane;
use sluice_control_api::{Commit, Status};
use sluice_policy::model::State;

fn rounds() -> u32 {
    std::env::var("SLUICE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// Moments that differ from run to run; every one is printed, so that it can be told which it was.
fn moment(round: u32) -> Duration {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(round);
    Duration::from_micros(hasher.finish() % 40_000)
}

/// A file with one route that is only in this one, and many that make it take a while.
fn file(round: u32) -> String {
    let mut routes = format!("routes:\n  - {{ to: 30.0.{round}.0/24, blackhole: true }}\n");
    for i in 0..300 {
        let (high, low) = ((i + round) / 256, (i + round) % 256);
        routes += &format!("  - {{ to: 20.{high}.{low}.0/24, blackhole: true }}\n");
    }
    configuration(&routes)
}

/// Sends changes until the process is gone; the generation of the last that was answered.
fn change(control: &Control, round: u32) -> Option<u64> {
    let mut last = None;
    for step in 0..20 {
        let mut answer = String::new();
        let path = "/v1/apply?file=x.yaml";
        let body = file(round % 10 * 20 + step);
        let Ok(mut stream) = control.try_send("POST", path, &body, "") else { break };
        let read = stream.read_to_string(&mut answer);
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { break };
        if read.is_err() || !head.starts_with("HTTP/1.1 200") {
            break;
        }
        let Ok(applied) = serde_json::from_str::<sluice_control_api::Applied>(body) else { break };
        last = Some(applied.generation);
    }
    last
}

/// Runs changes, and kills at some moment; the last generation that was answered.
fn killed(control: Control, round: u32) -> Option<u64> {
    let pid = rustix::process::Pid::from_raw(control.pid().cast_signed()).unwrap();
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| change(&control, round));
        let moment = moment(round);
        std::thread::sleep(moment);
        eprintln!("round {round}: killed after {moment:?}");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        changing.join().unwrap()
    })
}

fn live(directory: &Path) -> (Control, u64, Vec<Commit>) {
    let control = Control::start(directory, &[]);
    let generation = control.committed();
    let commits: Vec<Commit> = control.get("/v1/commits");
    let persistence = control.get::<Status>("/v1/status").persistence;
    assert_eq!(persistence.error, None);
    assert!(persistence.damaged.is_empty(), "{persistence:?}");
    let newest = commits.first().map_or(0, |commit| commit.generation);
    assert_eq!(newest, generation, "what is live is the newest commit");
    assert!(commits.iter().rev().map(|commit| commit.generation).is_sorted_by(|a, b| a < b));
    (control, generation, commits)
}

#[test]
fn the_control_process_may_be_killed_at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let mut answered = 0;
    for round in 0..rounds() {
        let (control, generation, _) = live(directory.path());
        assert!(generation >= answered, "{answered} was answered, {generation} is there");
        assert_eq!(dataplane.generation(), generation);
        answered = killed(control, round).unwrap_or(answered).max(generation);
        let (before, state) = (dataplane.generation(), dataplane.state());
        let (control, generation, commits) = live(directory.path());
        assert_eq!(generation, before, "a restart changes nothing");
        assert_eq!(dataplane.state(), state);
        assert!(commits.iter().any(|commit| commit.generation == answered) || answered == 0);
        control.kill();
    }
}

#[test]
fn both_processes_may_be_killed_at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    let mut known: Vec<(u64, State)> = vec![(0, State::default())];
    for round in 0..rounds() / 2 {
        let dataplane = FakeDataplane::start(directory.path());
        let (control, generation, _) = live(directory.path());
        // What the dataplane ran last is what comes back, or what was answered last; the answer
        // may have been on its way.
        let (number, state) = known.last().unwrap();
        assert!(generation >= *number || known.iter().any(|(old, _)| *old == generation));
        if generation == *number {
            assert_eq!(dataplane.state(), *state);
        }
        let answered = killed(control, round);
        let ran = (dataplane.generation(), dataplane.state());
        drop(dataplane);
        if let Some(answered) = answered {
            assert!(ran.0 >= answered);
            // From here on nothing less than what was answered may come back.
            known.clear();
            if ran.0 != answered {
                let dataplane = FakeDataplane::start(directory.path());
                let (control, generation, _) = live(directory.path());
                assert!(generation >= answered, "{answered} was answered, {generation} is there");
                known.push((generation, dataplane.state()));
                control.kill();
                continue;
            }
        }
        known.push(ran);
    }
}

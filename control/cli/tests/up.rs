//! `sluice up` with stand-ins for its two children: it is about starting, restarting and
//! stopping, not about packets. The control process's part at the socket is played by the test.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const COMMITTED: &str = r#"{"state":"committed","generation":1}"#;
/// Writes down its process id and waits; stops when it is told to.
const WAITS: &str = "echo $$ >> \"$0.pids\"; exec sleep 1000";
/// Writes down SIGHUPs as well.
const TAKES_HUP: &str = "trap 'echo HUP >> \"$0.hups\"' HUP; echo $$ >> \"$0.pids\"; \
                         while :; do sleep 0.05; done";

/// Held while programs are written, and while one is started: a child that is born in between would
/// have them open for writing, and such a program cannot be started (`ETXTBSY`).
static PROGRAMS: Mutex<()> = Mutex::new(());

fn spawn(command: &mut Command) -> Child {
    let _guard = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn().unwrap()
}

/// A directory with a copy of the program and its stand-ins.
struct Stage {
    directory: tempfile::TempDir,
    progress: Arc<Mutex<String>>,
}

impl Stage {
    fn new(dataplane: &str, control: &str) -> Stage {
        let _guard = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::copy(env!("CARGO_BIN_EXE_sluice"), at("sluice")).unwrap();
        for (name, script) in [("sluice-dataplane", dataplane), ("sluice-control", control)] {
            fs::write(at(name), format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(at("router.yaml"), "ports:\n  lan: { device: net_null0 }\n").unwrap();
        fs::create_dir(at("run")).unwrap();
        let progress = Arc::new(Mutex::new(COMMITTED.to_owned()));
        let listener = UnixListener::bind(at("run/control.sock")).unwrap();
        let (says, pids) = (progress.clone(), at("sluice-control.pids"));
        std::thread::spawn(move || play_control(&listener, &says, &pids));
        Stage { directory, progress }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.path("sluice"));
        command.args(["up", "--dir"]).arg(self.path("run"));
        command.arg("-c").arg(self.path("router.yaml"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self) -> Output {
        spawn(&mut self.command()).wait_with_output().unwrap()
    }

    /// Starts it and waits for the line that says that it is ready.
    fn ready(&self) -> Child {
        let mut up = spawn(&mut self.command());
        let mut line = String::new();
        BufReader::new(up.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "sluice: ready, 1 port, generation 1\n");
        up
    }

    /// The process ids of all starts of a stand-in.
    fn pids(&self, name: &str) -> Vec<Pid> {
        let text = fs::read_to_string(self.path(&format!("{name}.pids"))).unwrap_or_default();
        text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
    }
}

/// Answers every request as the control process that was started last would.
fn play_control(listener: &UnixListener, progress: &Mutex<String>, pids: &Path) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        let body = if request[..length].starts_with(b"GET /v1/ports") {
            r#"[{"name":"lan","device":"net_null0","driver":"net_null","mac":"02:00:00:00:00:01",
                 "link":true,"mtu":1500,"rx_queues":1,"tx_queues":1,"workers":[0]}]"#
                .to_owned()
        } else {
            let progress = progress.lock().unwrap();
            let pids = fs::read_to_string(pids).unwrap_or_default();
            let pid = pids.lines().last().unwrap_or("1");
            format!(
                r#"{{"version":"0","pid":{pid},"uptime_seconds":0,"live_routes":0,"progress":{progress}}}"#
            )
        };
        let length = body.len();
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
    }
}

fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn alive(pid: Pid) -> bool {
    // A dead child that nobody has waited for yet still has its id.
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    test_kill_process(pid).is_ok() && status.is_ok_and(|status| !status.contains(") Z "))
}

fn stop(mut up: Child, signal: Signal) -> Output {
    kill_process(Pid::from_child(&up), signal).unwrap();
    let mut stderr = Vec::new();
    up.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    let status = up.wait().unwrap();
    Output { status, stdout: Vec::new(), stderr }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_says_when_it_is_ready_and_stops_both_when_told() {
    for signal in [Signal::TERM, Signal::INT] {
        let stage = Stage::new(WAITS, WAITS);
        let up = stage.ready();
        let children = [stage.pids("sluice-dataplane"), stage.pids("sluice-control")].concat();
        assert_eq!(children.len(), 2);
        let output = stop(up, signal);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(!children.into_iter().any(alive));
    }
}

#[test]
fn a_dead_child_is_started_again() {
    let stage = Stage::new(WAITS, &format!("echo \"$@\" >> \"$0.args\"; {WAITS}"));
    let state = format!("--state {}", stage.path("run/state").display());
    let up = stage.ready();
    for name in ["sluice-dataplane", "sluice-control"] {
        for lives in 1..=2 {
            let first = stage.pids(name)[lives - 1];
            kill_process(first, Signal::KILL).unwrap();
            eventually("it is started again", || {
                stage.pids(name).get(lives).copied().filter(|pid| alive(*pid))
            });
        }
    }
    let args = fs::read_to_string(stage.path("sluice-control.args")).unwrap();
    assert_eq!(args.lines().count(), 3);
    assert!(
        args.lines().all(|line| line.contains(&state)),
        "each goes on from its commits: {args}"
    );
    let output = stop(up, Signal::TERM);
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("sluice-dataplane was killed by signal"), "{}", said(&output));
}

#[test]
fn sighup_is_passed_on_and_a_storm_of_it_harms_nobody() {
    let stage = Stage::new(WAITS, TAKES_HUP);
    let up = stage.ready();
    let hups = || {
        let text = fs::read_to_string(stage.path("sluice-control.hups"));
        text.unwrap_or_default().lines().count()
    };
    kill_process(Pid::from_child(&up), Signal::HUP).unwrap();
    eventually("the control process is told", || (hups() == 1).then_some(()));
    for _ in 0..1000 {
        kill_process(Pid::from_child(&up), Signal::HUP).unwrap();
    }
    eventually("it is told again", || (hups() > 1).then_some(()));
    let output = stop(up, Signal::TERM);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(hups() < 500, "{} times", hups());
    assert_eq!(stage.pids("sluice-control").len(), 1, "nobody died: {}", said(&output));
    assert_eq!(stage.pids("sluice-dataplane").len(), 1);
}

#[test]
fn a_child_that_ignores_sigterm_is_killed_and_all_ends_within_10_s() {
    let stubborn = "trap '' TERM; echo $$ >> \"$0.pids\"; while :; do sleep 1; done";
    let stage = Stage::new(stubborn, WAITS);
    let up = stage.ready();
    let began = Instant::now();
    let output = stop(up, Signal::TERM);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(said(&output).contains("did not stop and was killed"), "{}", said(&output));
    assert!(!stage.pids("sluice-dataplane").into_iter().any(alive));
}

#[test]
fn a_child_that_says_no_at_the_start_is_not_asked_again() {
    let stage = Stage::new("echo 'not root' >&2; exit 1", WAITS);
    *stage.progress.lock().unwrap() = r#"{"state":"waiting","reason":"nobody"}"#.into();
    let output = stage.run();
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains("not root") && text.contains("exit code 1"), "{text}");
    assert!(!stage.pids("sluice-control").into_iter().any(alive), "nothing is left running");
}

#[test]
fn a_child_that_crashes_again_and_again_at_the_start_is_given_up() {
    let stage = Stage::new("kill -SEGV $$", WAITS);
    *stage.progress.lock().unwrap() = r#"{"state":"waiting","reason":"nobody"}"#.into();
    let output = stage.run();
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert_eq!(text.matches("starting it again").count(), 4, "{text}");
    assert!(text.contains("given up"), "{text}");
}

#[test]
fn a_configuration_that_the_dataplane_refuses_ends_it() {
    let stage = Stage::new(WAITS, WAITS);
    *stage.progress.lock().unwrap() =
        r#"{"state":"refused","generation":0,"details":["port lan: no such device"]}"#.into();
    let output = stage.run();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("port lan: no such device"), "{}", said(&output));
    let children = [stage.pids("sluice-dataplane"), stage.pids("sluice-control")].concat();
    assert!(!children.into_iter().any(alive), "nothing is left running");
}

#[test]
fn a_wrong_file_starts_nothing() {
    let stage = Stage::new(WAITS, WAITS);
    let wrong = "ports:\n  lan: { devcie: net_null0 }\n  wan: { device: 1, mtu: huge }\n";
    fs::write(stage.path("router.yaml"), wrong).unwrap();
    let output = stage.run();
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains("router.yaml:2:") && text.contains("devcie"), "{text}");
    assert!(stage.pids("sluice-dataplane").is_empty());
}

#[test]
fn a_missing_program_is_named() {
    let stage = Stage::new(WAITS, WAITS);
    fs::remove_file(stage.path("sluice-control")).unwrap();
    let output = stage.run();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("sluice-control"), "{}", said(&output));
    assert!(!stage.pids("sluice-dataplane").into_iter().any(alive));
}

#[test]
fn commands_say_what_to_do_when_nothing_runs() {
    let nowhere = Path::new("/nonexistent/sluice");
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.arg("--dir").arg(nowhere).args(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        spawn(&mut command).wait_with_output().unwrap()
    };
    let output = run(&["show", "ports"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(said(&output).contains("/nonexistent/sluice/control.sock"), "{}", said(&output));
    assert!(said(&output).contains("sluice up -c FILE"), "{}", said(&output));
    let output = run(&["--json", "show", "ports"]);
    assert!(said(&output).starts_with(r#"{"error":"#), "{}", said(&output));
    assert_eq!(run(&["route", "add", "10.9.0.1/16", "blackhole"]).status.code(), Some(2));
    assert_eq!(run(&["show", "nothing"]).status.code(), Some(2));
    assert_eq!(run(&["schema"]).status.code(), Some(0));
}
